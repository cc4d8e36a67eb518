"""Stations that join: what was weak already is told once, and days that change are not learnt from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.challenger import references_in
from pumpwatch.diagnosis.forest import FitRequest
from pumpwatch.diagnosis.joining import MOVING, WEAK, Kept, look, steady, written_off
from pumpwatch.diagnosis.seen import NAN, Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import JoiningState
from pumpwatch.domain.alerts import Finding, Kind, Phase
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind, Site

S = DiagnosisSettings()
ALONE = replace(S, partner_comparison=False)
KEY = SiteKey("default", "well")
PLATE_M3S = 0.003
SITE = Site("well", pump_capacity_m3_min=60 * PLATE_M3S, well_area_m2=1.8)
RAGGING = Path(__file__).parent.parent / "data" / "recorded" / "ragging"

Course = Callable[[float], float]
"""Share of the nameplate a pump moves, by the day."""


def sound(day: float) -> float:
    return 0.97


def first_days(*courses: Course, days: float = 7.0, amps: Course = sound) -> dict[int, Kept]:
    """Pump → cycles every two hours of pumps that take turns, with a spread of 3 %."""
    rng = np.random.default_rng(4)
    kept: dict[int, list[tuple[int, Seen]]] = {k: [] for k in range(1, len(courses) + 1)}
    for n in range(int(days * 24)):
        k, day = 1 + n % len(courses), n / 24
        inflow = 0.0008 * math.exp(0.5 * math.sin(n * math.tau / 24))
        noise = rng.normal(0, 0.03, 2)
        c = Seen(
            start_ms=n * HOUR_MS, final_ms=(n + 1) * HOUR_MS, pump=k, last_pump=k, pumps=1 << (k - 1),
            reason="", flags=0, run_s=300.0, first_s=300.0, fill_s=600.0, start_m=1.0, stop_m=0.4, max_m=1.0,
            inflow=inflow, fill_inflow=inflow, backflow=0.0, scatter=0.02, rain_mm=0.0, samples=30,
            capacity=PLATE_M3S * courses[k - 1](day) * (inflow / 0.0008) ** -0.08 * math.exp(noise[0]),
            current=3.0 * amps(day) * math.exp(noise[1] / 3),
        )  # fmt: skip
        kept[k].append((n // 12, c))
    return dict(kept)


def seen_by(
    kept: dict[int, Kept], day: float, state: JoiningState | None = None, site: Site = SITE,
    s: DiagnosisSettings = S,
) -> list[Finding]:  # fmt: skip
    until = {k: [(h, c) for h, c in v if c.final_ms <= day * DAY_MS] for k, v in kept.items()}
    return look(KEY, int(day * DAY_MS), 0, state or JoiningState(), until, {}, site, s)


def shown(finding: Finding) -> set[tuple[str, str]]:
    signs = finding.evidence["signs"]
    return {(sign["feature"], sign["target"]) for sign in signs}  # type: ignore[union-attr,index,call-overload]


@pytest.mark.parametrize("day", [0.5, 2.0, 4.5, 7.0])
def test_sound_pumps_of_unequal_wear_are_nobodys_business(day: float) -> None:
    assert seen_by(first_days(sound, lambda day: 0.89), day) == []


def test_a_pump_below_its_nameplate_is_told_on_the_second_day_as_information() -> None:
    kept = first_days(sound, lambda day: 0.75)
    assert seen_by(kept, 1.5) == []
    (told,) = seen_by(kept, 2.0)
    assert (told.kind, told.phase, told.cause, told.target) == (
        Kind.INFO,
        Phase.OPENED,
        WEAK,
        "pump2",
    )
    assert told.fault[0] == "unusual"
    assert shown(told) == {
        ("nameplate_capacity_m3s", "pump2"), ("partner_capacity_m3s", "pump2"),
    }  # fmt: skip


def test_pumps_apart_are_told_where_no_nameplate_is_known_unless_nobody_compares() -> None:
    kept, bare = first_days(lambda day: 0.8, sound), Site("well", well_area_m2=1.8)
    (told,) = seen_by(kept, 3.0, site=bare)
    assert (told.target, shown(told)) == ("pump1", {("partner_capacity_m3s", "pump1")})
    assert seen_by(kept, 3.0, site=bare, s=ALONE) == []


def test_a_weakness_does_not_end_because_nothing_is_known_any_more() -> None:
    kept, state = first_days(lambda _: 0.7, sound), JoiningState()
    assert len(seen_by(kept, 2.5, state)) == 1
    few = {k: v[-2:] for k, v in kept.items()}
    assert look(KEY, 7 * DAY_MS + 1, 0, state, few, {}, SITE, S) == []
    assert WEAK in state.told


def test_without_comparison_the_nameplate_speaks_alone() -> None:
    (told,) = seen_by(first_days(sound, lambda day: 0.75), 3.0, s=ALONE)
    assert shown(told) == {("nameplate_capacity_m3s", "pump2")}


@pytest.mark.parametrize("share", [0.62, 0.86])
def test_all_pumps_well_below_their_nameplate_name_none(share: float) -> None:
    (told,) = seen_by(first_days(lambda day: share, lambda day: share - 0.06), 3.0)
    assert told.target is None
    assert told.fault == ("unusual", "discharge_blockage")


def test_the_other_pump_is_asked_at_equal_inflow() -> None:
    """A pump on duty in the busy hours alone moves less for the water in the main, not for its wear."""
    kept = first_days(sound, sound)
    busy = {
        1: [(h, c) for h, c in kept[1] if c.inflow > 0.0009],
        2: [(h, c._replace(capacity=c.capacity * 0.92)) for h, c in kept[2] if c.inflow < 0.0007],
    }
    assert seen_by(busy, 7.0) == []


def test_what_is_weak_is_told_once_and_ends_by_itself_if_a_week_shows_otherwise() -> None:
    state = JoiningState()
    kept = first_days(sound, lambda day: 0.75 if day < 2.2 else 0.97)
    opened = [f for half in range(4, 14) for f in seen_by(kept, half / 2, state)]
    assert [f.phase for f in opened] == [Phase.OPENED]
    over = seen_by(kept, 7.0, state)
    assert (Phase.RESOLVED, WEAK) in [(f.phase, f.cause) for f in over]


@pytest.mark.parametrize(
    ("kind", "target", "ends"),
    [
        (LogKind.OVERHAUL, "pump2", True),
        (LogKind.ACCEPTED_CHANGE, None, True),
        (LogKind.REPLACED, "pump1", False),
    ],
)
def test_the_site_log_writes_it_off(kind: LogKind, target: str | None, ends: bool) -> None:
    state, kept = JoiningState(), first_days(sound, lambda day: 0.75)
    assert seen_by(kept, 3.0, state)
    over = written_off(KEY, 4 * DAY_MS, state, [LogEntry(3 * DAY_MS, kind, target)])
    assert [f.phase for f in over] == ([Phase.RESOLVED] if ends else [])
    assert seen_by(kept, 4.0, state) == []


def falling(day: float) -> float:
    return 0.97 - 0.03 * day


def test_a_pump_that_loses_in_its_first_week_is_told_and_learnt_from_its_better_half() -> None:
    kept = first_days(sound, falling)
    (told,) = [f for f in seen_by(kept, 7.0) if f.cause == MOVING]
    assert (told.kind, told.target, told.fault[0]) == (Kind.INFO, "pump2", "unusual")
    assert shown(told) == {("early_capacity_m3s", "pump2")}
    assert steady(1, kept, S) == kept[1]
    learnt = steady(2, kept, S)
    assert learnt
    assert max(c.final_ms for _, c in learnt) <= 3.6 * DAY_MS


def test_a_pump_that_recovers_is_learnt_from_the_later_half() -> None:
    learnt = steady(2, first_days(sound, lambda day: 0.8 + 0.03 * day), S)
    assert learnt
    assert min(c.final_ms for _, c in learnt) >= 3.4 * DAY_MS


def test_a_motor_that_draws_more_each_day_is_told() -> None:
    kept = first_days(sound, amps=lambda day: 1 + 0.015 * day)
    (told,) = seen_by(kept, 7.0)
    assert (told.cause, shown(told)) == (MOVING, {("early_current_a", "pump1")})


def stepping(day: float) -> float:
    return 0.97 if day < 4 else 0.88


def test_what_moves_all_pumps_alike_is_told_and_learnt_whole_as_states_of_the_main() -> None:
    kept = first_days(stepping, stepping)
    (told,) = seen_by(kept, 7.0)
    assert (told.cause, told.target) == (MOVING, None)
    assert steady(1, kept, S) == kept[1]


@pytest.mark.parametrize(("pumps", "s"), [(1, S), (2, ALONE)])
def test_where_nobody_can_compare_a_move_is_waited_for_until_it_stands_still(
    pumps: int, s: DiagnosisSettings
) -> None:
    courses = [stepping] * pumps
    assert not steady(1, first_days(*courses), s)
    later = steady(1, first_days(*courses, days=11.5), s)
    assert later
    assert min(c.final_ms for _, c in later) >= 4 * DAY_MS


def test_nobody_waits_longer_than_two_weeks() -> None:
    assert not steady(1, first_days(falling, days=13.5), S)
    assert steady(1, first_days(falling, days=15.0), S)


def test_unknown_currents_and_few_cycles_say_nothing() -> None:
    kept = first_days(sound, amps=lambda day: NAN)
    assert seen_by(kept, 7.0) == []
    few = {1: kept[1][:8]}
    assert seen_by(few, 7.0) == []
    assert steady(1, few, S) == few[1]


def between(chunk: Chunk, from_ms: int, to_ms: int) -> Chunk:
    a, b = np.searchsorted(chunk.t_ms, [from_ms, to_ms])
    return Chunk(chunk.t_ms[a:b], {name: v[a:b] for name, v in chunk.signals.items()})


@pytest.fixture(scope="module")
def ragging() -> Recording:
    return read_recording(RAGGING)


def infos(record: Recording, plate: float, log: list[LogEntry], *, restart: bool) -> list[Finding]:
    """What is told of the first four days of a station with ``plate`` times its true nameplate."""
    assert record.site.pump_capacity_m3_min is not None
    site = replace(record.site, pump_capacity_m3_min=plate * record.site.pump_capacity_m3_min)
    found: list[Finding] = []
    first_ms = int(record.chunk.t_ms[0])
    assessor = SiteAssessor(KEY, site, fit=lambda request: None, log=log)
    for part in range(8):
        at_ms = first_ms + part * DAY_MS // 2
        found += assessor.feed(between(record.chunk, at_ms, at_ms + DAY_MS // 2)).findings
        if restart:
            state = assessor.snapshot()
            assessor = SiteAssessor(KEY, site, fit=lambda request: None, log=log, state=state)
    return [f for f in found if f.kind is Kind.INFO]


def test_an_assessor_tells_it_until_the_log_writes_it_off(ragging: Recording) -> None:
    accepted = LogEntry(int(ragging.chunk.t_ms[0]) + 3 * DAY_MS, LogKind.ACCEPTED_CHANGE)
    assert infos(ragging, 1.0, [accepted], restart=False) == []
    told = infos(ragging, 1.35, [accepted], restart=False)
    assert [(f.phase, f.cause) for f in told] == [(Phase.OPENED, WEAK), (Phase.RESOLVED, WEAK)]
    assert infos(ragging, 1.35, [accepted], restart=True) == told


def test_a_station_that_has_joined_is_not_held_against_its_nameplate_any_more(
    ragging: Recording,
) -> None:
    early = replace(S, reference_days=3.0)
    at_ms = int(ragging.chunk.t_ms[0]) + 4 * DAY_MS
    assessor = SiteAssessor(KEY, ragging.site, fit=lambda request: None, settings=early)
    assessor.feed(between(ragging.chunk, 0, at_ms))
    larger = replace(ragging.site, pump_capacity_m3_min=9.0)
    overhauled = [LogEntry(at_ms, LogKind.OVERHAUL)]
    again = SiteAssessor(
        KEY, larger, fit=lambda request: None, settings=early, log=overhauled, state=assessor.snapshot()
    )  # fmt: skip
    findings = again.feed(between(ragging.chunk, at_ms, at_ms + 4 * DAY_MS)).findings
    assert [f for f in findings if f.cause == WEAK] == []


def test_what_a_station_can_tell_grows_with_its_first_weeks(ragging: Recording) -> None:
    """Facts within the first hour, references after a week, a forest asked for after two."""
    first_ms, asked = int(ragging.chunk.t_ms[0]), list[float]()

    def ask(request: FitRequest) -> None:
        asked.append((request.up_to_ms - first_ms) / DAY_MS)

    dark = {**ragging.chunk.signals, "power_ok": (ragging.chunk.t_ms > first_ms + HOUR_MS) * 1.0}
    assessor = SiteAssessor(KEY, ragging.site, fit=ask)
    hour = assessor.feed(between(Chunk(ragging.chunk.t_ms, dark), 0, first_ms + HOUR_MS))
    assert ("power_outage",) in [f.fault for f in hour.findings]
    learnt = {}
    for half in range(40):
        at_ms = first_ms + HOUR_MS + half * DAY_MS // 2
        assessor.feed(between(ragging.chunk, at_ms, at_ms + DAY_MS // 2))
        learnt[half / 2] = bool(references_in(assessor.snapshot()))
    assert not learnt[6.0]
    assert learnt[8.0]
    assert 12 <= min(asked) <= 16
