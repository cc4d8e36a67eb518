from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Finding, Kind, OwedState, Phase, Severity
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from pumpwatch.domain.errors import DeliveryError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services.notify import GIVE_UP_MS, LAST_CRITICAL_RETRY_MS, NotifyMachine
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.memory import MemoryLedger

KEY = SiteKey("default", "mh0001")
CREW = Actor("sato", "crew")
NOW = 100 * DAY_MS
DOWN = DeliveryError("no answer")


class Channel:
    """A notifier that takes what it is told to take."""

    def __init__(self, name="console"):
        self.name = name
        self.error = None
        self.tried, self.taken = [], []

    def send(self, notice):
        self.tried.append(notice.idempotency_key)
        if self.error is not None:
            raise self.error
        self.taken.append(notice)


class Town:
    """A ledger with one site, channels, and a machine that can be restarted."""

    def __init__(self, *channels, ledger=None):
        self.ledger = ledger or MemoryLedger()
        self.ledger.put_site(KEY, Site(site="mh0001", name="Minato 1"), CREW, NOW)
        self.channels = channels or (Channel(),)
        self.policy = Policy(routes=tuple(Route(c.name) for c in self.channels))
        self.restart()

    def restart(self):
        self.machine = NotifyMachine(
            owed=self.ledger,
            alerts=self.ledger,
            sites=self.ledger,
            notifiers=self.channels,
            policy=self.policy,
            tr=translator("en"),
            random=Random(1),
            url=lambda alert_id: f"http://localhost/alerts/{alert_id}",
        )

    def find(self, phase=Phase.OPENED, t_ms=NOW, cause="c", severity=Severity.WARNING, now_ms=None):
        finding = Finding(
            KEY, t_ms, phase, cause, Kind.PREDICTIVE, severity, ("pump_wear",), "pump1", 0.9, {}
        )
        alike = [a for a in self.ledger.alerts() if a.cause == cause]
        current = alike[0] if alike else None
        n = len(self.ledger.transitions(current.id)) if current else 0
        change = lifecycle.apply(
            finding, current, n, self.policy, now_ms or t_ms, mode=SiteMode.LIVE
        )
        self.ledger.commit_assessment([], [change], [])
        return change.alert

    def run(self, start_ms, until_ms):
        """Step whenever the machine asks for it, as its thread does."""
        now_ms = start_ms
        while now_ms is not None and now_ms <= until_ms:
            due_ms = self.machine.step(now_ms)
            now_ms = None if due_ms is None else max(due_ms, now_ms + 1)

    def states(self, alert):
        return [row.state for row in self.ledger.owed_for(alert.id)]


def test_what_is_owed_is_sent_once_and_worded():
    town = Town()
    alert = town.find()
    assert town.machine.step(NOW) is None
    town.machine.step(NOW + 1)
    (notice,) = town.channels[0].taken
    assert notice.title == "[Next working days] Minato 1, Pump 1: impeller wear suspected"
    assert notice.site_name == "Minato 1"
    assert notice.step == "opened"
    assert notice.url.endswith(alert.id)
    assert notice.idempotency_key == f"{alert.id}-1-console"
    assert town.states(alert) == [OwedState.SENT]
    assert town.machine.counters["sent"] == 1
    assert town.machine.last_notification_ms == NOW


def test_nothing_owed_asks_for_no_further_step():
    assert Town().machine.step(NOW) is None


def test_a_failure_is_tried_again_later_and_later_with_the_same_key():
    town = Town()
    (channel,) = town.channels
    channel.error = DOWN
    alert = town.find()
    pauses, now_ms = [], NOW
    for _ in range(6):
        due_ms = town.machine.step(now_ms)
        pauses.append(due_ms - now_ms)
        now_ms = due_ms
    assert pauses == sorted(pauses)
    assert 2.5 * SECOND_MS <= pauses[0] <= 5 * SECOND_MS
    assert len(set(channel.tried)) == 1
    (row,) = town.ledger.owed_for(alert.id)
    assert (row.attempts, row.last_error) == (6, "no answer")
    channel.error = None
    town.run(now_ms, now_ms + DAY_MS)
    assert town.states(alert) == [OwedState.SENT]


def test_a_permanent_failure_is_given_up_and_says_why():
    town = Town()
    town.channels[0].error = DeliveryError("410 gone", permanent=True)
    alert = town.find()
    town.run(NOW, NOW + DAY_MS)
    assert len(town.channels[0].tried) == 1
    (row,) = town.ledger.owed_for(alert.id)
    assert (row.state, row.last_error) == (OwedState.GIVEN_UP, "410 gone")
    assert town.machine.counters["given_up"] == 1


def test_a_warning_is_given_up_in_the_end_but_a_critical_one_never():
    town = Town()
    town.channels[0].error = DOWN
    warning = town.find(cause="a")
    critical = town.find(cause="b", severity=Severity.CRITICAL)
    end_ms = NOW + GIVE_UP_MS + 2 * HOUR_MS
    town.run(NOW, end_ms)
    assert town.states(warning) == [OwedState.GIVEN_UP]
    assert town.states(critical) == [OwedState.OWED]
    due_ms = town.ledger.next_due_ms()
    assert due_ms is not None
    assert due_ms - end_ms <= LAST_CRITICAL_RETRY_MS


def test_the_time_the_other_side_asks_for_is_kept():
    town = Town()
    town.channels[0].error = DeliveryError("429", retry_after_s=600)
    town.find()
    assert town.machine.step(NOW) == NOW + 600 * SECOND_MS


def test_whatever_an_adapter_raises_the_notification_stays_owed():
    town = Town()
    town.channels[0].error = RuntimeError("a bug")
    alert = town.find()
    town.machine.step(NOW)
    (row,) = town.ledger.owed_for(alert.id)
    assert row.state is OwedState.OWED
    assert "RuntimeError: a bug" in row.last_error


def test_a_channel_that_is_down_costs_the_others_one_attempt_a_step():
    bad, good = Channel("bad"), Channel("good")
    town = Town(bad, good)
    bad.error = DOWN
    for i in range(20):
        town.find(cause=f"c{i}")
    town.machine.step(NOW)
    assert len(bad.tried) == 1
    assert len(good.taken) == 20


def test_a_new_critical_notification_is_tried_even_on_a_resting_channel():
    town = Town()
    (channel,) = town.channels
    channel.error = DOWN
    town.find(cause="a")
    town.run(NOW, NOW + MINUTE_MS)
    tried = len(channel.tried)
    later = NOW + MINUTE_MS + 1
    warning = town.find(cause="b", t_ms=later)
    critical = town.find(cause="c", t_ms=later, severity=Severity.CRITICAL)
    town.machine.step(later)
    assert channel.tried[tried:] == [f"{critical.id}-1-console"]
    channel.error = None
    town.run(later + 1, later + 10 * MINUTE_MS)
    assert town.states(warning) == town.states(critical) == [OwedState.SENT]


def test_a_storm_on_a_channel_that_is_down_for_seconds_does_not_make_it_rest_for_minutes():
    town = Town()
    (channel,) = town.channels
    channel.error = DOWN
    for n in range(10):
        town.find(cause=str(n), severity=Severity.CRITICAL, now_ms=NOW + n)
        town.machine.step(NOW + n)
    channel.error = None
    town.run(NOW + 10, NOW + 6 * SECOND_MS)
    assert len(channel.taken) == 10


def test_urgent_things_go_first():
    town = Town()
    town.find(cause="a")
    critical = town.find(cause="b", severity=Severity.CRITICAL)
    town.machine.step(NOW)
    assert town.channels[0].tried[0] == f"{critical.id}-1-console"


def test_a_crash_between_sending_and_settling_repeats_the_same_key():
    town = Town()
    (channel,) = town.channels
    alert = town.find()
    (row,) = town.ledger.due(NOW)
    assert town.ledger.attempt(row, NOW)
    town.restart()
    town.run(NOW, NOW + DAY_MS)
    assert channel.tried == [f"{alert.id}-1-console"]
    assert town.states(alert) == [OwedState.SENT]


def test_what_is_owed_on_disk_outlives_the_process(tmp_path):
    url = f"sqlite:///{tmp_path / 'core.db'}"
    town = Town(ledger=SqlLedger(url))
    sent = town.find(cause="a")
    town.machine.step(NOW)
    town.channels[0].error = DOWN
    unsent = town.find(cause="b")
    town.machine.step(NOW)
    town.ledger.close()
    town.ledger = SqlLedger(url)
    town.channels[0].error = None
    town.restart()
    town.run(NOW, NOW + DAY_MS)
    assert town.states(sent) == town.states(unsent) == [OwedState.SENT]
    assert [n.alert.id for n in town.channels[0].taken] == [sent.id, unsent.id]
    assert town.channels[0].tried[1] == town.channels[0].tried[2]
    town.ledger.close()


def test_a_row_that_somebody_else_claimed_is_left_alone():
    town = Town()
    town.find()
    due = town.ledger.due
    town.ledger.due = lambda now_ms, limit=100: [replace(r, attempts=7) for r in due(now_ms, limit)]
    town.machine.step(NOW)
    assert town.channels[0].tried == []


def test_a_notifier_that_is_not_configured_any_more_leaves_its_debt_visible():
    town = Town(Channel("old"))
    alert = town.find()
    town.channels = (Channel("new"),)
    town.restart()
    town.machine.step(NOW)
    (row,) = town.ledger.owed_for(alert.id)
    assert row.state is OwedState.OWED
    assert "'old'" in row.last_error


def test_after_an_outage_what_is_over_is_not_told_but_what_goes_on_is():
    town = Town()
    began = NOW - 5 * HOUR_MS
    over = town.find(cause="a", t_ms=began, severity=Severity.ALARM, now_ms=NOW)
    town.find(Phase.RESOLVED, began + HOUR_MS, "a", Severity.ALARM, now_ms=NOW)
    going_on = town.find(cause="b", t_ms=began, now_ms=NOW)
    town.run(NOW, NOW + HOUR_MS)
    assert town.states(over) == [OwedState.HELD, OwedState.HELD]
    assert town.states(going_on) == [OwedState.SENT]


def test_the_end_of_a_critical_alert_does_not_cancel_its_notification():
    town = Town()
    town.channels[0].error = DOWN
    alert = town.find(severity=Severity.CRITICAL)
    town.run(NOW, NOW + HOUR_MS)
    town.find(Phase.RESOLVED, NOW + HOUR_MS, severity=Severity.CRITICAL)
    town.channels[0].error = None
    town.run(NOW + HOUR_MS, NOW + DAY_MS)
    assert town.channels[0].taken[0].idempotency_key == f"{alert.id}-1-console"
    assert "it was over" in town.channels[0].taken[0].body


def test_who_was_told_of_an_alarm_is_told_of_its_end():
    town = Town()
    town.find(severity=Severity.ALARM)
    town.machine.step(NOW)
    town.find(Phase.RESOLVED, NOW + HOUR_MS, severity=Severity.ALARM)
    town.machine.step(NOW + HOUR_MS)
    assert [n.step for n in town.channels[0].taken] == ["opened", "resolved"]


def test_an_answer_by_a_person_ends_the_retries():
    town = Town()
    town.channels[0].error = DOWN
    alert = town.find(severity=Severity.CRITICAL)
    town.run(NOW, NOW + MINUTE_MS)
    n = len(town.ledger.transitions(alert.id))
    town.ledger.change_alert(lifecycle.acknowledge(alert, n, CREW, "", NOW + MINUTE_MS))
    town.run(NOW + MINUTE_MS, NOW + DAY_MS)
    assert town.states(alert) == [OwedState.HELD]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["opened", "down", "up", "restart", "wait"]),
            st.sampled_from([Severity.WARNING, Severity.CRITICAL]),
        ),
        max_size=25,
    )
)
def test_nothing_owed_stays_unsent_and_nothing_sent_is_sent_again(story):
    town = Town(Channel("a"), Channel("b"))
    now_ms = NOW
    for i, (what, severity) in enumerate(story):
        match what:
            case "opened":
                town.find(cause=f"c{i}", t_ms=now_ms, severity=severity)
            case "down":
                town.channels[0].error = DOWN
            case "up":
                town.channels[0].error = None
            case "restart":
                town.restart()
        town.run(now_ms, now_ms + MINUTE_MS)
        now_ms += MINUTE_MS
    town.channels[0].error = None
    town.run(now_ms, now_ms + DAY_MS)
    for alert in town.ledger.alerts():
        assert set(town.states(alert)) == {OwedState.SENT}
    for channel in town.channels:
        keys = [notice.idempotency_key for notice in channel.taken]
        assert sorted(keys) == sorted(f"{a.id}-1-{channel.name}" for a in town.ledger.alerts())


@pytest.mark.parametrize("site_there", [True, False])
def test_a_site_that_is_gone_is_named_by_its_id(site_there):
    town = Town()
    town.find()
    if not site_there:
        town.ledger.retire_site(KEY, CREW, NOW)
    town.machine.step(NOW)
    assert ("Minato 1" in town.channels[0].taken[0].title) == site_there
