"""Sudden failures of a small station drawn by hand: each is told in hours, by what it does to the water."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Finding, Kind
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site, site_from_dict

STEP_S, DAY = 10, 8640
ONSET = 5 * DAY
SITE = site_from_dict(
    {"site": "well", "timezone": "UTC", "sample_s": STEP_S, "well_area_m2": 1.0, "stop_level_m": 0.4,
     "start_level_m": 1.0, "high_level_m": 1.6, "has_rain": False, "control": "level"}
)  # fmt: skip
EARLY = DiagnosisSettings(reference_days=4.0)


def station(
    days: int, *, back: float = 0.0, gain: float = 1.0, dead: bool = False, drain: float = 0.0
) -> Chunk:
    """Two pumps of 5 L/s in turn. From `ONSET` on ``back`` [m3/s] returns through pump 2 while it rests, every
    pump moves ``gain`` times as much, pump 2 is ``dead``, or ``drain`` [m3/s] runs back for two minutes after
    each run."""
    rng = np.random.default_rng(4)
    n = days * DAY
    level, running, turn, stopped = 0.5, 0, 1, 0
    rows = np.zeros((n, 3))
    spread = rng.normal(1.0, 0.01, n)
    for k in range(n):
        ill = k >= ONSET
        if not running and level >= 1.0:
            running, turn = (1 if dead and ill else turn), 3 - turn
            flow = 0.005 * spread[k] * (gain if ill else 1.0)
        elif running and level <= 0.4:
            running, stopped = 0, k
        water = 0.0012 + 0.0004 * np.sin(2 * np.pi * k / DAY)
        water += back if ill and running != 2 else 0.0
        water += drain if ill and not running and k - stopped < 12 else 0.0
        level += STEP_S * (water - (flow if running else 0.0))
        rows[k] = level, running == 1, running == 2
    rows[:, 0] = np.round(rows[:, 0] + rng.normal(0, 0.002, n), 3)
    signals = dict(zip(("level_m", "pump1_run", "pump2_run"), rows.T, strict=True))
    return Chunk(np.arange(1, n + 1, dtype=np.int64) * STEP_S * 1000, signals)


def told(chunk: Chunk, settings: DiagnosisSettings = EARLY, site: Site = SITE) -> list[Finding]:
    assessor = SiteAssessor(
        SiteKey("default", "well"), site, fit=lambda request: None, settings=settings
    )
    return [f for f in assessor.feed(chunk).findings if f.kind is Kind.PREDICTIVE]


def hours(finding: Finding) -> float:
    return finding.t_ms / 3_600_000 - ONSET * STEP_S / 3600


def test_a_valve_that_stands_open_is_told_in_hours_by_its_own_pumps_strength() -> None:
    first = told(station(6, back=0.0025))[0]
    assert (first.fault[0], first.target) == ("check_valve_leak", "pump2")
    assert 0 < hours(first) < 6


def test_what_runs_back_after_a_run_is_told_in_its_unit() -> None:
    found = told(station(6, drain=0.002))[0]
    signs = {(s["feature"], s["target"]): s["now"] for s in found.evidence["signs"]}
    assert 0.0003 < signs["backflow_m3s", "pump1"] < 0.002


def test_without_comparing_the_pumps_it_is_told_as_soon_but_may_be_the_main() -> None:
    alone = DiagnosisSettings(reference_days=4.0, partner_comparison=False)
    first = told(station(6, back=0.0025), settings=alone)[0]
    assert set(first.fault[:2]) == {"check_valve_leak", "rising_main_burst"}
    assert 0 < hours(first) < 6


def test_a_main_that_bursts_makes_all_pumps_stronger_at_once() -> None:
    found = told(station(6, gain=1.4))
    assert 0 < hours(found[0]) < 12
    assert "rising_main_burst" in {f.fault[0] for f in found if hours(f) < 12}


def test_a_main_that_bursts_in_rain_is_told_while_no_more_comes_than_in_dry_weather() -> None:
    chunk = station(6, gain=1.4)
    wet = Chunk(chunk.t_ms, {**chunk.signals, "rain_mm_h": np.full(len(chunk), 5.0)})
    wet.signals["rain_mm_h"][: ONSET - 360] = 0.0
    gauged = replace(SITE, has_rain=True)
    found = told(wet, site=gauged)
    assert "rising_main_burst" in {f.fault[0] for f in found if hours(f) < 12}


def test_a_main_with_a_second_steady_state_has_not_burst() -> None:
    assert told(station(7, gain=1.15)) == []


def test_a_pump_that_misses_its_turns_is_told_within_six_hours() -> None:
    first = told(station(6, dead=True))[0]
    assert (first.fault[0], first.target) == ("pump_out_of_service", "pump2")
    assert EARLY.idle_h < hours(first) < 6.5


def test_evidence_is_weighed_at_the_same_hours_however_the_record_is_split() -> None:
    chunk = station(7)
    quiet = (chunk.t_ms > chunk.t_ms[0] + 6.55 * DAY_MS) & (
        chunk.t_ms < chunk.t_ms[0] + 6.9 * DAY_MS
    )
    signals = {name: np.where(quiet, values[0], values) for name, values in chunk.signals.items()}

    def weighed(parts: int) -> list[tuple[int, float]]:
        assessor = SiteAssessor(
            SiteKey("default", "well"), SITE, fit=lambda r: None, settings=EARLY
        )
        return [
            mark
            for i in np.array_split(np.arange(len(chunk)), parts)
            for mark in assessor.feed(
                Chunk(chunk.t_ms[i], {name: v[i] for name, v in signals.items()})
            ).evidence
        ]

    assert weighed(1) == weighed(97)
