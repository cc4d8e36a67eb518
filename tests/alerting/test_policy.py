from dataclasses import replace

import pytest

from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.alerts import Alert, Kind, Owed, OwedState, Severity, Step, Transition
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import SiteMode

NOW = 10 * DAY_MS
POLICY = Policy(routes=(Route("console"), Route("phone", Severity.CRITICAL, Severity.CRITICAL)))
WARNING, ALARM, CRITICAL = Severity.WARNING, Severity.ALARM, Severity.CRITICAL


def alert(severity=WARNING, kind=Kind.PREDICTIVE, **changes):
    return Alert(
        "a1", SiteKey("default", "mh0001"), "c", kind, severity, ("pump_wear",), None, 0.9, {},
        NOW, NOW, **changes,
    )  # fmt: skip


def transition(step=Step.OPENED, severity=WARNING, n=1, t_ms=NOW, recorded_ms=NOW, actor=SYSTEM):
    return Transition(n, step, t_ms, recorded_ms, actor, severity, ("pump_wear",))


def owed(alert_, transition_, before=None, mode=SiteMode.LIVE):
    return POLICY.owed(alert_, transition_, before, mode)


def test_each_notifier_is_told_from_its_own_severity_up():
    assert [o.notifier for o in owed(alert(), transition())] == ["console"]
    high = owed(alert(CRITICAL), transition(severity=CRITICAL))
    assert [(o.alert_id, o.transition_n, o.notifier) for o in high] == [
        ("a1", 1, "console"),
        ("a1", 1, "phone"),
    ]


def test_an_alert_of_kind_info_owes_nothing():
    assert owed(alert(CRITICAL, Kind.INFO), transition(severity=CRITICAL)) == []


@pytest.mark.parametrize("step", [Step.NOTE, Step.ACKNOWLEDGED])
def test_what_people_do_owes_nothing(step):
    assert owed(alert(CRITICAL), transition(step), alert(CRITICAL)) == []


def test_a_recording_notifies_nobody_but_shows_who_would_have_been_told():
    rows = owed(alert(CRITICAL), transition(), mode=SiteMode.RECORDING)
    assert {row.state for row in rows} == {OwedState.HELD}
    assert len(rows) == 2


def test_the_end_of_a_warning_is_not_told_that_of_an_alarm_is():
    assert owed(alert(WARNING), transition(Step.RESOLVED), alert(WARNING)) == []
    assert [o.notifier for o in owed(alert(ALARM), transition(Step.RESOLVED), alert(ALARM))] == [
        "console"
    ]


def test_late_news_waits_for_the_backlog_but_a_critical_one_does_not():
    late = transition(t_ms=NOW - 2 * HOUR_MS)
    assert [o.due_ms - NOW for o in owed(alert(), late)] == [POLICY.grace_ms]
    assert {o.due_ms - NOW for o in owed(alert(CRITICAL), late)} == {0}
    assert [o.due_ms - NOW for o in owed(alert(), transition(t_ms=NOW - MINUTE_MS))] == [0]


def not_needed(alert_, *transitions, row_n=1, rows=(), now_ms=NOW):
    row = Owed("a1", row_n, "console", NOW)
    return POLICY.not_needed(row, alert_, transitions, [row, *rows], now_ms)


def test_what_is_held_is_told_later_if_it_still_goes_on_and_not_at_all_if_it_is_over():
    (row,) = POLICY.owed(alert(), transition(), None, SiteMode.LIVE, hold_ms=2 * DAY_MS)
    assert row.due_ms == NOW + 2 * DAY_MS
    told = (row, [transition()], [row], row.due_ms)
    assert POLICY.not_needed(told[0], alert(), *told[1:]) == ""
    over = alert(resolved_ms=NOW + DAY_MS)
    assert "over before" in POLICY.not_needed(told[0], over, *told[1:])


def test_what_was_held_as_water_and_proves_to_be_a_valve_is_told_at_once():
    before = replace(alert(), fault=("infiltration_growth",))
    after = replace(alert(), fault=("check_valve_leak",))
    turned = transition(Step.WORSENED, n=2)
    (row,) = owed(after, turned, before)
    assert row.due_ms == NOW
    assert owed(after, turned, after) == []
    opening = Owed("a1", 1, "console", NOW + 2 * DAY_MS)
    sent = replace(row, state=OwedState.SENT)
    steps = [transition(), turned]
    assert "newer news" in POLICY.not_needed(opening, after, steps, [opening, sent], opening.due_ms)


def test_a_hold_counts_from_when_it_happened():
    outage = transition(t_ms=NOW - 3 * DAY_MS)
    (row,) = POLICY.owed(alert(), outage, None, SiteMode.LIVE, hold_ms=2 * DAY_MS)
    assert row.due_ms == NOW + POLICY.grace_ms


def test_late_news_of_what_is_over_already_need_not_be_told():
    late = transition(t_ms=NOW - 2 * HOUR_MS)
    assert not_needed(alert(resolved_ms=NOW - HOUR_MS), late) == "over before anybody could be told"
    assert not_needed(alert(), late) == ""


def test_what_is_over_quickly_is_told_all_the_same():
    assert not_needed(alert(resolved_ms=NOW), transition()) == ""


@pytest.mark.parametrize("age_ms", [0, 2 * HOUR_MS, 30 * DAY_MS])
def test_the_end_of_a_critical_alert_never_cancels_what_is_owed(age_ms):
    over = alert(CRITICAL, resolved_ms=NOW)
    opened = transition(severity=CRITICAL, t_ms=NOW - age_ms)
    end = transition(Step.RESOLVED, n=2)
    assert not_needed(over, opened, end) == ""


def test_an_answer_by_a_person_ends_what_was_owed_before_it_only():
    answer = transition(Step.ACKNOWLEDGED, n=2, actor=Actor("sato", "crew"))
    worse = transition(Step.WORSENED, CRITICAL, n=3)
    story = [transition(), answer, worse]
    assert not_needed(alert(CRITICAL), *story, row_n=1) == "acknowledged by sato"
    assert not_needed(alert(CRITICAL), *story, row_n=3) == ""


def test_older_news_is_not_sent_after_newer():
    sent = Owed("a1", 2, "console", NOW, OwedState.SENT)
    story = [transition(), transition(Step.WORSENED, ALARM, n=2)]
    assert not_needed(alert(ALARM), *story, rows=[sent]) == "newer news of it was sent"
    assert not_needed(alert(ALARM), *story, rows=[replace(sent, notifier="phone")]) == ""


def test_an_end_is_told_only_to_who_was_told_of_the_beginning():
    story = [transition(), transition(Step.RESOLVED, n=2)]
    over = alert(ALARM, resolved_ms=NOW)
    told = Owed("a1", 1, "console", NOW, OwedState.SENT)
    assert not_needed(over, *story, row_n=2, rows=[told]) == ""
    held = replace(told, state=OwedState.HELD)
    assert not_needed(over, *story, row_n=2, rows=[held]) == "nobody was told that it began"
