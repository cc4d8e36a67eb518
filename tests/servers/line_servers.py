"""Real time-series servers as private processes on the loopback, and fixtures that hand them out.

Every test run loads this module, so the adapters are imported where they are used.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from influx_v2_door import ORG, TOKEN, StrictV2
from ports import free_port

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk

START_S = 60
KEY = SiteKey("default", "mh0001")


class Server:
    """A process that answers HTTP at ``url`` and keeps its data in ``folder`` however it ends."""

    def __init__(self, folder: Path, command: Sequence[str], port: int, alive: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        self._command, self._alive, self._log = command, alive, folder / "log"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._child = subprocess.Popen(self._command, stdout=out, stderr=out)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._child.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(30)
            self._child = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            return self.http.get(self._alive).is_success
        except httpx.TransportError:
            return False


class InfluxServer(Server):
    """Debian's InfluxDB 1.6.7: databases, ``/write`` and InfluxQL."""

    def __init__(self, folder: Path, max_row_limit: int = 0) -> None:
        port, config = free_port(), folder / "influxdb.conf"
        config.write_text(
            f"""
reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
max-row-limit = {max_row_limit}
[monitor]
store-enabled = false
"""
        )
        super().__init__(folder, ["influxd", "run", "-config", str(config)], port, "/ping")
        self._names = (f"db{n}" for n in itertools.count())

    def new_database(self) -> str:
        name = next(self._names)
        self.ask(f'CREATE DATABASE "{name}"')
        return name

    def ask(self, query: str, database: str = "") -> str:
        answer = self.http.post("/query", params={"q": query, "db": database})
        assert answer.is_success, answer.text
        assert "error" not in answer.json()["results"][0], answer.text
        return answer.text


class VictoriaServer(Server):
    """VictoriaMetrics, set as pumpwatch wants it unless other flags are given."""

    def __init__(
        self, folder: Path, flags: Sequence[str] = ("-dedup.minScrapeInterval=1ms",)
    ) -> None:
        port = free_port()
        command = [
            "victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={folder / 'data'}", "-retentionPeriod=100y",
            "-memory.allowedBytes=128MB", *flags,
        ]  # fmt: skip
        super().__init__(folder, command, port, "/health")

    def wipe(self) -> None:
        self.http.get("/internal/force_flush").raise_for_status()
        match = '{__name__=~"(station|extra)_.*"}'
        path = "/api/v1/admin/tsdb/delete_series"
        self.http.post(path, params={"match[]": match}).raise_for_status()


def write_while_killed(server: Server, store: TimeSeriesStore, kills: int = 3) -> dict[str, int]:
    """Write without pause while the server is killed and started again; what the store counted.

    A write that failed is offered again, as the recorder does. ``rows`` is what should be there.
    """
    told, write = Counter[str](), 0
    for _ in range(kills):
        killer = threading.Timer(0.25, server.kill)
        killer.start()
        failed = 0
        while failed < 2:
            t_ms = np.arange(200 * write, 200 * (write + 1))
            batch = [(KEY, Chunk(t_ms, {"level_m": t_ms / 8}))]
            try:
                receipt = store.write(batch, write)
            except StoreUnavailable:
                failed += 1
                if failed == 1:
                    killer.join()
                    server.start()
                continue
            write += 1
            told.update(stored=receipt.stored, duplicates=receipt.duplicates)
            if failed:
                break
    return {**told, "rows": 200 * write}


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    server = InfluxServer(tmp_path_factory.mktemp("influxd"))
    yield from _running(server)


@pytest.fixture(scope="session")
def victoria_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaServer]:
    server = VictoriaServer(tmp_path_factory.mktemp("victoria-metrics"))
    yield from _running(server)


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def v2_door(influx_server: InfluxServer) -> Iterator[StrictV2]:
    """The strict v2 protocol in front of the real engine. A test leaves no fault behind."""
    with StrictV2(influx_server.url).open() as door:
        yield door


@pytest.fixture
def influx_v1(influx_server: InfluxServer) -> Callable[[Path], Any]:
    """Opens a store in a new database; its position is kept in the folder."""

    from pumpwatch.stores.series_influx import InfluxSeries

    def open_store(folder: Path) -> InfluxSeries:
        database = influx_server.new_database()
        return InfluxSeries(influx_server.url, database, path=folder / "series.db", mode="v1")

    return open_store


@pytest.fixture
def influx_v2(influx_server: InfluxServer, v2_door: StrictV2) -> Callable[[Path], Any]:
    """Opens a store in a new bucket behind the strict door."""

    from pumpwatch.stores.series_influx import InfluxSeries

    def open_store(folder: Path) -> InfluxSeries:
        bucket = influx_server.new_database()
        v2_door.buckets.add(bucket)
        path = folder / "series.db"
        return InfluxSeries(v2_door.url, bucket, path=path, mode="v2", org=ORG, token=TOKEN)

    return open_store


@pytest.fixture
def victoria(victoria_server: VictoriaServer) -> Callable[[Path], Any]:
    """Opens a store on the emptied server: it knows no databases."""

    from pumpwatch.stores.series_victoria import VictoriaSeries

    def open_store(folder: Path) -> VictoriaSeries:
        victoria_server.wipe()
        return VictoriaSeries(victoria_server.url, path=folder / "series.db")

    return open_store
