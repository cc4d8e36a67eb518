"""Tuning one station: a trial on its own samples, and versions that are added and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumpwatch.cycles.recording import read_recording
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuning import Exclusion, Tuning
from pumpwatch.domain.actors import LOCAL, Actor
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, ManualClock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Found, missed_failure
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.study import Episode
from pumpwatch.services.tuning import (
    Fate,
    Samples,
    TuningService,
    compare_alerts,
    known_events,
    moment,
    run_apart,
    run_here,
    span,
)
from pumpwatch.stores.memory import MemoryLedger

DATA = Path(__file__).parent.parent / "data" / "recorded"
KEY, OTHER = SiteKey("default", "well"), SiteKey("default", "other")
ANN = Actor("local:ann", "local")
EARLY = DiagnosisSettings(reference_days=4.0, fit_days=50)
DULL = Tuning({"capacity_effect": 0.5, "cycle_limit": 80.0, "limit": 40.0, "firm_sigma": 6.0})
MUTE = Tuning(muted=("pump_ragging", "pump_wear"))
NOW = 1_763_607_601_000


@dataclass
class Rows:
    """A store of one site's rows."""

    chunk: Chunk = field(default_factory=lambda: Chunk(np.empty(0, np.int64), {}))

    def latest(self, keys: list[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        has = KEY in keys and len(self.chunk)
        return {KEY: (int(self.chunk.t_ms[-1]), {})} if has else {}

    def read_raw(self, key: SiteKey, start_ms: int, end_ms: int) -> Chunk:
        a, b = np.searchsorted(self.chunk.t_ms, [start_ms, end_ms])
        return Chunk(self.chunk.t_ms[a:b], {n: v[a:b] for n, v in self.chunk.signals.items()})


@dataclass
class World:
    ledger: MemoryLedger
    rows: Rows
    clock: ManualClock
    service: TuningService


@pytest.fixture
def world() -> World:
    ledger, rows, clock = MemoryLedger(), Rows(), ManualClock(NOW)
    for key in (KEY, OTHER):
        ledger.put_site(key, Site(key.site), LOCAL, 0)
    service: Any = TuningService(ledger, ledger, rows, clock, EARLY)  # type: ignore[arg-type]
    return World(ledger, rows, clock, service)


@pytest.fixture(scope="module")
def recorded() -> World:
    """A station with a ragging pump and its recorded days; tests only look at it."""
    recording = read_recording(DATA / "ragging")
    ledger, rows, clock = MemoryLedger(), Rows(recording.chunk), ManualClock(NOW)
    ledger.put_site(KEY, replace(recording.site, site="well"), LOCAL, 0)
    ledger.put_site(OTHER, Site("other"), LOCAL, 0)
    return World(ledger, rows, clock, TuningService(ledger, ledger, rows, clock, EARLY))  # type: ignore[arg-type]


# -- a trial -------------------------------------------------------------------------------------


def test_a_trial_tells_which_alerts_would_go_and_what_that_costs(recorded: World) -> None:
    end_ms = int(recorded.rows.chunk.t_ms[-1])
    clogged = Failure("well", end_ms, "pump_ragging", "pump2")
    elsewhere = replace(clogged, site="other")
    steps: list[tuple[str, float]] = []
    found = recorded.service.preview(
        KEY, MUTE, events=[clogged, elsewhere], progress=lambda *step: steps.append(step)
    )
    assert found.count(Fate.VANISHES) >= 1
    assert found.count(Fate.APPEARS) == 0
    assert {line.before.target for line in found.lines if line.before} == {"pump2"}
    (event,) = found.events
    assert event.lead_before_ms is not None
    assert event.lead_before_ms > DAY_MS
    assert event.lead_after_ms is None
    assert (found.foreseen_before, found.foreseen_after) == (1, 0)
    assert (found.budget.before, found.budget.after) == (0, 0), "what was needed is not charged"
    assert found.known_ms == found.start_ms + 4 * DAY_MS
    assert steps[0] == ("reading", 0.0)
    assert steps[-1] == ("judging", 1.0)
    assert recorded.ledger.tunings() == {}, "a trial changes nothing"


def test_what_speaks_of_nothing_known_is_charged_to_the_fleet_s_budget(recorded: World) -> None:
    found = recorded.service.preview(KEY, DULL)
    (line,) = found.lines
    assert line.fate is Fate.STAYS
    assert line.before is not None
    assert line.after is not None
    assert line.after.opened_ms > line.before.opened_ms + DAY_MS, "it is told later"
    budget = found.budget
    assert found.events == ()
    assert (budget.before, budget.after) == (1, 1)
    assert budget.fleet_months == pytest.approx(2 * budget.months), "two stations"
    assert budget.kept, "the ledger holds no alert of the fleet"
    assert replace(budget, after=0).fleet_after == 0, "it cannot tell less than nothing"
    assert not replace(budget, after=3).kept


def test_a_trial_needs_a_change_and_enough_samples(world: World) -> None:
    with pytest.raises(NotFound, match="no site default/none"):
        world.service.preview(SiteKey("default", "none"), DULL)
    with pytest.raises(InvalidInput, match="nothing would change"):
        world.service.preview(KEY, Tuning())
    with pytest.raises(NotFound, match="no stored samples"):
        world.service.preview(KEY, DULL)
    with pytest.raises(InvalidInput, match="14 to 400"):
        world.service.preview(KEY, DULL, days=3)
    world.rows.chunk = Chunk(np.array([NOW - 2 * DAY_MS, NOW]), {"level_m": np.ones(2)})
    with pytest.raises(NotFound, match=r"only 2\.0 days"):
        world.service.preview(KEY, DULL)


def test_a_trial_in_a_process_of_its_own_comes_to_the_same(world: World) -> None:
    t_ms = np.arange(NOW, NOW + 6 * HOUR_MS, MINUTE_MS)
    chunk = Chunk(t_ms, {"level_m": np.ones(len(t_ms)), "high_level": (t_ms > NOW + HOUR_MS) * 1.0})
    samples = Samples(KEY, Site("well"), chunk, (), EARLY)
    here = run_here(samples, (Tuning(), DULL), lambda *_: None)
    assert here[0]
    refused: list[Conflict] = []

    def meanwhile(what: str, share: float) -> None:
        if not share:
            with pytest.raises(Conflict, match="another trial") as conflict:
                run_apart(samples, (DULL,), lambda *_: None)
            refused.append(conflict.value)

    assert run_apart(samples, (Tuning(), DULL), meanwhile) == here
    assert len(refused) == 1, "only one at a time"


def episode(opened: int, over: int | None, cause: str = "c", fault: str = "pump_wear") -> Episode:
    first = Finding(
        KEY, opened, Phase.OPENED, cause, Kind.PREDICTIVE, Severity.WARNING, (fault,), "pump1", 0.9
    )
    return Episode((first,), over)


def test_alerts_of_the_same_thing_at_a_common_time_stay() -> None:
    before = [episode(10, 20), episode(30, None), episode(50, 60, "d", "air_lock")]
    after = [episode(12, 25), episode(21, 25), episode(55, 70, "e", "air_lock"), episode(40, 45)]
    lines = [
        (line.fate, line.before and line.before.opened_ms, line.after and line.after.opened_ms)
        for line in compare_alerts(before, after)
    ]
    assert lines == [
        (Fate.STAYS, 10, 12),
        (Fate.APPEARS, None, 21),
        (Fate.STAYS, 30, 40),
        (Fate.STAYS, 50, 55),
    ]


def test_what_people_found_and_repairs_are_what_is_known_to_have_happened() -> None:
    at = 100 * DAY_MS
    found = missed_failure(KEY, Found("pump_ragging", "pump1", "布", at), ANN, at)
    nothing = missed_failure(KEY, Found("nothing_found", None, "", at), ANN, at)
    other = missed_failure(KEY, Found("other", None, "落雷", at - 9 * DAY_MS), ANN, at)
    log = [
        LogEntry(at + DAY_MS, LogKind.CLEANING, "pump1"),
        LogEntry(at + DAY_MS, LogKind.CLEANING, "pump2"),
        LogEntry(at, LogKind.VISIT),
    ]
    known = known_events(log, [found, nothing, other], "well")
    assert [(f.found, f.target) for f in known] == [
        (None, None), ("pump_ragging", "pump1"), (None, "pump2")
    ]  # fmt: skip


# -- versions ------------------------------------------------------------------------------------


def test_saved_is_a_new_version_from_the_next_whole_minute_on(world: World) -> None:
    made = world.service.save(KEY, DULL, " storms ", ANN)
    assert (made.n, made.actor, made.reason, made.made_ms) == (1, ANN, "storms", NOW)
    assert made.effective_ms % MINUTE_MS == 0
    assert NOW + 15_000 <= made.effective_ms <= NOW + 75_000
    later = world.service.save(KEY, Tuning(), "enough", ANN, from_ms=NOW + DAY_MS)
    assert (later.n, later.effective_ms) == (2, NOW + DAY_MS)
    assert world.ledger.tunings() == {KEY: [made, later]}
    world.clock.set(made.effective_ms)
    view = world.service.view(KEY)
    assert view.tuning == Tuning(), "a change begins from the newest version"
    assert view.in_force == made


def test_a_version_takes_effect_behind_the_newest_sample(world: World) -> None:
    world.rows.chunk = Chunk(np.array([NOW + HOUR_MS]), {"level_m": np.ones(1)})
    assert world.service.save(KEY, DULL, "why", ANN).effective_ms > NOW + HOUR_MS


def test_at_a_recording_it_counts_from_the_first_row(world: World) -> None:
    world.ledger.put_site(KEY, Site("well", mode=SiteMode.RECORDING), LOCAL, 0)
    passed = Tuning(excluded=(Exclusion(DAY_MS, 2 * DAY_MS),))
    made = world.service.save(KEY, passed, "flood", ANN)
    assert made.effective_ms == 0
    assert world.service.view(KEY).in_force == made


@pytest.mark.parametrize(
    ("field_", "more"),
    [
        ("reason", {"reason": "  "}),
        ("reason", {"reason": "x" * 1001}),
        ("settings", {"tuning": Tuning()}),
        ("limit", {"tuning": Tuning({"limit": 1e9})}),
        ("from", {"from_ms": NOW - 1}),
        ("excluded", {"tuning": Tuning(excluded=(Exclusion(NOW - DAY_MS, NOW),))}),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is(
    world: World, field_: str, more: dict[str, Any]
) -> None:
    wish = {"tuning": DULL, "reason": "why", "actor": ANN} | more
    with pytest.raises(InvalidInput) as refused:
        world.service.save(KEY, **wish)
    assert refused.value.field == field_
    assert refused.value.remedy
    assert world.ledger.tunings() == {}


def test_a_span_that_has_passed_since_may_stay(world: World) -> None:
    ahead = Exclusion(NOW + HOUR_MS, NOW + DAY_MS)
    world.service.save(KEY, Tuning(excluded=(ahead,)), "works", ANN)
    world.clock.set(NOW + 9 * DAY_MS)
    assert world.service.save(KEY, replace(DULL, excluded=(ahead,)), "storms", ANN).n == 2


def test_who_had_not_seen_the_newest_version_is_asked_to_look(world: World) -> None:
    world.service.save(KEY, DULL, "why", ANN, based_on=0)
    with pytest.raises(Conflict, match="version 1 by now"):
        world.service.save(KEY, Tuning(muted=("air_lock",)), "why", ANN, based_on=0)


def test_taking_back_is_a_new_version_too(world: World) -> None:
    with pytest.raises(NotFound, match="no settings of its own"):
        world.service.undo(KEY, "why", ANN)
    first = world.service.save(KEY, DULL, "one", ANN)
    second = world.service.save(KEY, Tuning(muted=("air_lock",)), "two", ANN)
    third = world.service.undo(KEY, "two was wrong", ANN)
    assert (third.n, third.restores, third.settings) == (3, 1, first.settings)
    fourth = world.service.undo(KEY, "no, it was right", ANN)
    assert (fourth.restores, fourth.settings) == (2, second.settings)
    fifth = world.service.undo(KEY, "all of it", ANN, to=0)
    assert (fifth.restores, fifth.settings) == (0, {})
    with pytest.raises(InvalidInput, match="give 0 to 5"):
        world.service.undo(KEY, "why", ANN, to=6)
    with pytest.raises(InvalidInput, match="nothing would change"):
        world.service.undo(KEY, "why", ANN, to=5)
    with pytest.raises(InvalidInput, match="reason"):
        world.service.undo(KEY, "", ANN, to=1)
    assert [v.n for v in world.ledger.tunings()[KEY]] == [1, 2, 3, 4, 5]


def test_two_versions_are_compared(world: World) -> None:
    world.service.save(KEY, Tuning({"limit": 12.0, "nights": 9}), "one", ANN)
    world.service.save(KEY, Tuning({"limit": 14.0}, ("air_lock",)), "two", ANN)
    assert world.service.compare(KEY, 1, 2) == [
        ("limit", 12.0, 14.0), ("nights", 9, None), ("muted", None, "air_lock")
    ]  # fmt: skip
    assert world.service.compare(KEY, 2, 2) == []
    assert world.service.compare(KEY, 0, 1)[0] == ("limit", None, 12.0)
    with pytest.raises(InvalidInput, match="no version 3"):
        world.service.compare(KEY, 1, 3)


def test_times_are_those_of_the_station_unless_they_say_otherwise() -> None:
    site = Site("well", timezone="Asia/Tokyo")
    assert moment("2026-04-01T09:00", site, "at") == moment("2026-04-01T00:00Z", site, "at")
    assert span("2026-04-01", "2026-04-02T00:00", site).end_ms == moment(
        "2026-04-01T15:00+00:00", site, "at"
    )
    with pytest.raises(InvalidInput, match="at: 'soon' is no moment"):
        moment("soon", site, "at")
