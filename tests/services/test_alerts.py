from threading import RLock

import pytest

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity, Step
from pumpwatch.domain.clock import ManualClock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Found
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services.alerts import AlertService
from pumpwatch.stores.memory import MemoryLedger

CREW, OTHER = Actor("sato", "crew"), Actor("ito", "crew")
POLICY = Policy(routes=(Route("console"),))


@pytest.fixture
def ledger():
    return MemoryLedger()


@pytest.fixture
def service(ledger):
    return AlertService(ledger, ledger, ManualClock(5000), POLICY)


def opened(
    ledger, site="mh0001", cause="c", severity=Severity.ALARM, t_ms=1000, tenant="default",
    kind=Kind.PREDICTIVE,
):  # fmt: skip
    key = SiteKey(tenant, site)
    ledger.put_site(key, Site(site=site), CREW, 0)
    finding = Finding(key, t_ms, Phase.OPENED, cause, kind, severity, ("pump_wear",), None, 0.9, {})
    change = lifecycle.apply(finding, None, 0, POLICY, t_ms, mode=SiteMode.LIVE)
    ledger.commit_assessment([], [change], [])
    return change.alert


def test_an_acknowledgement_is_written_with_its_actor(ledger, service):
    alert = opened(ledger)
    assert service.acknowledge(alert.id, CREW, " going ").acknowledged_by == "sato"
    last = service.history(alert.id).transitions[-1]
    assert (last.step, last.actor, last.why, last.recorded_ms) == (
        Step.ACKNOWLEDGED,
        CREW,
        "going",
        5000,
    )


def test_of_two_who_acknowledge_the_second_learns_who_was_first(ledger, service):
    alert = opened(ledger)
    service.acknowledge(alert.id, CREW)
    with pytest.raises(Conflict, match="sato"):
        service.acknowledge(alert.id, OTHER)


def test_an_unknown_alert_is_named_with_a_remedy(service):
    with pytest.raises(NotFound, match=r"'nope'.*pumpwatch alerts"):
        service.acknowledge("nope", CREW)


def test_an_alert_is_found_by_the_beginning_of_its_id(ledger, service):
    alert = opened(ledger)
    assert service.find(alert.id[:8]) == alert
    with pytest.raises(NotFound):
        service.find("")


def test_an_ambiguous_beginning_is_refused(ledger, service):
    ids = [opened(ledger, cause=f"c{i}").id for i in range(17)]
    shared = next(i[0] for i in ids if sum(j.startswith(i[0]) for j in ids) > 1)
    with pytest.raises(Conflict, match="give more"):
        service.find(shared)


def test_a_change_that_came_between_is_read_and_the_step_tried_again(ledger, service):
    alert = opened(ledger)
    write, interrupted = ledger.change_alert, []

    def change_alert(change):
        if not interrupted:
            interrupted.append(True)
            n = len(ledger.transitions(alert.id))
            write(lifecycle.note(alert, n, OTHER, "look at pump 2", 4000))
        write(change)

    ledger.change_alert = change_alert
    service.acknowledge(alert.id, CREW)
    steps = [t.step for t in ledger.transitions(alert.id)]
    assert steps == [Step.OPENED, Step.NOTE, Step.ACKNOWLEDGED]


def test_a_conflict_that_does_not_go_away_is_told(ledger, service):
    alert = opened(ledger)

    def change_alert(change):
        raise Conflict("taken", "read it again")

    ledger.change_alert = change_alert
    with pytest.raises(Conflict, match="taken"):
        service.add_note(alert.id, CREW, "x")


def test_closing_by_hand_is_owed_to_who_is_told_of_ends(ledger, service):
    alert = opened(ledger)
    assert not service.resolve(alert.id, CREW, "wipes in the impeller").open
    assert [(o.transition_n, o.notifier) for o in ledger.owed_for(alert.id)] == [
        (1, "console"),
        (2, "console"),
    ]


def test_a_present_fact_of_a_retired_station_is_closed_by_hand(ledger, service):
    alert = opened(ledger, kind=Kind.CONDITION)
    with pytest.raises(Conflict, match="present fact"):
        service.resolve(alert.id, CREW, "looks fine")
    ledger.retire_site(alert.key, CREW, 1000)
    assert not service.resolve(alert.id, CREW, "taken out of service").open


def test_a_note_must_say_something(ledger, service):
    alert = opened(ledger)
    with pytest.raises(InvalidInput):
        service.add_note(alert.id, CREW, "  ")
    service.add_note(alert.id, CREW, "noise")
    assert service.history(alert.id).transitions[-1].why == "noise"


def test_open_alerts_come_with_what_needs_attention_first(ledger, service):
    old = opened(ledger, cause="a", t_ms=100, severity=Severity.WARNING)
    new = opened(ledger, cause="b", t_ms=200, severity=Severity.WARNING)
    worst = opened(ledger, "mh0002", cause="c", t_ms=300, severity=Severity.CRITICAL)
    taken = opened(ledger, "mh0002", cause="d", t_ms=50, severity=Severity.CRITICAL)
    elsewhere = opened(ledger, tenant="demo", t_ms=10, severity=Severity.INFO)
    service.acknowledge(taken.id, CREW)
    assert [a.id for a in service.open_alerts()] == [
        a.id for a in (worst, taken, old, new, elsewhere)
    ]
    assert [a.id for a in service.open_alerts(site="mh0001", tenant="default")] == [old.id, new.id]
    assert [a.id for a in service.open_alerts(min_severity=Severity.ALARM)] == [worst.id, taken.id]


def test_the_lock_of_the_house_is_held_while_an_alert_changes(ledger):
    lock = RLock()
    held = []

    class Spy:
        def __enter__(self):
            held.append(True)
            return lock.__enter__()

        def __exit__(self, *error):
            held.append(False)
            return lock.__exit__(*error)

    alert = opened(ledger)
    AlertService(ledger, ledger, ManualClock(1), POLICY, Spy()).acknowledge(alert.id, CREW)
    assert held == [True, False]


# -- what was found ------------------------------------------------------------------------------


def test_closing_with_what_was_found_makes_a_label_of_what_the_alert_said(ledger, service):
    alert = opened(ledger)
    service.resolve(alert.id, CREW, "rags", Found("pump_ragging", "pump1", "rags", 4000))
    (label,) = ledger.labels()
    assert (label.cause, label.target, label.note, label.found_ms) == (
        "pump_ragging", "pump1", "rags", 4000,
    )  # fmt: skip
    assert (label.actor, label.recorded_ms) == (CREW, 5000)
    assert (label.said.fault, label.said.opened_ms) == ("pump_wear", 1000)


def test_a_cause_is_word_enough_to_close_with(ledger, service):
    alert = opened(ledger)
    assert not service.resolve(alert.id, CREW, "", Found("nothing_found")).open


def test_what_cannot_be_meant_leaves_the_alert_open_and_no_label(ledger, service):
    alert = opened(ledger)
    with pytest.raises(InvalidInput):
        service.resolve(alert.id, CREW, "x", Found("gremlins"))
    assert ledger.alert(alert.id).open
    assert ledger.labels() == []


def test_an_answer_can_be_corrected_and_the_earlier_one_stays(ledger, service):
    alert = opened(ledger)
    service.resolve(alert.id, CREW, "", Found("nothing_found", at_ms=3000))
    service.answer(alert.id[:8], OTHER, Found("pump_wear", "pump2"))
    first, second = ledger.labels(subject=alert.id)
    assert (first.cause, first.actor) == ("nothing_found", CREW)
    assert (second.n, second.cause, second.actor, second.found_ms) == (2, "pump_wear", OTHER, 3000)


def test_a_present_fact_is_answered_while_it_lasts(ledger, service):
    alert = opened(ledger, kind=Kind.CONDITION)
    assert service.answer(alert.id, CREW, Found("power_outage")).n == 1
    assert ledger.alert(alert.id).open


def test_a_failure_nobody_was_told_of_is_written_down_once(ledger, service):
    key = opened(ledger).key
    label = service.missed(key, CREW, Found("pump_trip", "pump1", "overload", 4500))
    assert label.said is None
    with pytest.raises(Conflict):
        service.missed(key, CREW, Found("pump_trip", "pump1", "again", 4500))
    withdrawn = service.answer(label.subject[:8], OTHER, Found("nothing_found"))
    assert (withdrawn.n, withdrawn.found_ms) == (2, 4500)


def test_what_an_open_alert_had_named_is_no_missed_failure(ledger, service):
    alert = opened(ledger)
    with pytest.raises(Conflict, match=alert.id):
        service.missed(alert.key, CREW, Found("pump_wear", at_ms=2000))
    assert service.missed(alert.key, CREW, Found("pump_wear", at_ms=500)).n == 1
    assert service.missed(alert.key, CREW, Found("pump_trip", at_ms=2000)).n == 1


def test_a_missed_failure_is_a_failure_of_a_station_we_know(ledger, service):
    opened(ledger)
    with pytest.raises(NotFound):
        service.missed(SiteKey("default", "mh0404"), CREW, Found("pump_trip"))
    with pytest.raises(InvalidInput, match="no failure"):
        service.missed(SiteKey("default", "mh0001"), CREW, Found("nothing_found"))
