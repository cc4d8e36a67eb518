"""A scenario run from end to end: what was told is held against what the scenario expects."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.app.simulate_live import LiveScenario
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Step, iso_utc
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.sites import SiteMode, site_from_dict
from pumpwatch.services.backtest import backtest
from pumpwatch.services.scoring import read_lines
from pumpwatch.simulator.recorded import write_recordings
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.scenario_check import Line, Verdict, judge
from pumpwatch.transports.broker import EmbeddedBroker

Progress = Callable[[str, float], None]

_REST_S = 0.2


def check_recorded(scenario: Scenario, workers: int, progress: Progress) -> Verdict:
    """Write the scenario as a recording, diagnose it causally, and judge the alerts."""
    with tempfile.TemporaryDirectory(prefix="pumpwatch-check-") as place:
        folder, out = Path(place) / "sites", Path(place) / "alerts.jsonl"
        write_recordings(
            folder, scenario, form="parquet", progress=lambda x: progress("simulating", x)
        )
        summary = backtest(
            folder,
            out,
            workers=workers,
            progress=lambda done, of, _: progress("diagnosing", done / of),
        )
        for site, problem in summary.failed.items():
            raise PumpwatchError(f"{site}: {problem}")
        return judge(scenario, read_lines(out))


def check_live(scenario: Scenario, progress: Progress) -> Verdict:
    """Play the scenario through edge agents, a broker and a hub of its own, and judge its ledger."""
    with tempfile.TemporaryDirectory(prefix="pumpwatch-check-") as place:
        directory = DataDir(Path(place) / "hub")
        directory.claim("recording")
        with directory.locked(), EmbeddedBroker(directory.path) as broker:
            settings = Settings(data_dir=directory.path)
            hub = Hub(
                settings, directory, WallClock(), [],
                broker_host=broker.host, broker_port=broker.port,
            )  # fmt: skip
            try:
                _register(hub, scenario)
                hub.start()
                address = (broker.host, broker.port)
                with LiveScenario(scenario, DEFAULT_TENANT, directory.agents, address, 0) as live:
                    live.wait(lambda share: progress("playing", share))
                    if live.problems:
                        raise PumpwatchError(live.problems[0])
                while not hub.caught_up():
                    time.sleep(_REST_S)
                return judge(scenario, _told(hub, scenario))
            finally:
                hub.stop()


def _register(hub: Hub, scenario: Scenario) -> None:
    ledger, now_ms = hub.stores.ledger, hub.clock.now_ms()
    for spec in scenario.fleet.stations:
        key = SiteKey(DEFAULT_TENANT, spec.site.site)
        site = site_from_dict(spec.site.to_dict() | {"mode": SiteMode.RECORDING})
        ledger.put_site(key, site, SYSTEM, now_ms)
        for entry in scenario.log.get(spec.site.site, ()):
            ledger.add_log(key, entry, SYSTEM, now_ms)


def _told(hub: Hub, scenario: Scenario) -> list[Line]:
    """Every alert the hub told and each time it grew, as lines of a backtest."""
    ledger = hub.stores.ledger
    alerts = [
        alert
        for spec in scenario.fleet.stations
        for alert in ledger.alerts(DEFAULT_TENANT, spec.site.site, limit=10_000)
    ]
    return [
        {
            "site": alert.key.site,
            "ts": iso_utc(step.t_ms),
            "kind": str(alert.kind),
            "severity": str(step.severity),
            "fault": list(step.fault),
            "target": alert.target,
        }
        for alert in alerts
        for step in ledger.transitions(alert.id)
        if step.step in (Step.OPENED, Step.WORSENED)
    ]


def as_data(scenario: Scenario, verdict: Verdict) -> dict[str, Any]:
    """The verdict for machines."""
    return {
        "scenario": scenario.name,
        "passed": verdict.passed,
        "expected": [
            {
                "station": met.wanted.station,
                "group": str(met.wanted.group),
                "fault": met.wanted.fault,
                "target": met.wanted.target,
                "by": iso_utc(met.wanted.by_ms),
                "line": met.wanted.line,
                "came": met.line["ts"] if met.line else None,
                "in_time": met.in_time,
            }
            for met in verdict.expected
        ],
        "unexpected": [
            {k: line[k] for k in ("site", "ts", "kind", "severity", "fault", "target")}
            for line in verdict.unexpected
        ],
    }
