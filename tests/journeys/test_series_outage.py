"""The time-series server away, stopped and killed: alerts go on as if nothing were, no sample is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest
from line_servers import InfluxServer, Server, VictoriaServer
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.commands.doctor import examine
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.series import open_server
from pumpwatch.app.settings import load_settings
from pumpwatch.cycles.recording import read_recording
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import HOUR_MS, MINUTE_MS, WallClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Telemetry
from pumpwatch.services.registry import register_recording
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.transports.wire import decode

from .conftest import Process, Start, ask, served_at, until
from .episodes import of_backtest, of_ledger

pytestmark = [pytest.mark.broker, pytest.mark.journey, pytest.mark.slow]

SITES = ("mh-01", "mh-02", "mh-03")
BEGIN_MS = 1_788_188_400_000
"""2026-08-31T15:00:00Z"""
PERIOD_MS = 10_000


def write_town(folder: Path, hours: int) -> Path:
    """Stations that pump every ten minutes and lose their power twice an hour, each at its own time."""
    for number, site in enumerate(SITES):
        t_ms = BEGIN_MS + np.arange(0, hours * HOUR_MS, PERIOD_MS)
        minute = (t_ms - BEGIN_MS) / MINUTE_MS
        level = 0.4 + 0.08 * np.abs(10 - (minute + 3 * number) % 20)
        running = (minute + 3 * number) % 20 < 10
        power = (minute + 7 * number) % 30 >= 4
        stamps = np.datetime_as_string(t_ms.astype("datetime64[ms]"), unit="s")
        lines = ["ts,level_m,pump1_run,power_ok"]
        lines += [
            f"{ts}Z,{m:.3f},{run:d},{on:d}"
            for ts, m, run, on in zip(stamps, level, running, power, strict=True)
        ]
        (folder / site).mkdir(parents=True)
        (folder / site / "data.csv").write_text("\n".join(lines) + "\n")
        (folder / site / "site.json").write_text(json.dumps({"site": site, "sample_s": 10}))
    return folder


@dataclass
class Town:
    """A hub over a time-series server of its own, and agents that play a recorded town to it."""

    recordings: Path
    folder: Path
    server: Server
    hub: Process
    url: str
    config: Path
    start: Start
    broker: str
    name: str

    @property
    def data_dir(self) -> DataDir:
        return DataDir(self.folder / "hub")

    def play(self, speed: float) -> None:
        """Send everything, in messages of a simulated minute."""
        agents = []
        for site in SITES:
            config = self.folder / f"{site}.toml"
            config.write_text("[sampling]\nbatch_samples = 6\n")
            arguments = (
                "run", "--config", config, "--broker", self.broker, "--tenant", "default",
                "--replay", self.recordings / site, "--speed", speed, "--exit-when-done",
                "--outbox", self.folder / f"{site}.outbox",
            )  # fmt: skip
            agents.append(self.start("pumpwatch-edge", *arguments, log=f"{self.name}-{site}"))
        for agent in agents:
            assert agent.wait() == 0, agent.words()

    def status(self) -> Any:
        return ask(f"{self.url}/api/v1/status")

    def settle(self) -> None:
        """Until everything is judged and stored; then the hub ends."""
        until(lambda: not any(self.status()["inbox_lag"].values()), "all is judged and stored")
        assert self.hub.stop() == 0, self.hub.words()

    def assert_series_complete(self) -> None:
        store = open_server(
            load_settings(self.config).series, self.data_dir.series_sink, reader=True
        )
        for site in SITES:
            sent = read_recording(self.recordings / site).chunk
            found = store.read_raw(SiteKey("default", site), 0, 2**62)
            assert found.t_ms.tolist() == sent.t_ms.tolist(), site
            for name, values in sent.signals.items():
                assert found.signals[name].tolist() == values.tolist(), (site, name)
        assert store.refused() == []
        store.close()

    def alerts(self) -> dict[Any, dict[str, Any]]:
        return of_ledger(in_process("alerts", "list", "--all", "--data-dir", self.data_dir.path))

    def latencies_ms(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(site, opening time) → when the sample that told of it arrived, and how much later the
        alert was on disk: both by the hub's clock."""
        inbox, ledger = SqliteInbox(self.data_dir.inbox), SqlLedger(self.data_dir.core_url)
        arrived: dict[SiteKey, list[tuple[int, int]]] = {}
        for row in inbox.read(0, 10**6):
            message = decode(row.topic, row.payload, row.received_ms)
            if isinstance(message, Telemetry):
                last_ms = int(message.chunk.t_ms[-1])
                arrived.setdefault(row.stamp.key, []).append((last_ms, row.received_ms))
        found = {}
        for alert in ledger.alerts(limit=10**6):
            written_ms = ledger.transitions(alert.id)[0].recorded_ms
            came_ms = min(at for last, at in arrived[alert.key] if last >= alert.opened_ms)
            found[alert.key.site, alert.opened_ms] = (came_ms, written_ms - came_ms)
        inbox.close()
        ledger.close()
        return found


def in_process(*arguments: object) -> Any:
    """What ``pumpwatch ARGUMENTS --json`` answers, without another interpreter's start."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def register(recordings: Path, directory: DataDir) -> None:
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    for site in SITES:
        register_recording(ledger, recordings / site, "default", 1, SYSTEM)
    ledger.close()


@pytest.fixture
def make_town(tmp_path: Path, start: Start) -> Iterator[Callable[..., Town]]:
    """Makes a hub that runs, with a server that was not started yet."""
    with ExitStack() as stack:

        def make(name: str, recordings: Path, engine: str = "victoria") -> Town:
            folder = tmp_path / name
            (folder / "server").mkdir(parents=True)
            server = stack.enter_context(_server(engine, folder / "server"))
            config = folder / "pumpwatch.toml"
            config.write_text(f'[series]\nengine = "{engine}"\nurl = "{server.url}"\n')
            if engine == "influx":
                with config.open("a") as file:
                    file.write('version = 1\ndatabase = "pumps"\n')
            broker = stack.enter_context(EmbeddedBroker(folder / "broker", programs=("mosquitto",)))
            address, data_dir = f"{broker.host}:{broker.port}", folder / "hub"
            register(recordings, DataDir(data_dir))
            hub = start(
                "pumpwatch", "serve", "--config", config, "--data-dir", data_dir,
                "--broker", address, "--port", 0, log=f"{name}-hub",
            )  # fmt: skip
            url = served_at(hub)
            return Town(recordings, folder, server, hub, url, config, start, address, name)

        yield make


@contextmanager
def _server(engine: str, folder: Path) -> Iterator[Server]:
    server = VictoriaServer(folder) if engine == "victoria" else InfluxServer(folder)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.store
def test_a_server_that_stands_still_for_an_hour_delays_no_alert_and_loses_no_sample(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    """Two hubs side by side, one town, three simulated hours; one server is away for the second hour."""
    recordings = write_town(tmp_path / "recorded", hours=3)
    speed = 720
    steady, struck = make_town("steady", recordings), make_town("struck", recordings)
    assert_the_hub_says_that_the_server_is_away(struck)
    steady.server.start()
    struck.server.start()
    until(lambda: ask(f"{struck.url}/readyz")["ready"], "the server is there, the hub is ready")

    away: list[int] = []

    def strike() -> None:
        hour = len(SITES) * HOUR_MS // MINUTE_MS
        until(lambda: struck.status()["counters"]["stored"] >= hour, "the first hour has arrived")
        away.append(WallClock().now_ms())
        struck.server.stop()
        until(lambda: struck.status()["counters"]["stored"] >= 2 * hour, "so has the second")
        assert struck.status()["inbox_lag"]["series"] > 0
        assert any("cannot be reached" in line for line in struck.status()["problems"])
        away.append(WallClock().now_ms())
        struck.server.start()

    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(steady.play, speed),
            pool.submit(struck.play, speed),
            pool.submit(strike),
        ]
        for job in jobs:
            job.result()
    steady.settle()
    struck.settle()

    out = tmp_path / "alerts.jsonl"
    in_process("backtest", recordings, "--out", out)
    expected = of_backtest(json.loads(line) for line in out.read_text().splitlines())
    assert struck.alerts() == steady.alerts() == expected
    assert len(expected) == 3 * 3 * 2

    before, after = away
    normal, then = steady.latencies_ms(), struck.latencies_ms()
    assert then.keys() == normal.keys()
    hit = {
        place: late for place, (came, late) in then.items() if before < came < came + late < after
    }
    assert len(hit) >= len(SITES), "alerts that came and were on disk while the server was away"
    ratio = median(hit.values()) / median(normal[place][1] for place in hit)
    print(f"alert latency without the server / with it: {ratio:.2f} (medians of {len(hit)})")
    assert ratio < 3

    steady.assert_series_complete()
    struck.assert_series_complete()


def assert_the_hub_says_that_the_server_is_away(town: Town) -> None:
    """It runs; `/readyz`, the page and doctor say what is missing."""
    ready = httpx.get(f"{town.url}/readyz", timeout=30)
    assert (ready.status_code, ready.json()["failed"]) == (503, ["series"])
    page = httpx.get(town.url, headers={"Accept-Language": "en"}, timeout=30)
    assert page.status_code == 200
    assert "The store of measurements does not answer" in page.text
    checks = examine(load_settings(town.config, {"data_dir": town.data_dir.path}))
    (said,) = [check for check in checks if check.name == "series"]
    assert said.verdict == "warning"
    assert "alerts go on meanwhile" in said.remedy


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("victoria", marks=pytest.mark.store),
        pytest.param("influx", marks=pytest.mark.influx),
    ],
)
def test_a_server_that_is_killed_while_it_is_written_to_loses_no_sample(
    tmp_path: Path, make_town: Callable[..., Town], engine: str
) -> None:
    recordings = write_town(tmp_path / "recorded", hours=4)
    town = make_town("killed", recordings, engine)
    town.server.start()
    if isinstance(town.server, InfluxServer):
        town.server.ask('CREATE DATABASE "pumps"')

    def strike() -> None:
        messages = len(SITES) * 4 * HOUR_MS // MINUTE_MS
        for share in (0.2, 0.5, 0.8):
            until(lambda s=share: town.status()["counters"]["stored"] >= s * messages, "more came")
            town.server.kill()
            town.server.start()

    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(town.play, 2_400), pool.submit(strike)]
        for job in jobs:
            job.result()
    town.settle()
    town.assert_series_complete()
