"""A benchmark's scenario: a drawn town in which things fail, and harmless things happen, about as often as in life.

No published failure rates of manhole pumps by kind were found. The rates below are orders of magnitude: in sum
about one fault a station and year, most of them ragging, valves and sensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.sites import LogEntry, LogKind
from pumpwatch.simulator.catalogue import FaultKind, kind_of
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.fleet import Fleet, draw_fleet
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.weather import Sky

START = "2025-05-15T00:00:00+09:00"
"""Before the plum rain: sixty days from here are half dry, half wet."""

FAULTS_PER_YEAR = {
    "pump_ragging": 0.15, "check_valve_leak": 0.06, "frozen_level": 0.05, "sensor_drift": 0.05,
    "pump_wear": 0.03, "pump_blocked": 0.03, "start_failure": 0.03, "pump_trip": 0.03,
    "pump_out_of_service": 0.03, "discharge_blockage": 0.03, "float_hangup": 0.03,
    "infiltration_growth": 0.03, "well_fouling": 0.03, "comms_gap": 0.10, "motor_degradation": 0.02,
    "seal_leak": 0.02, "air_lock": 0.02, "coupling_leak": 0.02, "alternation_failure": 0.02,
    "left_in_manual": 0.02, "inflow_change": 0.02, "sensor_failed": 0.02, "clock_error": 0.02,
    "insulation_drop": 0.02, "contactor_fault": 0.015, "stuck_on": 0.015, "short_cycling": 0.015,
    "upstream_blockage": 0.015, "span_drift": 0.01, "slow_transmitter": 0.01,
    "check_valve_open": 0.01, "gate_closed": 0.01, "phase_loss": 0.01, "contactor_welded": 0.005,
    "scale_error": 0.005, "rising_main_burst": 0.003, "panel_flooded": 0.002,
}  # fmt: skip
"""Per station and year. What befalls a pump befalls any of the station's."""

COURSE_DAYS = {
    "air_lock": 14.0, "check_valve_leak": 17.0, "discharge_blockage": 11.0, "float_hangup": 8.6,
    "frozen_level": 4.1, "infiltration_growth": 23.0, "motor_degradation": 22.0,
    "pump_ragging": 8.3, "pump_wear": 44.0, "sensor_drift": 23.0, "start_failure": 7.0,
    "stuck_on": 3.6, "upstream_blockage": 2.7,
}  # fmt: skip
"""Typical days from onset to breakdown: medians of 44 slow failures of recorded stations, made with another
engine. The gates of the lead time were set on those; kinds they do not have keep the simulator's own."""

CUTS_PER_YEAR = 0.6
"""Power cuts per district and year; each befalls all of its stations."""

HARMLESS_PER_YEAR = {
    "hand_test": 6.0, "short_gap": 8.0, "washdown": 2.0, "level_spikes": 1.0, "dropped_rows": 1.0,
    "repeated_rows": 0.5, "blank_levels": 0.5, "crowd": 0.5, "voltage_sag": 0.5,
    "rough_water": 0.5, "dewatering": 0.3, "new_set_point": 0.3, "new_pump": 0.15,
    "sensor_swap": 0.15, "pool_drain": 0.1,
}  # fmt: skip

WRITTEN_DOWN = {"new_pump": LogKind.REPLACED, "new_set_point": LogKind.SET_POINT}
WRITTEN_SHARE = 0.6
"""How many of these the crews write down."""

_CALM_MS = 5 * DAY_MS
"""Between the repair of one fault of a station and the next: more often, and nobody could tell them apart."""


def draw_scenario(seed: int, stations: int, days: int, rate: float = 1.0) -> Scenario:
    """A town of ``stations`` over ``days``, with ``rate`` times as many faults as in life.

    Equal arguments give equal scenarios.
    """
    start_ms = ms_from_iso(START)
    end_ms = start_ms + days * DAY_MS
    fleet = draw_fleet(seed, stations, start_ms)
    draw = _Draw(seed, start_ms, end_ms, rate)
    cuts = dict(draw.cuts(fleet))
    events: list[Event] = []
    for spec in fleet.stations:
        events += draw.happenings(spec, cuts.get(spec.district, []))
    return Scenario(
        name=f"benchmark-{seed}",
        title=f"{stations} stations, {days} days, seed {seed}",
        seed=seed,
        start_ms=start_ms,
        end_ms=end_ms,
        fleet=fleet,
        sky=Sky(seed),
        events=tuple(events),
        log=_log(seed, events),
    )


@dataclass(frozen=True, slots=True)
class _Draw:
    seed: int
    start_ms: int
    end_ms: int
    rate: float

    def cuts(self, fleet: Fleet) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """District → (from, to) of its power cuts; most last less than two hours."""
        for district in sorted({s.district for s in fleet.stations}):
            rng = generator(self.seed, "cuts", district)
            moments = self._moments(rng, CUTS_PER_YEAR * self.rate)
            lasts = rng.lognormal(0.2, 0.7, len(moments)) * HOUR_MS
            yield (
                district,
                [(t, t + int(max(d, HOUR_MS / 3))) for t, d in zip(moments, lasts, strict=True)],
            )

    def happenings(self, spec: StationSpec, cuts: list[tuple[int, int]]) -> list[Event]:
        """Everything at one station: the cuts of its district, then faults with calm between, then the
        harmless."""  # fmt: skip
        site = spec.site.site
        events = [Event(site, "power_outage", None, a, repair_ms=b) for a, b in cuts]
        faults = [e for code in FAULTS_PER_YEAR for e in self._events(spec, code)]
        free_ms = self.start_ms
        for event in sorted(faults, key=lambda e: (e.start_ms, e.code)):
            if event.start_ms >= free_ms:
                events.append(event)
                free_ms = (event.repair_ms or event.start_ms + 2 * DAY_MS) + _CALM_MS
        return events + [e for code in HARMLESS_PER_YEAR for e in self._events(spec, code)]

    def _events(self, spec: StationSpec, code: str) -> Iterator[Event]:
        """All events of one kind at one station, none before the last is over."""
        kind = kind_of(code)
        assert kind is not None, code
        rng = generator(self.seed, "happens", spec.site.site, code)
        often = HARMLESS_PER_YEAR[code] if kind.harmless else FAULTS_PER_YEAR[code] * self.rate
        free_ms = self.start_ms
        for start_ms in self._moments(rng, often):
            targets = kind.targets(len(spec.pumps))
            target = str(rng.choice(targets)) if targets else None
            breakdown_ms, repair_ms = _course(kind, start_ms, rng)
            params = _params(kind, rng)
            if start_ms >= free_ms:
                yield Event(spec.site.site, code, target, start_ms, breakdown_ms, repair_ms, params)
                free_ms = self.end_ms if repair_ms is None else repair_ms

    def _moments(self, rng: np.random.Generator, per_year: float) -> list[int]:
        """Moments of a Poisson process, on full minutes, not in the last hours."""
        span_ms = self.end_ms - self.start_ms - 6 * HOUR_MS
        count = rng.poisson(per_year * span_ms / (365.25 * DAY_MS))
        at = np.sort(rng.uniform(0, span_ms, count)) // 60_000 * 60_000
        return [self.start_ms + int(t) for t in at]


def _course(
    kind: FaultKind, start_ms: int, rng: np.random.Generator
) -> tuple[int | None, int | None]:
    """(breakdown, repair) of one event; no breakdown where the kind's own holds, no repair where it stays."""
    if kind.lasts_h is not None:
        return None, start_ms + int(kind.lasts_h * HOUR_MS)
    if kind.harmless:
        return None, None
    if kind.ramp_days:
        ramp_ms = COURSE_DAYS.get(kind.code, kind.ramp_days) * DAY_MS * rng.lognormal(0.0, 0.35)
        breakdown_ms = start_ms + int(max(ramp_ms, DAY_MS))
        return breakdown_ms, breakdown_ms + int(rng.uniform(6, 48) * HOUR_MS)
    found_h = kind.deadline_h + rng.uniform(12, 96)
    return None, start_ms + int(found_h * HOUR_MS)


def _params(kind: FaultKind, rng: np.random.Generator) -> Mapping[str, float]:
    """Around the defaults, within the bounds."""
    return {
        name: float(np.clip(p.default * rng.uniform(0.7, 1.3), p.low, p.high))
        for name, p in kind.params.items()
    }


def _log(seed: int, events: list[Event]) -> dict[str, tuple[LogEntry, ...]]:
    log: dict[str, tuple[LogEntry, ...]] = {}
    for event in events:
        kind = WRITTEN_DOWN.get(event.code)
        rng = generator(seed, "written", event.station, event.code, event.start_ms)
        if kind is not None and rng.random() < WRITTEN_SHARE:
            entry = LogEntry(event.start_ms, kind, event.target, event.kind.en)
            log[event.station] = (*log.get(event.station, ()), entry)
    return log
