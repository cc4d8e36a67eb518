"""A seeded fleet of twelve stations for tests of the pages and for looking at them.

Thirty days of cycles, a day of samples, a ragging pump with the evidence a diagnosis would give, a
power cut that somebody has taken, a leaking check valve, a station that fell silent.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from pumpwatch.alerting.policy import Policy
from pumpwatch.domain.actors import LOCAL, SYSTEM, Actor
from pumpwatch.domain.alerts import (
    Alert,
    Json,
    Kind,
    Severity,
    Step,
    Transition,
    alert_id,
    iso_utc,
    ms_from_iso,
)
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, ManualClock
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import ActiveFault, AlertChange, HubStatus, SiteAge, StageAge
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.queries import Queries
from pumpwatch.services.tuning import TuningService
from pumpwatch.stores.memory import MemoryLedger, MemorySeries
from pumpwatch.web.deps import WebDeps

NOW_MS = ms_from_iso("2026-11-18T03:12:00+09:00")
NAMES = [
    "東新町第1", "東新町第2", "東新町第3", "浜寺西", "鳳南", "上野芝", "百舌鳥", "新金岡東", "福田",
    "深井沢", "津久野", "北野田",
]  # fmt: skip
STEP_MS = 30_000
CAPACITY_M3S = 0.0052


class SampleDemo:
    """Demo controls that remember what they were told."""

    def __init__(self, sites: list[str], clock: ManualClock) -> None:
        self._sites, self._clock = sites, clock
        self._speed = 60.0
        self._active: list[ActiveFault] = []

    def speed(self) -> float:
        return self._speed

    def set_speed(self, factor: float) -> None:
        self._speed = factor

    def fault_codes(self) -> list[str]:
        return ["pump_ragging", "check_valve_leak", "power_outage"]

    def targets(self, site: str) -> list[str]:
        return ["pump1", "pump2"]

    def start_fault(self, site: str, fault: str, target: str | None) -> ActiveFault:
        if site not in self._sites:
            raise InvalidInput("site", f"{site!r} is not simulated", "choose one of the demo's")
        if fault not in self.fault_codes():
            raise InvalidInput("fault", f"{fault!r} cannot be simulated", "choose another")
        if (fault == "power_outage") != (target is None):
            raise InvalidInput("target", f"{fault} does not befall {target}", "choose another")
        self._active.append(ActiveFault(site, fault, target, self._clock.now_ms()))
        return self._active[-1]

    def clear_fault(self, site: str, fault: str, target: str | None) -> None:
        self._active = [
            a for a in self._active if (a.site, a.fault, a.target) != (site, fault, target)
        ]

    def active_faults(self) -> list[ActiveFault]:
        return list(self._active)


class SampleStatus:
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.connected = True
        self.stages: list[StageAge] = []
        self.sites: list[SiteAge] = []

    def status(self) -> HubStatus:
        now_ms = self._clock.now_ms()
        return HubStatus(
            now_ms,
            started_ms=now_ms - 3 * DAY_MS,
            broker_connected=self.connected,
            last_message_ms=now_ms - 2_000,
            last_commit_ms=now_ms - 2_000,
            last_assess_ms=now_ms - 3_000,
            last_series_write_ms=now_ms - 5_000,
            last_notification_ms=now_ms - 2 * HOUR_MS,
            inbox_lag={"assess": 0, "series": 12},
            counters={"stored": 1_203_412, "duplicates": 12, "quarantine.json": 1},
            stages=self.stages,
            sites=self.sites,
        )


@dataclass
class World:
    """A fleet with everything the pages need, and handles to change it."""

    ledger: MemoryLedger
    series: MemorySeries
    clock: ManualClock
    feed: LiveFeed
    status: SampleStatus
    demo: SampleDemo
    keys: list[SiteKey] = field(default_factory=list)

    @property
    def queries(self) -> Queries:
        return Queries(self.ledger, self.ledger, self.series, self.clock, self.status)

    def people(self, clock: ManualClock | None = None) -> AlertService:
        return AlertService(self.ledger, self.ledger, clock or self.clock, Policy())

    def deps(self, *, demo: bool = False) -> WebDeps:
        return WebDeps(
            queries=self.queries,
            alerts=self.people(),
            sites=self.ledger,
            feed=self.feed,
            clock=self.clock,
            status=self.status,
            demo=self.demo if demo else None,
            tuning=TuningService(self.ledger, self.ledger, self.series, self.clock),
        )

    def open_alert(self, alert: Alert) -> Alert:
        opened = Transition(
            1, Step.OPENED, alert.opened_ms, alert.opened_ms, SYSTEM, alert.severity, alert.fault
        )
        self.ledger.commit_assessment([], [AlertChange(alert, [opened])], [])
        return alert

    def alert_of(self, cause: str) -> Alert:
        return next(a for a in self.ledger.alerts() if a.cause == cause)


def empty_world() -> World:
    clock = ManualClock(NOW_MS)
    sites = [f"mh{n:04d}" for n in range(1, len(NAMES) + 1)]
    return World(
        MemoryLedger(),
        MemorySeries(),
        clock,
        LiveFeed(),
        SampleStatus(clock),
        SampleDemo(sites, clock),
    )


def sample_world(seed: int = 7) -> World:
    """The full fleet; the same seed gives the same fleet. Its samples are shared: do not write."""
    world = empty_world()
    world.series, cycles = _measured(seed)
    for n, name in enumerate(NAMES, 1):
        key = SiteKey("demo", f"mh{n:04d}")
        world.keys.append(key)
        world.ledger.put_site(key, _site(key, name), LOCAL, NOW_MS - 40 * DAY_MS)
        world.ledger.commit_assessment([], [], [(key, c) for c in cycles[n - 1]])
    world.ledger.add_log(
        world.keys[2],
        LogEntry(NOW_MS - 25 * DAY_MS, LogKind.CLEANING, "pump1", "ウェットティッシュ除去"),
        LOCAL,
        NOW_MS - 25 * DAY_MS,
    )
    for alert in _alerts(world.keys):
        world.open_alert(alert)
    taken = world.alert_of("power")
    world.people(ManualClock(NOW_MS - 20 * MINUTE_MS)).acknowledge(
        taken.id, Actor("local:田中", "local"), "発電機を積んで向かう"
    )
    over = world.alert_of("level")
    world.people(ManualClock(NOW_MS - 2 * DAY_MS)).resolve(
        over.id, Actor("local:佐藤", "local"), "フロート清掃"
    )
    newcomer = SiteKey("demo", "mh0099")
    birth = Birth(
        newcomer, True, "b1", "0.1.0",
        {"level_m": {"unit": "m"}, "pump1_run": {}, "pump2_run": {}}, 10.0,
    )  # fmt: skip
    world.ledger.hold(newcomer, NOW_MS - 5 * MINUTE_MS, 31, birth)
    return world


@lru_cache
def _measured(seed: int) -> tuple[MemorySeries, list[list[CycleRow]]]:
    series, cycles, rng = MemorySeries(), [], random.Random(seed)
    for n in range(1, len(NAMES) + 1):
        # Station 9 fell silent 50 minutes ago; station 6 lost two hours in the evening.
        until_ms = NOW_MS - 50 * MINUTE_MS if n == 9 else NOW_MS - rng.randrange(2_000, 25_000)
        hole = (NOW_MS - 9 * HOUR_MS, NOW_MS - 7 * HOUR_MS) if n == 6 else (0, 0)
        series.write([(SiteKey("demo", f"mh{n:04d}"), _day(rng, until_ms, n, hole))], n)
        cycles.append(_cycles(rng, n))
    return series, cycles


def _site(key: SiteKey, name: str) -> Site:
    return Site(
        key.site, name=name, sample_s=10, well_diameter_m=1.5, well_depth_m=3.4, stop_level_m=0.44,
        start_level_m=1.28, lag_start_level_m=1.54, high_level_m=1.85, pump_capacity_m3_min=0.311,
        rated_current_a=2.0, mode=SiteMode.DEMO,
    )  # fmt: skip


def _day(rng: random.Random, until_ms: int, n: int, hole: tuple[int, int]) -> Chunk:
    """A day of level and runs from a small mass balance."""
    times = np.arange(NOW_MS - DAY_MS, until_ms, STEP_MS, dtype=np.int64)
    level, pump, duty = rng.uniform(0.5, 1.2), 0, 1
    area = math.pi / 4 * 1.5**2
    levels, runs = np.empty(len(times)), np.zeros((2, len(times)))
    for i, t_ms in enumerate(times):
        hour = (int(t_ms) / HOUR_MS + 9) % 24
        inflow = 0.0009 * (1 + 0.6 * math.sin((hour - 4) / 24 * 4 * math.pi)) * (0.7 + 0.06 * n)
        if level >= 1.28 and not pump:
            pump, duty = duty, 3 - duty
        elif level <= 0.44:
            pump = 0
        weak = 0.73 if (n, pump) == (3, 2) else 1.0
        level += (inflow - (CAPACITY_M3S * weak if pump else 0)) * STEP_MS / 1000 / area
        levels[i] = level + rng.gauss(0, 0.004)
        if pump:
            runs[pump - 1, i] = 1
    kept = (times < hole[0]) | (times >= hole[1])
    signals = {"level_m": levels[kept], "pump1_run": runs[0, kept], "pump2_run": runs[1, kept]}
    signals["pump1_current_a"] = signals["pump1_run"] * 1.9
    signals["power_ok"] = np.ones(kept.sum()) * (0.0 if n == 5 else 1.0)
    return Chunk(times[kept], signals)


def _cycles(rng: random.Random, n: int) -> list[CycleRow]:
    rows, gap_ms = [], 40 * MINUTE_MS
    for i, start_ms in enumerate(range(NOW_MS - 30 * DAY_MS, NOW_MS - HOUR_MS, gap_ms)):
        pump = f"pump{i % 2 + 1}"
        age_d = (NOW_MS - start_ms) / DAY_MS
        loss = 0.0
        if n == 3 and pump == "pump2" and age_d < 4:
            loss = 0.27 if age_d < 1.5 else 0.19 if age_d < 3 else 0.11
        q = CAPACITY_M3S * (1 if pump == "pump1" else 0.965) * (1 - loss) * rng.gauss(1, 0.022)
        back = 0.0008 if n == 8 and pump == "pump1" and age_d < 6 else 0.00005
        features = {
            "capacity_m3s": q,
            "run_s": 1.48 / (q - 0.001),
            "backflow_m3s": max(0.0, rng.gauss(back, 0.00006)),
            "current_a": rng.gauss(1.9 + loss, 0.03),
        }
        rows.append(
            CycleRow(start_ms, start_ms + round(1000 * features["run_s"]), pump, "", features)
        )
    return rows


def _sign(feature: str, target: str | None, now: float, normal: float, deviation: float) -> Json:
    return {
        "feature": feature, "target": target, "now": now, "normal": normal, "deviation": deviation
    }  # fmt: skip


def _alerts(keys: list[SiteKey]) -> list[Alert]:
    since = NOW_MS - 4 * DAY_MS
    ragging = _alert(
        keys[2], "capacity:pump2", Kind.PREDICTIVE, Severity.WARNING,
        ("pump_ragging", "pump_wear"), "pump2", NOW_MS - 2 * DAY_MS,
        {
            "since": iso_utc(since), "capacity_index": 0.73,
            "breakdown": {"days": 5.5, "from_days": 3.1, "to_days": 9.8},
            "signs": [
                _sign("capacity_m3s", "pump2", 0.00366, 0.00502, -9.1),
                _sign("run_s", "pump2", 555.0, 368.0, 6.2),
                _sign("current_a", "pump2", 2.16, 1.9, 4.4),
            ],
            "causes": [
                {"fault": "pump_ragging", "p": 0.71,
                 "for": ["capacity_m3s", "current_a"], "against": []},
                {"fault": "pump_wear", "p": 0.14, "for": ["capacity_m3s"], "against": ["current_a"]},
                {"fault": "coupling_leak", "p": 0.09, "for": ["run_s"], "against": []},
            ],
        },
    )  # fmt: skip
    leak = _alert(
        keys[7], "backflow:pump1", Kind.PREDICTIVE, Severity.WARNING, ("check_valve_leak",), "pump1",
        NOW_MS - 5 * DAY_MS,
        {
            "since": iso_utc(NOW_MS - 6 * DAY_MS),
            "signs": [_sign("backflow_m3s", "pump1", 0.0008, 0.00005, 8.0)],
            "causes": [{"fault": "check_valve_leak", "p": 0.82, "for": ["backflow_m3s"],
                        "against": []}],
        },
    )  # fmt: skip
    power = _alert(
        keys[4], "power", Kind.CONDITION, Severity.ALARM, ("power_outage",), None,
        NOW_MS - 34 * MINUTE_MS,
        {"since": iso_utc(NOW_MS - 34 * MINUTE_MS), "signs": [_sign("outage_s", None, 2040, 0, 9)]},
    )  # fmt: skip
    level = _alert(
        keys[1], "level", Kind.PREDICTIVE, Severity.ALARM, ("float_hangup",), None,
        NOW_MS - 3 * DAY_MS, {"since": iso_utc(NOW_MS - 3 * DAY_MS)},
    )  # fmt: skip
    return [ragging, leak, power, level]


def _alert(
    key: SiteKey,
    cause: str,
    kind: Kind,
    severity: Severity,
    fault: tuple[str, ...],
    target: str | None,
    opened_ms: int,
    evidence: dict[str, Json],
) -> Alert:
    assert set(fault) <= set(FAULT_GROUP)
    found = alert_id(key, cause, opened_ms)
    return Alert(
        found, key, cause, kind, severity, fault, target, 0.93, evidence, opened_ms, opened_ms
    )


def critical_alert(key: SiteKey) -> Alert:
    """An alert that comes while people look."""
    evidence: dict[str, Json] = {
        "since": iso_utc(NOW_MS), "signs": [_sign("level_m", None, 2.1, 1.2, 12)]
    }  # fmt: skip
    return _alert(
        key,
        "high_level",
        Kind.CONDITION,
        Severity.CRITICAL,
        ("high_level",),
        None,
        NOW_MS,
        evidence,
    )


def renamed(world: World, key: SiteKey, name: str) -> None:
    site = world.ledger.site(key)
    assert site is not None
    world.ledger.put_site(key, replace(site, name=name), LOCAL, NOW_MS)
