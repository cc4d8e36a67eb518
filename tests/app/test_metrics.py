"""What Prometheus reads: over memory stores, through Prometheus' own parser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from pumpwatch.alerting.policy import Policy
from pumpwatch.app.commands.run import _web
from pumpwatch.app.hub import Hub
from pumpwatch.app.metrics import HubCollector, exposition
from pumpwatch.app.settings import load_settings
from pumpwatch.domain.actors import LOCAL, SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition, alert_id
from pumpwatch.domain.clock import ManualClock
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange, HubStatus
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.queries import Queries
from pumpwatch.stores.memory import MemoryLedger, MemorySeries

NOW_MS = 1_763_600_000_000
NORTH, SOUTH, QUIET = (SiteKey("default", name) for name in ("north", "south", "quiet"))
HOSTILE = 'a"b\\c\nd} 1\n# HELP 浜寺'
HELD = {
    "pumpwatch_broker_connected": set(),
    "pumpwatch_problems": set(),
    "pumpwatch_inbox_lag_messages": {"consumer"},
    "pumpwatch_events": {"what"},
    "pumpwatch_stage_age_seconds": {"stage"},
    "pumpwatch_site_info": {"tenant", "site", "name"},
    "pumpwatch_open_alerts": {"tenant", "severity"},
    "pumpwatch_level_metres": {"tenant", "site"},
    "pumpwatch_last_sample_age_seconds": {"tenant", "site"},
    "pumpwatch_pump_running": {"tenant", "site", "pump"},
}
"""Every metric with its labels: names and labels are an interface, others build upon them."""


class Status:
    def __init__(self, status: HubStatus) -> None:
        self.value = status

    def status(self) -> HubStatus:
        return self.value


class World:
    def __init__(self) -> None:
        self.ledger, self.series = MemoryLedger(), MemorySeries()
        self.status = Status(HubStatus(NOW_MS, NOW_MS - 60_000, broker_connected=False))

    def add(self, key: SiteKey, name: str | None = None, mode: SiteMode = SiteMode.LIVE) -> None:
        self.ledger.put_site(key, Site(key.site, name=name, mode=mode), LOCAL, NOW_MS)

    def sample(self, key: SiteKey, t_ms: int, **values: float) -> None:
        columns = {name: np.array([value]) for name, value in values.items()}
        self.series.write([(key, Chunk(np.array([t_ms], np.int64), columns))], 1)

    def alert(
        self, key: SiteKey, severity: Severity, cause: str, *, resolved: bool = False
    ) -> None:
        opened = Alert(
            alert_id(key, cause, NOW_MS), key, cause, Kind.PREDICTIVE, severity, ("pump_wear",),
            "pump1", 0.9, {}, NOW_MS, NOW_MS,
        )  # fmt: skip
        steps = [Step.OPENED, *([Step.RESOLVED] if resolved else [])]
        transitions = [
            Transition(n, step, NOW_MS, NOW_MS, SYSTEM, severity, opened.fault)
            for n, step in enumerate(steps, 1)
        ]
        alert = replace(opened, resolved_ms=NOW_MS if resolved else None)
        self.ledger.commit_assessment([], [AlertChange(alert, transitions)], [])

    def text(self) -> str:
        collector = HubCollector(self.ledger, self.ledger, self.series, self.status)
        return exposition(collector).decode()

    def read(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Family → the values of its labels (in the order of their names) → value."""
        return {f.name: values(f.samples) for f in text_string_to_metric_families(self.text())}


def values(samples: Iterable[Any]) -> dict[tuple[str, ...], float]:
    return {tuple(s.labels[name] for name in sorted(s.labels)): s.value for s in samples}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def town(world: World) -> World:
    world.add(NORTH, name="浜寺西")
    world.add(SOUTH)
    world.add(QUIET)
    world.sample(NORTH, NOW_MS - 70_000, level_m=2.0, pump1_run=0.0)
    world.sample(NORTH, NOW_MS - 10_000, level_m=0.83, pump1_run=1.0, pump2_run=0.0)
    world.sample(SOUTH, NOW_MS - 4_000_000, pump1_run=0.0)
    world.alert(NORTH, Severity.WARNING, "capacity:pump1")
    world.alert(SOUTH, Severity.WARNING, "silence")
    world.alert(SOUTH, Severity.CRITICAL, "gone", resolved=True)
    world.status.value = HubStatus(
        NOW_MS,
        NOW_MS - 60_000,
        broker_connected=True,
        last_message_ms=NOW_MS - 2_000,
        last_commit_ms=NOW_MS - 1_500,
        last_assess_ms=NOW_MS - 3_000,
        last_series_write_ms=NOW_MS - 4_000,
        inbox_lag={"assess": 0, "series": 12},
        counters={"stored": 1_203_412, "poison_json": 1},
        problems=["record: disk full"],
    )
    return world


def test_every_metric_has_its_name_its_labels_and_says_what_it_is(town: World) -> None:
    found = {}
    for family in text_string_to_metric_families(town.text()):
        assert family.documentation.strip(), family.name
        assert family.type in {"gauge", "counter"}, family.name
        found[family.name] = {name for sample in family.samples for name in sample.labels}

    assert found == HELD


def test_the_newest_sample_of_a_station_is_what_is_told(town: World) -> None:
    read = town.read()

    assert read["pumpwatch_level_metres"] == {("north", "default"): 0.83}
    assert read["pumpwatch_last_sample_age_seconds"] == {
        ("north", "default"): 10,
        ("south", "default"): 4000,
    }
    assert read["pumpwatch_pump_running"] == {
        ("pump1", "north", "default"): 1,
        ("pump2", "north", "default"): 0,
        ("pump1", "south", "default"): 0,
    }


def test_a_station_without_data_is_named_and_has_no_age(town: World) -> None:
    assert town.read()["pumpwatch_site_info"] == {
        ("浜寺西", "north", "default"): 1,
        ("quiet", "quiet", "default"): 1,
        ("south", "south", "default"): 1,
    }


def test_open_alerts_are_counted_for_every_severity_also_where_there_are_none(town: World) -> None:
    counts = {severity: n for (severity, _), n in town.read()["pumpwatch_open_alerts"].items()}

    assert counts == {"info": 0, "warning": 2, "alarm": 0, "critical": 0}


def test_recordings_are_neither_silent_nor_alarming(town: World) -> None:
    before = town.text()
    old = SiteKey("default", "recorded")
    town.add(old, mode=SiteMode.RECORDING)
    town.sample(old, NOW_MS - 10**10, level_m=1.0)
    town.alert(old, Severity.CRITICAL, "high_level")

    assert town.text() == before


def test_an_open_alert_of_a_retired_station_still_counts(town: World) -> None:
    town.ledger.retire_site(SOUTH, LOCAL, NOW_MS)

    assert town.read()["pumpwatch_open_alerts"]["warning", "default"] == 2


def test_the_hubs_health_is_told_in_ages_and_counts(town: World) -> None:
    read = town.read()

    assert read["pumpwatch_broker_connected"] == {(): 1}
    assert read["pumpwatch_problems"] == {(): 1}
    assert read["pumpwatch_inbox_lag_messages"] == {("assess",): 0, ("series",): 12}
    assert read["pumpwatch_events"] == {("stored",): 1_203_412, ("poison_json",): 1}
    assert read["pumpwatch_stage_age_seconds"] == {
        ("message",): 2,
        ("commit",): 1.5,
        ("assess",): 3,
        ("series",): 4,
    }, "a stage that never worked has no age"


def test_a_clock_that_was_set_back_gives_no_negative_age(town: World) -> None:
    town.status.value = replace(town.status.value, now_ms=NOW_MS - 3_600_000)
    read = town.read()

    assert sorted(read["pumpwatch_last_sample_age_seconds"].values()) == [0, 400]
    assert min(read["pumpwatch_stage_age_seconds"].values()) == 0


def test_a_hostile_name_stays_a_label_and_becomes_no_metric(world: World) -> None:
    key = SiteKey("default", HOSTILE)
    world.add(key, name=HOSTILE)
    world.sample(key, NOW_MS, level_m=1.5)
    world.status.value = replace(world.status.value, counters={HOSTILE: 3})
    read = world.read()

    assert read.keys() == HELD.keys()
    assert read["pumpwatch_site_info"] == {(HOSTILE, HOSTILE, "default"): 1}
    assert read["pumpwatch_level_metres"] == {(HOSTILE, "default"): 1.5}
    assert read["pumpwatch_events"] == {(HOSTILE,): 3}


def test_an_empty_fleet_has_the_hubs_health_and_no_station(world: World) -> None:
    read = world.read()

    assert read["pumpwatch_broker_connected"] == {(): 0}
    assert read["pumpwatch_problems"] == {(): 0}
    assert {name for name, found in read.items() if found} == {
        "pumpwatch_broker_connected",
        "pumpwatch_problems",
    }


def test_a_time_series_store_that_is_down_does_not_hide_the_rest(
    town: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(keys: object) -> None:
        raise StoreUnavailable("series.db cannot be read", "look at the disk")

    monkeypatch.setattr(town.series, "latest", down)
    read = town.read()

    assert "pumpwatch_level_metres" not in read
    assert read["pumpwatch_open_alerts"]["warning", "default"] == 2
    assert read["pumpwatch_broker_connected"] == {(): 1}


def test_the_hub_serves_them_beside_its_pages_to_this_machine_only(town: World) -> None:
    clock = ManualClock(NOW_MS)
    hub = SimpleNamespace(
        stores=SimpleNamespace(ledger=town.ledger, series=town.series),
        queries=Queries(town.ledger, town.ledger, town.series, clock, town.status),
        alerts=AlertService(town.ledger, town.ledger, clock, Policy()),
        feed=LiveFeed(),
        clock=clock,
        status=town.status.status,
        models=None,
        tuning=None,
    )
    app = _web(cast("Hub", hub), load_settings(), None)

    told = TestClient(app, "http://127.0.0.1:8000").get("/metrics")
    assert (told.status_code, told.text) == (200, town.text())
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert TestClient(app, "http://rebound.example").get("/metrics").status_code == 403
