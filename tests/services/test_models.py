"""Champion and challenger: proposed on clean days, decided with a reason, in force from a midnight on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.challenger import references_in, same_references
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, from_stored
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.alerts import Alert, Finding, Kind, Severity, Step, Transition
from pumpwatch.domain.clock import DAY_MS, ManualClock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange, StoredModel
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services import challengers, retrain
from pumpwatch.services.challengers import (
    Challenger,
    Trial,
    backtest_of,
    challenge,
    days_between,
)
from pumpwatch.services.models import ModelService, Placed, next_midnight_ms
from pumpwatch.services.retrain import AGAIN_MS, Retraining
from pumpwatch.services.train import Trainer
from pumpwatch.stores.memory import MemoryLedger, MemorySeries, MemoryShelf

KEY = SiteKey("default", "ragging")
CREW = Actor("sato", "crew")
SHORT = DiagnosisSettings(fit_days=5)
"""The recording is of twenty days, of which the last are bad."""


@dataclass
class Judged:
    """A recording that was judged, and what came of it."""

    recording: Recording
    request: FitRequest
    state: bytes
    findings: list[Finding]
    challenger: Challenger
    champion: StoredModel
    series: MemorySeries


@pytest.fixture(scope="module")
def judged() -> Judged:
    recording = read_recording(Path(__file__).parents[1] / "data" / "recorded" / "ragging")
    asked: list[FitRequest] = []
    shelf = MemoryShelf()
    trainer = Trainer(shelf)

    def fit(request: FitRequest) -> SiteModel | None:
        asked.append(request)
        return trainer.fit_now(request)

    assessor = SiteAssessor(KEY, recording.site, fit=fit, settings=SHORT, log=recording.log)
    findings = assessor.feed(recording.chunk).findings
    state, stored = assessor.snapshot(), shelf.effective(KEY, asked[0].effective_ms)
    fresh = same_references(state)
    assert stored is not None
    assert fresh is not None
    trial = Trial(
        KEY, recording.site, recording.log, fresh, recording.chunk, from_stored(stored),
        settings=SHORT,
    )  # fmt: skip
    challenger = challenge(trial)
    assert challenger is not None
    series = MemorySeries()
    series.write([(KEY, recording.chunk)], 1)
    return Judged(recording, asked[0], state, findings, challenger, stored, series)


class World:
    def __init__(self, judged: Judged) -> None:
        self.shelf, self.waiting = MemoryShelf(), MemoryShelf()
        self.ledger = MemoryLedger()
        self.state: bytes | None = judged.state
        site = replace(judged.recording.site, mode=SiteMode.LIVE)
        self.ledger.put_site(KEY, site, SYSTEM, 0)
        self.end_ms = int(judged.recording.chunk.t_ms[-1])
        self.clock = ManualClock(self.end_ms)
        self.site = site
        self.models = ModelService(
            shelf=self.shelf, waiting=self.waiting, sites=self.ledger, alerts=self.ledger,
            audit=self.ledger, series=judged.series, clock=self.clock,
            state_of=lambda key: self.state, settings=SHORT,
        )  # fmt: skip
        self.shelf.put(judged.champion)
        self.first_ms = judged.request.effective_ms
        self.challenger = judged.challenger

    def propose(self) -> Placed:
        """Of a challenger that was fitted once for all tests."""
        return self.models.keep(KEY, self.challenger, CREW, "x")

    def trouble(self, start_ms: int, end_ms: int | None, kind: Kind = Kind.PREDICTIVE) -> None:
        alert = Alert(
            f"a{start_ms}", KEY, f"c{start_ms}", kind, Severity.ALARM, ("pump_wear",), None, 0.9,
            {}, start_ms, start_ms, resolved_ms=end_ms,
        )  # fmt: skip
        opened = Transition(1, Step.OPENED, start_ms, start_ms, SYSTEM, alert.severity, alert.fault)
        self.ledger.commit_assessment([], [AlertChange(alert, [opened])], [])


@pytest.fixture
def world(judged: Judged) -> World:
    return World(judged)


# -- proposing -----------------------------------------------------------------------------------


def test_a_challenger_waits_with_its_backtest_and_changes_nothing(world: World) -> None:
    before = world.shelf.cards()
    card = world.models.propose(KEY, CREW, "a month is over").card
    assert world.shelf.cards() == before
    view = world.models.view(KEY)
    assert view.challenger is not None
    assert view.in_force is not None
    assert view.in_force.effective_ms == world.first_ms
    assert (card["who"], card["why"]) == ("sato", "a month is over")
    assert card["days"] >= SHORT.fit_days
    assert card["versions"]["scikit-learn"]
    backtest = card["backtest"]
    assert backtest["days"] > 10
    assert backtest["champion_alerts"] + backtest["appear"] == (
        backtest["challenger_alerts"] + backtest["vanish"]
    )
    assert backtest["champion_alerts"] > 0, "the rags are seen from the same references"


def test_no_day_with_an_open_alert_is_learnt(world: World) -> None:
    before = world.models.trial(KEY)
    assert before is not None
    free = challengers._request(before)
    assert free is not None
    world.trouble(world.end_ms - 9 * DAY_MS, world.end_ms - 8 * DAY_MS)
    world.trouble(world.end_ms - 7 * DAY_MS, None, Kind.INFO)  # a notice is no trouble
    trial = world.models.trial(KEY)
    assert trial is not None
    assert len(trial.troubled) == 2
    request = challengers._request(trial)
    assert request is not None
    assert set(request.day) == set(free.day) - trial.troubled != set(free.day)
    world.trouble(world.end_ms - 20 * DAY_MS, None)
    with pytest.raises(Conflict, match="too few clean days"):
        world.models.propose(KEY, CREW, "none")


def test_a_challenger_is_judged_from_the_references_in_force(judged: Judged) -> None:
    fresh = same_references(judged.state)
    assert fresh is not None
    assert references_in(fresh) == references_in(judged.state)
    s = msgspec.msgpack.decode(fresh, type=AssessorState)
    assert [s.charts, s.episodes, s.learning, s.strangeness.rows] == [{}, [], [], []]
    assert same_references(msgspec.msgpack.encode(AssessorState())) is None


def test_where_nothing_judges_there_is_nothing_to_challenge(judged: Judged) -> None:
    world = World(judged)
    world.state = None
    with pytest.raises(Conflict, match="no model to challenge"):
        world.models.propose(KEY, CREW, "x")
    with pytest.raises(NotFound):
        world.models.view(SiteKey("default", "mh0404"))


def test_what_differs_between_two_backtests_is_named(judged: Judged) -> None:
    chunk, found = judged.recording.chunk, judged.findings
    assert backtest_of(chunk, found, found)["appear"] == 0
    told = backtest_of(chunk, found, [])
    assert told["vanish"] == told["champion_alerts"] == len(told["vanishing"]) > 0
    assert told["vanishing"][0]["cause"] == "capacity:pump2"
    assert backtest_of(chunk, [], found)["appear"] == told["vanish"]


def test_days_are_the_station_s_own() -> None:
    midnight_ms = next_midnight_ms(1_763_607_600_000, "Asia/Tokyo")
    assert len(days_between(midnight_ms - 1, midnight_ms, "Asia/Tokyo")) == 2
    assert len(days_between(midnight_ms - 1, midnight_ms, "UTC")) == 1


# -- deciding ------------------------------------------------------------------------------------


def test_a_promoted_challenger_judges_from_the_next_midnight_on(world: World) -> None:
    world.propose()
    placed = world.models.promote(KEY, CREW, " looks the same ")
    assert placed.effective_ms == next_midnight_ms(world.end_ms, world.site.timezone)
    old = world.shelf.effective(KEY, placed.effective_ms - 1)
    new = world.shelf.effective(KEY, placed.effective_ms)
    assert old is not None
    assert new is not None
    assert old.effective_ms == world.first_ms
    assert (new.card["placed_by"], new.card["placed_why"]) == ("sato", "looks the same")
    assert world.models.view(KEY).challenger is None
    (entry,) = world.ledger.audit(action="model_promoted")
    assert (entry.actor, entry.key) == (CREW, KEY)
    with pytest.raises(Conflict, match="no challenger"):
        world.models.promote(KEY, CREW, "again")


@pytest.mark.parametrize("why", ["", "  ", "x" * 1001])
def test_a_decision_needs_a_reason(world: World, why: str) -> None:
    world.propose()
    with pytest.raises(InvalidInput):
        world.models.promote(KEY, CREW, why)
    with pytest.raises(InvalidInput):
        world.models.roll_back(KEY, CREW, why)
    assert len(world.shelf.cards()) == 1


def test_what_was_promoted_can_be_taken_back(world: World) -> None:
    with pytest.raises(Conflict, match="no model before"):
        world.models.roll_back(KEY, CREW, "x")
    world.propose()
    promoted = world.models.promote(KEY, CREW, "x")
    world.clock.advance(3 * DAY_MS)
    back = world.models.roll_back(KEY, CREW, "too many notices")
    first, last = (world.shelf.effective(KEY, at) for at in (world.first_ms, back.effective_ms))
    assert first is not None
    assert last is not None
    assert last.effective_ms == back.effective_ms > promoted.effective_ms
    assert all((last.arrays[name] == first.arrays[name]).all() for name in first.arrays)
    assert world.models.view(KEY).challenger is None, "it was tried"
    with pytest.raises(Conflict):
        world.models.roll_back(KEY, CREW, "further")


def test_a_promotion_taken_back_the_same_day_never_judges(world: World) -> None:
    world.propose()
    world.models.promote(KEY, CREW, "x")
    back = world.models.roll_back(KEY, CREW, "a mistake")
    stored = world.shelf.effective(KEY, back.effective_ms)
    assert stored is not None
    assert stored.card["origin_ms"] == world.first_ms
    assert world.models.view(KEY).challenger is not None
    world.models.promote(KEY, CREW, "and yet")
    assert world.models.roll_back(KEY, CREW, "no").card["origin_ms"] == world.first_ms


def test_the_rule_promotes_only_what_changes_no_alert(world: World) -> None:
    assert world.models.promote_by_rule(KEY) is None
    placed = world.propose()
    stored = world.waiting.effective(KEY, placed.effective_ms)
    assert stored is not None

    def backtested(appear: int) -> None:
        told = {**stored.card["backtest"], "appear": appear, "vanish": 0}
        world.waiting.put(replace(stored, card={**stored.card, "backtest": told}))

    backtested(appear=1)
    assert world.models.promote_by_rule(KEY) is None
    backtested(appear=0)
    promoted = world.models.promote_by_rule(KEY)
    assert promoted is not None
    assert promoted.card["placed_by"] == SYSTEM.id
    assert "no alert would appear" in promoted.card["placed_why"]


def test_live_and_restarted_use_the_same_model_for_the_same_cycle(judged: Judged) -> None:
    """A promotion heard while judging, and the same one read from the shelf after a restart."""
    world, chunk = World(judged), judged.recording.chunk
    world.clock = ManualClock(judged.request.effective_ms + 2 * DAY_MS)
    stored = world.shelf.effective(KEY, world.first_ms)
    assert stored is not None
    first = from_stored(stored)
    second_ms = next_midnight_ms(world.clock.now_ms(), world.site.timezone)

    def never(request: FitRequest) -> None:
        raise InvalidInput("model", "is given")

    def assessor(state: bytes | None = None) -> SiteAssessor:
        made = SiteAssessor(KEY, world.site, fit=never, settings=SHORT, state=state)
        made.install(first, world.first_ms)
        return made

    cut = int((chunk.t_ms < second_ms - DAY_MS // 3).sum())
    parts = [_part(chunk, 0, cut), _part(chunk, cut, len(chunk))]
    live = assessor()
    live.feed(parts[0])
    state = live.snapshot()
    live.install(world.challenger.model, second_ms)
    again = assessor(state)
    again.install(world.challenger.model, second_ms)
    assert live.feed(parts[1]).findings == again.feed(parts[1]).findings
    assert live.snapshot() == again.snapshot()
    alone = assessor()
    alone.feed(chunk)
    assert alone.snapshot() != live.snapshot(), "the challenger has judged"


def _part(chunk: Chunk, a: int, b: int) -> Chunk:
    return Chunk(chunk.t_ms[a:b], {name: v[a:b] for name, v in chunk.signals.items()})


# -- references ----------------------------------------------------------------------------------


def test_all_accepted_changes_since_the_first_stay_visible(world: World, judged: Judged) -> None:
    assert world.models.note_references(KEY) > 4
    assert world.models.note_references(KEY) == 0
    s = msgspec.msgpack.decode(judged.state, type=AssessorState)
    for n, total_m in enumerate((0.03, 0.08), 1):
        s.offsets["start_level"], s.stepped["start_level"] = total_m, world.end_ms + n
        world.state = msgspec.msgpack.encode(s)
        assert world.models.note_references(KEY) == 1
    drift = next(d for d in world.models.view(KEY).drifts if d.feature == "start_level_m")
    assert drift.total == pytest.approx(0.08)
    assert drift.changes == 2
    assert s.site is not None
    assert drift.first == s.site.start_m


# -- in time -------------------------------------------------------------------------------------


class AtOnce(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def retraining(world: World, **settings: Any) -> Retraining:
    return Retraining(world.models, world.ledger, world.clock, pool=AtOnce, **settings)


def a_round(worker: Retraining) -> None:
    for _ in range(4):
        worker.step()


@pytest.fixture
def fitted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "challenge", lambda trial: world.challenger)


@pytest.mark.usefixtures("fitted")
def test_a_model_that_is_old_enough_is_challenged_once(world: World) -> None:
    worker = retraining(world, challenger_days=15)
    a_round(worker)
    assert worker.proposed == 0, "it is not old enough"
    assert world.models.view(KEY).drifts, "references are noted all the same"
    world.clock.advance(20 * DAY_MS)
    a_round(worker)
    a_round(worker)
    assert worker.proposed == 1
    assert world.models.view(KEY).challenger is not None
    assert len(world.shelf.cards()) == 1


def test_the_rule_is_followed_only_where_it_is_set(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = replace(world.challenger, backtest={"appear": 0, "vanish": 0, "days": 9})
    monkeypatch.setattr(retrain, "challenge", lambda trial: calm)
    world.clock.advance(20 * DAY_MS)
    a_round(retraining(world, challenger_days=9))
    assert len(world.shelf.cards()) == 1
    world.clock.advance(20 * DAY_MS)
    a_round(retraining(world, challenger_days=9, promote_unchanged=True))
    assert len(world.shelf.cards()) == 2


def test_a_challenger_that_fails_is_named_and_tried_again_a_day_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def broken(*_: Any) -> None:
        tried.append(1)
        raise ZeroDivisionError("no days")

    monkeypatch.setattr(retrain, "challenge", broken)
    world.clock.advance(20 * DAY_MS)
    worker = retraining(world, challenger_days=15)
    a_round(worker)
    a_round(worker)
    assert "no challenger for default/ragging" in worker.problem
    assert len(tried) == 1
    world.clock.advance(AGAIN_MS)
    a_round(worker)
    a_round(worker)
    assert len(tried) == 2


def test_a_recording_is_never_retrained(world: World) -> None:
    world.ledger.put_site(KEY, replace(world.site, mode=SiteMode.RECORDING), SYSTEM, 1)
    world.clock.advance(90 * DAY_MS)
    worker = retraining(world, challenger_days=30)
    a_round(worker)
    assert worker.proposed == 0


def test_a_site_that_was_never_judged_has_no_models(world: World) -> None:
    other = SiteKey("default", "mh0002")
    world.ledger.put_site(other, Site("mh0002"), SYSTEM, 1)
    world.state = None
    view = world.models.view(other)
    assert view.newest is view.in_force is view.challenger is None
    assert not view.can_roll_back
