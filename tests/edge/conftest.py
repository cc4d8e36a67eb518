"""A broker of our own and a hub small enough to read."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from ports import free_port

from pumpwatch_edge.message import Ack, Lane, encode_ack


class Mosquitto:
    """A real broker on a loopback port that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n"
            "max_queued_messages 100000\nlog_type none\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, *lines: str) -> None:
        """More of its configuration, from the next start on."""
        with self._config.open("a") as config:
            config.write("\n".join(lines) + "\n")

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        until(lambda: _listens(self.port), "mosquitto to listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Wait for what other threads and processes do; they give no other sign."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {timeout_s} s for {what}")


class TinyHub:
    """Keeps every message in memory as if on disk, and publishes the watermark after each."""

    def __init__(self, port: int, tenant: str = "default", site: str = "mh0001") -> None:
        self.base = f"pumpwatch/v1/{tenant}/{site}"
        self.messages: dict[tuple[str, str, int], dict[str, Any]] = {}
        self.received = 0
        self.statuses: list[dict[str, Any]] = []
        self.reported: list[dict[str, Any]] = []
        self._marks: dict[str, dict[Lane, int]] = defaultdict(lambda: dict.fromkeys(Lane, 0))
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="tiny-hub")
        self._client.on_connect = lambda c, *_: c.subscribe(f"{self.base}/#", 1)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        channel = message.topic.removeprefix(self.base + "/")
        content = json.loads(message.payload)
        if channel == "status":
            self.statuses.append(content)
        elif channel == "config/reported":
            self.reported.append(content)
        elif channel in set(Lane):
            self.received += 1
            self._store(Lane(channel), content)
            epoch = content["epoch"]
            marks = self._marks[epoch]
            ack = Ack(epoch, marks[Lane.TELEMETRY], marks[Lane.EVENT])
            client.publish(f"{self.base}/ack", encode_ack(ack), 1, True)

    def _store(self, lane: Lane, content: dict[str, Any]) -> None:
        epoch = content["epoch"]
        self.messages[(epoch, lane, content["seq"])] = content
        marks = self._marks[epoch]
        marks[lane] = max(marks[lane], content["low"] - 1)
        while (epoch, lane, marks[lane] + 1) in self.messages:
            marks[lane] += 1

    def publish(self, channel: str, payload: bytes) -> None:
        self._client.publish(f"{self.base}/{channel}", payload, 1, True)

    @property
    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Every stored sample, in the order of the outbox."""
        found = []
        for key in sorted(key for key in self.messages if key[1] == Lane.TELEMETRY):
            content = self.messages[key]
            for i, t_ms in enumerate(content["t"]):
                found.append((t_ms, {n: c[i] for n, c in content["signals"].items()}))
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


@pytest.fixture
def hub(broker: Mosquitto) -> Iterator[TinyHub]:
    tiny = TinyHub(broker.port)
    yield tiny
    tiny.close()


def _write_recording(folder: Path, rows: int, site: str = "mh0001", step_s: int = 10) -> Path:
    """A recorded site folder with a saw-tooth level and one pump."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.json").write_text(json.dumps({"site": site, "sample_s": step_s}))
    lines = ["ts,level_m,pump1_run,pump2_run,pump1_current_a,pump2_current_a,high_level,power_ok"]
    for i in range(rows):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + i * step_s))
        run = int(i % 90 > 70)
        lines.append(f"{moment},{0.5 + i % 90 / 100:.3f},{run},0,{2.1 * run:.2f},0.00,0,1")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Path]:
    """Makes a recorded site folder: ``recording(rows, site=..., step_s=...)``."""

    def make(rows: int, site: str = "mh0001", step_s: int = 10) -> Path:
        return _write_recording(tmp_path / site, rows, site, step_s)

    return make


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until
