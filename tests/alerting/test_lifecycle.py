from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Severity, Step, alert_id
from pumpwatch.domain.errors import Conflict, InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import SiteMode

KEY = SiteKey("default", "mh0001")
CREW = Actor("sato", "crew")
POLICY = Policy(routes=(Route("console"), Route("phone", Severity.CRITICAL)))


def finding(phase=Phase.OPENED, t_ms=1000, **changes):
    values = {
        "key": KEY,
        "t_ms": t_ms,
        "phase": phase,
        "cause": "capacity:pump1",
        "kind": Kind.PREDICTIVE,
        "severity": Severity.WARNING,
        "fault": ("pump_ragging",),
        "target": "pump1",
        "score": 0.9,
        "evidence": {"capacity_index": 0.8},
    }
    return Finding(**(values | changes))


def apply(what, current=None, n=0, now_ms=None, mode=SiteMode.LIVE):
    now_ms = what.t_ms if now_ms is None else now_ms
    return lifecycle.apply(what, current, n, POLICY, now_ms, mode=mode)


@pytest.fixture
def alert() -> Alert:
    return apply(finding()).alert


def test_an_opening_makes_an_alert_with_the_id_of_its_episode():
    change = apply(finding(), now_ms=2000)
    assert change.alert.id == alert_id(KEY, "capacity:pump1", 1000)
    assert change.alert.opened_ms == change.alert.changed_ms == 1000
    (transition,) = change.transitions
    assert (transition.n, transition.step) == (1, Step.OPENED)
    assert (transition.t_ms, transition.recorded_ms) == (1000, 2000)
    assert [(o.transition_n, o.notifier) for o in change.owed] == [(1, "console")]


def test_the_same_finding_again_changes_nothing(alert):
    assert apply(finding(), alert, 1) is None
    assert apply(finding(Phase.WORSENED, 2000), alert, 1) is None


def test_an_older_finding_than_the_last_changes_nothing(alert):
    worse = apply(finding(Phase.WORSENED, 3000, severity=Severity.ALARM), alert, 1).alert
    assert apply(finding(Phase.WORSENED, 2000, fault=("pump_wear",)), worse, 2) is None
    assert apply(finding(Phase.RESOLVED, 2000), worse, 2) is None


def test_an_opening_that_is_derived_again_after_its_end_changes_nothing(alert):
    over = apply(finding(Phase.RESOLVED, 2000), alert, 1).alert
    assert apply(finding(), over, 2) is None


def test_a_new_ranking_is_a_transition_that_owes_nothing(alert):
    change = apply(finding(Phase.WORSENED, 2000, fault=("pump_wear", "pump_ragging")), alert, 1)
    assert change.alert.fault == ("pump_wear", "pump_ragging")
    assert [t.n for t in change.transitions] == [2]
    assert change.owed == []


def test_a_rise_in_severity_must_be_acknowledged_anew_and_is_owed(alert):
    taken = lifecycle.acknowledge(alert, 1, CREW, "", 1500).alert
    change = apply(finding(Phase.WORSENED, 2000, severity=Severity.CRITICAL), taken, 2)
    assert change.alert.acknowledged_ms is None
    assert change.alert.acknowledged_by is None
    assert {o.notifier for o in change.owed} == {"console", "phone"}


def test_a_worsening_without_a_rise_stays_acknowledged(alert):
    taken = lifecycle.acknowledge(alert, 1, CREW, "", 1500).alert
    change = apply(finding(Phase.WORSENED, 2000, score=0.95), taken, 2)
    assert change.alert.acknowledged_by == "sato"


def test_a_severity_never_falls_while_the_alert_is_open():
    high = apply(finding(severity=Severity.CRITICAL)).alert
    change = apply(finding(Phase.WORSENED, 2000, severity=Severity.WARNING, score=1.0), high, 1)
    assert change.alert.severity is Severity.CRITICAL


def test_an_end_closes_the_alert_at_its_own_time_and_keeps_the_evidence(alert):
    change = apply(finding(Phase.RESOLVED, 5000, evidence={}), alert, 1, now_ms=9000)
    assert change.alert.resolved_ms == 5000
    assert change.alert.evidence == alert.evidence
    assert change.transitions[0].step is Step.RESOLVED


def test_an_end_without_an_open_alert_changes_nothing():
    assert apply(finding(Phase.RESOLVED)) is None


def test_what_a_person_closed_opens_anew_when_it_goes_on_to_worsen(alert):
    closed = lifecycle.resolve_by_hand(alert, 1, CREW, "found nothing", 1500).alert
    change = apply(finding(Phase.WORSENED, 2000, severity=Severity.ALARM), closed, 2)
    assert change.alert.id != alert.id
    assert change.alert.open
    assert [t.n for t in change.transitions] == [1]


def test_an_acknowledgement_says_who_when_and_why(alert):
    change = lifecycle.acknowledge(alert, 1, CREW, "on my way", 1500)
    assert (change.alert.acknowledged_ms, change.alert.acknowledged_by) == (1500, "sato")
    (transition,) = change.transitions
    assert (transition.n, transition.step, transition.actor, transition.why) == (
        2,
        Step.ACKNOWLEDGED,
        CREW,
        "on my way",
    )


def test_an_alert_is_acknowledged_once_and_the_second_learns_by_whom(alert):
    taken = lifecycle.acknowledge(alert, 1, CREW, "", 1500).alert
    with pytest.raises(Conflict, match="sato"):
        lifecycle.acknowledge(taken, 2, Actor("ito", "crew"), "", 1600)


def test_one_that_is_over_but_was_never_answered_can_still_be_acknowledged(alert):
    over = apply(finding(Phase.RESOLVED, 2000), alert, 1).alert
    assert lifecycle.acknowledge(over, 2, CREW, "", 3000).alert.acknowledged_by == "sato"


def test_closing_by_hand_needs_a_finding_and_answers_the_alert(alert):
    with pytest.raises(InvalidInput, match="found"):
        lifecycle.resolve_by_hand(alert, 1, CREW, "  ", 1500)
    closed = lifecycle.resolve_by_hand(alert, 1, CREW, "wipes", 1500)
    assert (closed.alert.resolved_ms, closed.alert.acknowledged_by) == (1500, "sato")
    assert closed.transitions[0].why == "wipes"
    with pytest.raises(Conflict, match="already resolved"):
        lifecycle.resolve_by_hand(closed.alert, 2, CREW, "wipes", 1600)


def test_a_present_fact_cannot_be_closed_by_hand(alert):
    fact = replace(alert, kind=Kind.CONDITION, fault=("high_level",))
    with pytest.raises(Conflict, match="present fact"):
        lifecycle.resolve_by_hand(fact, 1, CREW, "looks fine", 1500)


def test_a_note_changes_nothing_but_the_story(alert):
    change = lifecycle.note(alert, 1, CREW, " noisy bearing ", 1500)
    assert change.alert == alert
    assert (change.transitions[0].step, change.transitions[0].why) == (Step.NOTE, "noisy bearing")
    with pytest.raises(InvalidInput):
        lifecycle.note(alert, 1, CREW, " ", 1500)


findings = st.builds(
    finding,
    phase=st.sampled_from(Phase),
    t_ms=st.integers(0, 50),
    severity=st.sampled_from(Severity),
    cause=st.sampled_from(["a", "b"]),
    kind=st.sampled_from(Kind),
    fault=st.sampled_from([("pump_wear",), ("pump_ragging", "pump_wear")]),
    score=st.sampled_from([0.5, 0.9]),
)
acts = st.sampled_from(["acknowledge", "note", "resolve"])
CAUSES = ("a", "b")


class Book:
    """All versions of all alerts, as a ledger would keep them."""

    def __init__(self):
        self.alerts, self.transitions, self.owed = {}, {}, []

    def open(self, cause):
        return [a for a in self.alerts.values() if a.open and a.cause == cause]

    def current(self, what):
        alike = [a for a in self.alerts.values() if a.cause == what.cause]
        return max(alike, key=lambda a: (a.open, a.changed_ms), default=None)

    def count(self, alert):
        return len(self.transitions.get(alert.id, [])) if alert else 0

    def take(self, change):
        self.alerts[change.alert.id] = change.alert
        self.transitions.setdefault(change.alert.id, []).extend(change.transitions)
        self.owed += change.owed

    def finding(self, what, now_ms):
        current = self.current(what)
        change = lifecycle.apply(
            what, current, self.count(current), POLICY, now_ms, mode=SiteMode.LIVE
        )
        if change is not None:
            self.take(change)
        return change

    def person(self, act, now_ms):
        do = {
            "acknowledge": lifecycle.acknowledge,
            "note": lifecycle.note,
            "resolve": lifecycle.resolve_by_hand,
        }[act]
        for alert in list(self.alerts.values()):
            try:
                self.take(do(alert, self.count(alert), CREW, "seen", now_ms))
            except Conflict:
                continue


@given(st.lists(findings | acts, max_size=30))
def test_whatever_happens_the_ledger_stays_sound(story):
    book = Book()
    for i, what in enumerate(story):
        before = dict(book.alerts)
        owed_before = list(book.owed)
        if isinstance(what, str):
            book.person(what, 100 + i)
        else:
            change = book.finding(what, 100 + i)
            if change is not None:
                was = before.get(change.alert.id)
                rose = was is None or change.alert.severity.rank > was.severity.rank
                told = change.alert.kind is not Kind.INFO and rose
                told = told and change.alert.severity.rank >= Severity.WARNING.rank
                if change.transitions[0].step is not Step.RESOLVED:
                    assert bool(change.owed) == told
                assert book.finding(what, 100 + i) is None
        assert book.owed[: len(owed_before)] == owed_before
        for cause in CAUSES:
            assert len(book.open(cause)) <= 1
        for id_, alert in book.alerts.items():
            assert [t.n for t in book.transitions[id_]] == list(
                range(1, len(book.transitions[id_]) + 1)
            )
            was = before.get(id_)
            if was is not None:
                assert alert.severity.rank >= was.severity.rank
                assert was.open or alert.resolved_ms == was.resolved_ms


@given(st.lists(findings, max_size=20))
def test_a_story_told_twice_ends_the_same(story):
    story = [replace(what, t_ms=10 * (i + 1)) for i, what in enumerate(story)]
    book = Book()
    for what in story:
        book.finding(what, what.t_ms)
    told = (dict(book.alerts), {id_: list(t) for id_, t in book.transitions.items()})
    for what in story:
        assert book.finding(what, 1000) is None
    assert (book.alerts, book.transitions) == told
