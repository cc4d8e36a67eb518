"""A recorded town made by the simulator, and the product's own programs as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from pumpwatch.app.datadir import DataDir
from pumpwatch.app.series import own_series
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.simulator.fleet import Fleet, demo_fleet
from pumpwatch.simulator.recorded import parse_fault, write_recordings
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.weather import Sky

BIN = Path(sys.executable).parent
PATIENCE_S = 180
SITES = ("mh-01", "mh-03", "mh-05")
FAULTS = (
    "mh-01:pump_ragging:pump1:12",
    "mh-03:pump_ragging:pump2:10",
    "mh-03:check_valve_leak:pump1:21",
    "mh-05:check_valve_leak:pump2:9",
    "mh-05:power_outage:27.5",
)


@pytest.fixture(scope="session")
def recorded_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stations, 28 days at 10 s, with faults that diagnosis finds."""
    return record(tmp_path_factory.mktemp("town"), 28, FAULTS)


@pytest.fixture(scope="session")
def recorded_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same stations for ten days in which nothing breaks."""
    return record(tmp_path_factory.mktemp("days"), 10)


def record(out: Path, days: int, faults: Sequence[str] = ()) -> Path:
    specs = tuple(s for s in demo_fleet(seed=1, stations=5) if s.site.site in SITES)
    start_ms = ms_from_iso("2026-09-01T00:00:00+09:00")
    fleet = Fleet(1, start_ms, specs)
    span = (start_ms, start_ms + days * DAY_MS)
    happenings = tuple(parse_fault(text, start_ms) for text in faults)
    write_recordings(out, Scenario("town", "", 1, *span, fleet, Sky(1), happenings), form="csv.gz")
    return out


class Process:
    """One of our programs at work; its output is kept for when a test fails."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PUMPWATCH_")}
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                arguments, stdout=out, stderr=subprocess.STDOUT, env=environment
            )

    @property
    def ended(self) -> int | None:
        return self._child.poll()

    def kill(self) -> None:
        """As a power cut would: no farewell."""
        self._child.kill()
        self._child.wait(10)

    def stop(self) -> int:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        return self._child.wait(30)

    def wait(self, seconds: float = PATIENCE_S) -> int:
        return self._child.wait(seconds)

    def words(self) -> str:
        return self.log.read_text(errors="replace")


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``pumpwatch`` or ``pumpwatch-edge`` with arguments; whatever runs at the end is killed."""
    running: list[Process] = []

    def begin(program: str, *arguments: object, log: str) -> Process:
        words = [str(BIN / program), *map(str, arguments)]
        process = Process(words, tmp_path / f"{log}.log")
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.ended is None:
            process.kill()


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Wait for something that other processes bring about."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def served_at(process: Process) -> str:
    """The address that `pumpwatch serve` says it serves."""

    def said() -> str | None:
        assert process.ended is None, process.words()
        found = re.findall(r"serves (http://\S+)", process.words())
        return found[-1] if found else None

    return str(until(said, "the hub says where it serves"))


@cache
def client() -> httpx.Client:
    """One for all questions: to make one costs as much as twenty answers."""
    return httpx.Client(timeout=10)


def ask(url: str) -> Any:
    return client().get(url).json()


def run_cli(*arguments: object) -> Any:
    """Run ``pumpwatch ARGUMENTS --json`` and read its answer."""
    done = subprocess.run(
        [str(BIN / "pumpwatch"), *map(str, arguments), "--json"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def times(data_dir: Path, site: str) -> set[int]:
    """Moments of which the series of this directory has a row, sealed or not."""
    series = own_series(DataDir(data_dir))
    try:
        return set(series.read_raw(SiteKey("default", site), 0, 2**60).t_ms.tolist())
    finally:
        series.close()
