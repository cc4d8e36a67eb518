"""A private VictoriaMetrics on the loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from ports import free_port

START_S = 30


class Victoria:
    """A running VictoriaMetrics: takes expositions, answers PromQL."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def alive(self) -> bool:
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def scrape(self, exposition: bytes, at_ms: int, labels: Mapping[str, str]) -> None:
        """Take in what a scrape of a hub at ``at_ms`` would have brought."""
        self._post(
            "/api/v1/import/prometheus",
            params={
                "timestamp": at_ms,
                "extra_label": [f"{name}={value}" for name, value in labels.items()],
            },
            content=exposition,
        )
        self._client.get("/internal/force_flush").raise_for_status()

    def ask(self, expression: str, at_ms: int) -> list[dict[str, Any]]:
        """The instant vector of a query; raises for one the server does not understand."""
        params = {"query": expression, "time": f"{at_ms / 1000:.3f}", "nocache": "1"}
        answer = self._post("/api/v1/query", data=params).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def _post(self, path: str, **more: Any) -> httpx.Response:
        answer = self._client.post(path, **more)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    folder = tmp_path_factory.mktemp("victoria")
    port = free_port()
    command = [
        "victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'data'}",
        "-retentionPeriod=100y", "-memory.allowedBytes=128MB",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as child:
        try:
            server = Victoria(port)
            deadline = time.monotonic() + START_S
            while not server.alive():
                assert child.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            child.terminate()
