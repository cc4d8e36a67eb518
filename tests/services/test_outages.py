"""People hear of an outage of the hub once, and once that it is over."""

from __future__ import annotations

from threading import RLock

import pytest

from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Kind, Severity, Step
from pumpwatch.domain.clock import ManualClock
from pumpwatch.domain.errors import Conflict, InvalidInput, StoreUnavailable
from pumpwatch.domain.keys import HUB_KEY, check_id
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.outages import BACK_S, OutageWatch
from pumpwatch.stores.memory import MemoryLedger

NOW_MS = 1_763_607_600_000
AFTER_S = 300.0
POLICY = Policy((Route("webhook"),))
SATO = Actor("sato", "operator")
LOST = {"broker_lost"}


class Story:
    """A hub whose ledger outlives it; time passes only by `goes_on`."""

    def __init__(self) -> None:
        self.ledger, self.s, self.now_ms = MemoryLedger(), 0.0, NOW_MS
        self.restarts()

    def restarts(self) -> None:
        self.watch = OutageWatch(self.ledger, POLICY, RLock(), AFTER_S)

    def goes_on(self, seconds: float, out: set[str] | frozenset[str] = frozenset()) -> None:
        """``out`` holds for so long; looked at every two seconds, the last moment included."""
        end_s = self.s + seconds
        while self.s < end_s:
            step_s = min(2.0, end_s - self.s)
            self.s, self.now_ms = self.s + step_s, self.now_ms + round(1000 * step_s)
            self.watch.step(out, self.now_ms, self.s)

    def told(self) -> list[list[str]]:
        """The steps of every alert, oldest first."""
        alerts = sorted(self.ledger.alerts(*HUB_KEY), key=lambda a: a.opened_ms)
        return [[str(t.step) for t in self.ledger.transitions(a.id)] for a in alerts]


def test_what_lasts_is_told_once_and_its_end_too() -> None:
    story = Story()
    story.goes_on(AFTER_S, LOST)
    assert story.told() == []
    story.goes_on(3_600, LOST)
    story.goes_on(BACK_S - 2)
    assert story.told() == [["opened"]]
    story.goes_on(2)
    assert story.told() == [["opened", "resolved"]]
    (alert,) = story.ledger.alerts(*HUB_KEY)
    assert (alert.kind, alert.severity, alert.fault) == (
        Kind.CONDITION, Severity.ALARM, ("broker_lost",),
    )  # fmt: skip
    assert alert.opened_ms == NOW_MS + 2_000, "since it was first seen"
    assert alert.resolved_ms == NOW_MS + 1_000 * (300 + 3_600), "when it was last seen"
    owed = [(row.transition_n, row.notifier) for row in story.ledger.owed_for(alert.id)]
    assert owed == [(1, "webhook"), (2, "webhook")]


def test_what_does_not_last_is_not_told() -> None:
    story = Story()
    for _ in range(3):
        story.goes_on(AFTER_S, LOST)
        story.goes_on(BACK_S + 4)
    assert story.told() == []


def test_a_line_that_comes_and_goes_is_one_outage() -> None:
    story = Story()
    for _ in range(20):
        story.goes_on(40, LOST)
        story.goes_on(40)
    story.goes_on(120)
    assert story.told() == [["opened", "resolved"]]


def test_two_outages_have_alerts_of_their_own() -> None:
    story = Story()
    story.goes_on(600, {"broker_lost", "series_away"})
    story.goes_on(120, {"series_away"})
    assert sorted((a.cause, a.severity, a.open) for a in story.ledger.alerts(*HUB_KEY)) == [
        ("broker_lost", Severity.ALARM, False),
        ("series_away", Severity.WARNING, True),
    ]


@pytest.mark.parametrize(("out", "steps"), [(LOST, ["opened"]), (set(), ["opened", "resolved"])])
def test_a_hub_that_starts_anew_goes_on_with_what_was_told(out: set[str], steps: list[str]) -> None:
    story = Story()
    story.goes_on(600, LOST)
    story.restarts()
    story.goes_on(600, out)
    assert story.told() == [steps]


def test_the_clock_on_the_wall_may_be_set_back_meanwhile() -> None:
    story = Story()
    story.goes_on(600, LOST)
    story.now_ms -= 7_200_000
    story.goes_on(600)
    assert story.told() == [["opened", "resolved"]]


def test_a_person_takes_it_in_hand_but_only_the_hub_ends_it() -> None:
    story = Story()
    story.goes_on(600, LOST)
    people = AlertService(story.ledger, story.ledger, ManualClock(story.now_ms), POLICY)
    (alert,) = story.ledger.alerts(*HUB_KEY)
    people.acknowledge(alert.id, SATO)
    with pytest.raises(Conflict, match="present fact"):
        people.resolve(alert.id, SATO, "the broker is being moved")
    story.goes_on(600, LOST)
    story.goes_on(600)
    assert story.told() == [["opened", "acknowledged", "resolved"]]
    story.goes_on(600, LOST)
    assert story.told()[1:] == [["opened"]]


def test_an_outage_that_could_not_be_written_down_is_told_when_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story()

    def refuse(*_: object) -> None:
        raise StoreUnavailable("the disk is full", "make room")

    with monkeypatch.context() as broken:
        broken.setattr(story.ledger, "commit_assessment", refuse)
        with pytest.raises(StoreUnavailable):
            story.goes_on(600, LOST)
    story.goes_on(2, LOST)
    assert story.told() == [[str(Step.OPENED)]]


def test_no_station_can_have_the_hubs_own_key() -> None:
    with pytest.raises(InvalidInput):
        check_id(HUB_KEY.tenant, "tenant")
