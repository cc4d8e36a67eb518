"""What every ledger promises: sites, alerts, what is owed, and who changed what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pumpwatch.domain.actors import LOCAL, SYSTEM, Actor
from pumpwatch.domain.alerts import (
    Alert,
    Kind,
    Owed,
    OwedState,
    Severity,
    Step,
    Transition,
    alert_id,
)
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, Said
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import AlertChange, AuditEntry, Checkpoint
from pumpwatch.domain.proofs import FLOAT, Proof
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion

A = SiteKey("default", "mh0001")
B = SiteKey("other-town", "mh0001")
ANN = Actor("ann", "operator")


def opened(key: SiteKey = A, cause: str = "capacity:pump1", t_ms: int = 100) -> AlertChange:
    """A fresh alert with its first transition and one notification owed."""
    name = alert_id(key, cause, t_ms)
    alert = Alert(
        id=name, key=key, cause=cause, kind=Kind.PREDICTIVE, severity=Severity.WARNING,
        fault=("pump_ragging", "pump_wear"), target="pump1", score=0.9,
        evidence={"since": "2024-04-28T12:00:00Z", "capacity_index": 0.81, "signs": [{"now": None}]},
        opened_ms=t_ms, changed_ms=t_ms,
    )  # fmt: skip
    first = Transition(1, Step.OPENED, t_ms, t_ms + 5, SYSTEM, alert.severity, alert.fault, "slow")
    return AlertChange(alert, [first], [Owed(name, 1, "console", due_ms=t_ms)])


def then(
    change: AlertChange, step: Step, t_ms: int, actor: Actor = SYSTEM, **alert: Any
) -> AlertChange:
    """The next change of the same alert."""
    n = change.transitions[-1].n + 1
    changed = replace(change.alert, changed_ms=t_ms, **alert)
    next_one = Transition(n, step, t_ms, t_ms, actor, changed.severity, changed.fault)
    return AlertChange(changed, [next_one], [Owed(changed.id, n, "console", due_ms=t_ms)])


def acknowledged(change: AlertChange, t_ms: int = 150) -> AlertChange:
    return then(change, Step.ACKNOWLEDGED, t_ms, ANN, acknowledged_ms=t_ms, acknowledged_by=ANN.id)


def resolved(change: AlertChange, t_ms: int = 200) -> AlertChange:
    return then(change, Step.RESOLVED, t_ms, resolved_ms=t_ms)


def everything(ledger: Any) -> tuple[Any, ...]:
    """All that a page or a restart could read."""
    alerts = ledger.alerts()
    return (
        ledger.sites(), ledger.held(), ledger.births(), ledger.log(A), ledger.audit(1000), alerts,
        [ledger.transitions(a.id) for a in alerts], [ledger.owed_for(a.id) for a in alerts],
        ledger.checkpoint(A), ledger.checkpoint(B), ledger.cycles(A, 0, 2**62), ledger.owed_counts(),
        ledger.labels(), ledger.proofs(),
    )  # fmt: skip


# -- sites -------------------------------------------------------------------------------------


def test_a_site_is_read_back_as_it_was_put(ledger: Any) -> None:
    site = Site(
        "mh0001", name="第一中継", stop_level_m=0.44, has_rain=True, mode=SiteMode.RECORDING
    )
    ledger.put_site(A, site, LOCAL, 1)
    assert ledger.site(A) == site
    assert ledger.sites() == {A: site}
    assert ledger.sites("other-town") == {}
    assert ledger.site(B) is None


def test_every_change_of_a_site_is_audited(ledger: Any) -> None:
    ledger.put_site(A, Site("mh0001"), LOCAL, 1)
    ledger.put_site(A, Site("mh0001"), LOCAL, 2)  # changes nothing
    ledger.put_site(A, Site("mh0001", pumps=3), ANN, 3)
    ledger.retire_site(A, ANN, 4)
    added, changed, retired = reversed(ledger.audit())
    assert (added.at_ms, added.actor, added.action, added.before) == (1, LOCAL, "site_added", None)
    assert (changed.actor, changed.action, changed.key) == (ANN, "site_changed", A)
    assert (changed.before["pumps"], changed.after["pumps"]) == (2, 3)
    assert (retired.at_ms, retired.action, retired.after) == (4, "site_retired", None)
    assert [e.at_ms for e in ledger.audit(2)] == [4, 3]


def test_a_retired_site_is_gone_until_it_is_put_again(ledger: Any) -> None:
    ledger.put_site(A, Site("mh0001"), LOCAL, 1)
    ledger.retire_site(A, LOCAL, 2)
    assert ledger.sites() == {}
    assert ledger.site(A) is None
    with pytest.raises(NotFound, match="default/mh0001"):
        ledger.retire_site(A, LOCAL, 3)
    ledger.put_site(A, Site("mh0001"), LOCAL, 4)
    assert ledger.site(A) == Site("mh0001")


def test_whoever_follows_the_sites_is_told_which_have_changed(ledger: Any) -> None:
    assert ledger.changed_since(0) == (0, set())
    ledger.put_site(A, Site("mh0001"), ANN, 1)
    first, changed = ledger.changed_since(0)
    assert changed == {A}
    ledger.put_site(A, Site("mh0001"), ANN, 2)
    assert ledger.changed_since(first) == (first, set()), "nothing changed"
    ledger.put_site(B, Site("mh0001"), ANN, 3)
    second, changed = ledger.changed_since(first)
    assert changed == {B}
    ledger.add_log(A, LogEntry(4, LogKind.VISIT), ANN, 4)
    third, changed = ledger.changed_since(second)
    assert changed == {A}
    ledger.retire_site(B, ANN, 5)
    assert ledger.changed_since(third)[1] == {B}
    assert ledger.changed_since(0)[1] == {A, B}


def test_other_changes_can_be_audited_too(ledger: Any) -> None:
    entry = AuditEntry(5, ANN, "speed_changed", None, {"factor": 1}, {"factor": 60})
    ledger.add_audit(entry)
    assert ledger.audit() == [entry]


def test_the_audit_is_read_by_site_and_kind(ledger: Any) -> None:
    for n, (key, action) in enumerate([(A, "a"), (B, "a"), (A, "b"), (None, "a"), (A, "a")]):
        ledger.add_audit(AuditEntry(n, ANN, action, key, None, {"n": n}))
    assert [e.at_ms for e in ledger.audit()] == [4, 3, 2, 1, 0]
    assert [e.at_ms for e in ledger.audit(key=A)] == [4, 2, 0]
    assert [e.at_ms for e in ledger.audit(2**62, key=A, action="a")] == [4, 0]
    assert [e.at_ms for e in ledger.audit(1, action="a")] == [4]


def test_an_unknown_site_is_held_and_counted(ledger: Any) -> None:
    birth = Birth(A, online=True, agent="0.1.0", signals={"level_m": {"unit": "m"}}, period_s=10)
    ledger.hold(A, 10, 3, None)
    ledger.hold(A, 20, 2, birth)
    ledger.hold(A, 30, 1, None)
    (held,) = ledger.held()
    assert (held.key, held.first_ms, held.last_ms, held.messages) == (A, 10, 30, 6)
    assert held.birth == birth


def test_a_held_site_disappears_when_it_is_approved_and_is_not_held_again(ledger: Any) -> None:
    ledger.hold(A, 10, 3, None)
    ledger.hold(B, 10, 1, None)
    ledger.put_site(A, Site("mh0001"), LOCAL, 20)
    ledger.hold(A, 30, 1, None)  # a batch that was on its way
    assert [held.key for held in ledger.held()] == [B]
    ledger.retire_site(A, LOCAL, 40)
    ledger.hold(A, 50, 1, None)
    assert [held.key for held in ledger.held()] == [A, B]


def test_the_last_birth_of_a_site_counts(ledger: Any) -> None:
    ledger.put_birth(Birth(A, online=True, boot="one"), 10)
    ledger.put_birth(Birth(A, online=False, boot="one"), 20)
    assert ledger.births() == {A: (20, Birth(A, online=False, boot="one"))}


def test_the_site_log_is_in_time_order_and_keeps_an_entry_once(ledger: Any) -> None:
    cleaned = LogEntry(50, LogKind.CLEANING, "pump1", "rags")
    visit = LogEntry(20, LogKind.VISIT)
    for entry in (cleaned, visit, cleaned):
        ledger.add_log(A, entry, ANN, 60)
    ledger.add_log(B, visit, ANN, 60)
    assert ledger.log(A) == [visit, cleaned]
    assert [e.action for e in ledger.audit()] == ["log_added"] * 3


# -- alerts ------------------------------------------------------------------------------------


def test_an_assessment_is_read_back_as_it_was_written(ledger: Any) -> None:
    change = opened()
    cycle = CycleRow(50, 90, "pump1", "", {"capacity_m3s": 0.005})
    ledger.commit_assessment([Checkpoint(A, 7, b"\x00state")], [change], [(A, cycle)])
    assert ledger.alert(change.alert.id) == change.alert
    assert ledger.open_alerts() == ledger.open_alerts(A) == [change.alert]
    assert ledger.open_alerts(B) == []
    assert ledger.transitions(change.alert.id) == list(change.transitions)
    assert ledger.owed_for(change.alert.id) == list(change.owed)
    assert ledger.checkpoint(A) == Checkpoint(A, 7, b"\x00state")
    assert ledger.checkpoint(B) is None
    assert ledger.positions() == {A: 7}
    assert ledger.cycles(A, 50, 51) == [cycle]
    assert ledger.cycles(A, 51, 99) == ledger.cycles(B, 0, 99) == []
    assert ledger.alert("nobody") is None


def test_committing_the_same_assessment_again_changes_nothing(ledger: Any) -> None:
    first = opened()
    worse = then(first, Step.WORSENED, 150, severity=Severity.ALARM, score=0.95)
    step = (
        [Checkpoint(A, 7, b"state")],
        [first, worse],
        [(A, CycleRow(50, 90, "pump1")), (A, CycleRow(50, 95, "pump2"))],
    )
    ledger.commit_assessment(*step)
    before = everything(ledger)
    ledger.commit_assessment(*step)
    assert everything(ledger) == before
    late = replace(first.transitions[0], recorded_ms=999)
    ledger.commit_assessment([], [replace(first, transitions=[late])], [])
    assert everything(ledger) == before


def test_a_replayed_change_does_not_undo_what_came_later(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([], [first], [])
    ledger.change_alert(acknowledged(first))
    ledger.commit_assessment([], [first], [])
    assert ledger.alert(first.alert.id).acknowledged_by == "ann"


def test_an_assessment_that_collides_with_a_person_is_refused_whole(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([Checkpoint(A, 1, b"one")], [first], [])
    ledger.change_alert(acknowledged(first))
    before = everything(ledger)
    other = opened(cause="level:frozen", t_ms=180)
    with pytest.raises(Conflict, match="changed meanwhile"):
        ledger.commit_assessment(
            [Checkpoint(A, 2, b"two")],
            [other, then(first, Step.WORSENED, 180)],
            [(A, CycleRow(1, 2, "pump1"))],
        )
    assert everything(ledger) == before


def test_only_one_alert_per_site_and_cause_is_open(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([], [first, opened(B), opened(cause="other")], [])
    second = opened(t_ms=300)
    with pytest.raises(Conflict):
        ledger.commit_assessment([], [second], [])
    ledger.commit_assessment([], [resolved(first), second], [])
    assert second.alert in ledger.open_alerts(A)
    assert len(ledger.alerts(site="mh0001", tenant="default")) == 3


def test_a_persons_change_is_stored_with_who_and_when(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([], [first], [])
    ack = acknowledged(first)
    ledger.change_alert(ack)
    assert ledger.alert(first.alert.id) == ack.alert
    assert ledger.transitions(first.alert.id)[-1].actor == ANN
    assert ledger.owed_for(first.alert.id) == [*first.owed, *ack.owed]


def test_of_two_people_who_change_an_alert_the_second_is_told(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([], [first], [])
    ledger.change_alert(acknowledged(first, 150))
    before = everything(ledger)
    with pytest.raises(Conflict):
        ledger.change_alert(acknowledged(first, 151))
    assert everything(ledger) == before
    with pytest.raises(NotFound):
        ledger.change_alert(acknowledged(opened(cause="never stored")))


def test_alerts_are_listed_newest_change_first_and_filtered(ledger: Any) -> None:
    old, new = opened(cause="old", t_ms=100), opened(cause="new", t_ms=300)
    elsewhere = opened(B, t_ms=200)
    gone = resolved(opened(cause="gone", t_ms=50), 400)
    ledger.commit_assessment([], [old, elsewhere, new, opened(cause="gone", t_ms=50), gone], [])

    def causes(**filters: Any) -> list[str]:
        return [alert.cause for alert in ledger.alerts(**filters)]

    assert causes() == ["gone", "new", "capacity:pump1", "old"]
    assert causes(include_resolved=False) == ["new", "capacity:pump1", "old"]
    assert causes(tenant="default") == ["gone", "new", "old"]
    assert causes(site="mh0002") == []
    assert causes(since_ms=300) == ["gone", "new"]
    assert causes(limit=2) == ["gone", "new"]


def test_a_checkpoint_never_goes_back(ledger: Any) -> None:
    ledger.commit_assessment([Checkpoint(A, 7, b"seven")], [], [])
    ledger.commit_assessment([Checkpoint(A, 5, b"five")], [], [])
    assert ledger.checkpoint(A).state == b"seven"
    ledger.commit_assessment([Checkpoint(A, 7, b"seven, and a tick later")], [], [])
    assert ledger.checkpoint(A).state == b"seven, and a tick later"


def test_numbers_of_numpy_may_stand_in_evidence(ledger: Any) -> None:
    change = opened()
    odd = replace(change.alert, evidence={"n": np.int64(3), "x": np.float64(0.5)})
    ledger.commit_assessment([], [replace(change, alert=odd)], [])
    assert ledger.alert(odd.id).evidence == {"n": 3, "x": 0.5}


# -- owed --------------------------------------------------------------------------------------


def test_the_most_urgent_is_due_first_then_what_waits_longest(ledger: Any) -> None:
    early, late = opened(cause="early", t_ms=10), opened(cause="late", t_ms=20)
    flood = opened(cause="flood", t_ms=30)
    critical = replace(flood.transitions[0], severity=Severity.CRITICAL)
    ledger.commit_assessment([], [late, early, replace(flood, transitions=[critical])], [])
    due = [owed.alert_id for owed in ledger.due(30)]
    assert due == [flood.alert.id, early.alert.id, late.alert.id]
    assert [owed.alert_id for owed in ledger.due(30, limit=1)] == [flood.alert.id]
    assert [owed.alert_id for owed in ledger.due(10)] == [early.alert.id]
    assert ledger.due(9) == []
    assert ledger.next_due_ms() == 10


def test_an_attempt_is_claimed_by_one_only(ledger: Any) -> None:
    ledger.commit_assessment([], [opened()], [])
    (owed,) = ledger.due(100)
    assert ledger.attempt(owed, 100)
    assert not ledger.attempt(owed, 100)


def test_a_crash_between_attempt_and_answer_leaves_it_owed(ledger: Any) -> None:
    ledger.commit_assessment([], [opened()], [])
    ledger.attempt(ledger.due(100)[0], 100)
    (again,) = ledger.due(100)
    assert (again.state, again.attempts) == (OwedState.OWED, 1)
    assert ledger.attempt(again, 160)


def test_what_failed_is_due_later_and_what_was_sent_never_again(ledger: Any) -> None:
    change = opened()
    ledger.commit_assessment([], [change], [])
    (owed,) = ledger.due(100)
    ledger.attempt(owed, 100)
    ledger.settle(replace(owed, attempts=1, due_ms=160, last_error="500"), 101)
    assert ledger.due(159) == []
    assert ledger.next_due_ms() == 160
    (owed,) = ledger.due(160)
    assert (owed.attempts, owed.last_error) == (1, "500")
    ledger.attempt(owed, 160)
    ledger.settle(replace(owed, attempts=2, state=OwedState.SENT, last_error=""), 161)
    assert ledger.due(10**9) == []
    assert ledger.next_due_ms() is None
    assert ledger.owed_for(change.alert.id)[0] == replace(
        owed, attempts=2, state=OwedState.SENT, last_error=""
    )
    ledger.settle(replace(owed, state=OwedState.OWED), 170)  # a late answer of an old attempt
    assert ledger.owed_counts() == {"sent": 1}


def test_what_is_held_is_never_due(ledger: Any) -> None:
    change = opened()
    held = replace(change.owed[0], state=OwedState.HELD)
    ledger.commit_assessment([], [replace(change, owed=[held])], [])
    assert ledger.due(10**9) == []
    assert ledger.next_due_ms() is None
    assert not ledger.attempt(held, 100)
    assert ledger.owed_counts() == {"held": 1}


def test_an_attempt_at_what_is_not_owed_is_refused(ledger: Any) -> None:
    assert not ledger.attempt(Owed("nobody", 1, "console", 0), 0)


# -- labels ------------------------------------------------------------------------------------


def test_answers_are_kept_in_order_and_none_is_overwritten(ledger: Any) -> None:
    key = SiteKey("default", "mh0002")
    said = Said(Kind.PREDICTIVE, "pump_wear", "pump1", 5)
    first = Label("a1", 1, A, "nothing_found", None, "", 10, 11, ANN, said)
    second = replace(first, n=2, cause="pump_wear", target="pump1", note="羽根車の摩耗")
    missed = Label("b2", 1, key, "other", None, "落雷", 5, 12, LOCAL)
    for label in (missed, first, second):
        ledger.add_label(label)
    with pytest.raises(Conflict):
        ledger.add_label(replace(first, cause="pump_ragging"))
    assert ledger.labels() == [first, second, missed]
    assert ledger.labels("default", "mh0001") == [first, second]
    assert ledger.labels(subject="b2") == [missed]
    assert ledger.labels("nowhere") == []


def test_an_alert_is_closed_with_its_label_or_not_at_all(ledger: Any) -> None:
    first = opened()
    ledger.commit_assessment([], [first], [])
    said = Said(Kind.PREDICTIVE, "pump_ragging", "pump1", 100)
    label = Label(first.alert.id, 1, A, "pump_ragging", "pump1", "", 200, 200, ANN, said)
    ledger.add_label(label)
    before = everything(ledger)
    with pytest.raises(Conflict):
        ledger.change_alert(replace(resolved(first), label=label))
    assert everything(ledger) == before
    ledger.change_alert(replace(resolved(first), label=replace(label, n=2)))
    assert not ledger.alert(first.alert.id).open
    assert [a.n for a in ledger.labels(subject=first.alert.id)] == [1, 2]


# -- tuning ------------------------------------------------------------------------------------


def test_versions_of_a_site_s_settings_are_added_and_never_rewritten(ledger: Any) -> None:
    first = TuningVersion(
        1, 60, 50, ANN, "雨が多い", {"set": {"limit": 12.5}, "muted": ["pump_wear"]}
    )
    second = TuningVersion(2, 0, 70, LOCAL, "taken back", {}, restores=0)
    other = TuningVersion(1, 10, 10, LOCAL, "why", {"set": {"partner_comparison": False}})
    ledger.add_tuning(A, first)
    ledger.add_tuning(B, other)
    ledger.add_tuning(A, second)
    for taken in (first, replace(second, reason="another"), replace(first, n=4)):
        with pytest.raises(Conflict, match="default/mh0001"):
            ledger.add_tuning(A, taken)
    assert ledger.tunings() == {A: [first, second], B: [other]}
    assert ledger.tunings(A) == {A: [first, second]}
    assert ledger.tunings(SiteKey("default", "mh0003")) == {}


def test_a_new_version_is_audited_and_told_to_whoever_follows_the_sites(ledger: Any) -> None:
    number, _ = ledger.changed_since(0)
    ledger.add_tuning(A, TuningVersion(1, 60, 50, ANN, "why", {"set": {"limit": 12.0}}))
    assert ledger.changed_since(number)[1] == {A}
    ledger.add_tuning(A, TuningVersion(2, 80, 70, ANN, "again", {}, restores=0))
    (entry, _) = ledger.audit(2)
    assert (entry.at_ms, entry.actor, entry.action, entry.key) == (70, ANN, "tuned", A)
    assert entry.before == {"n": 1, "settings": {"set": {"limit": 12.0}}}
    assert entry.after == {"n": 2, "reason": "again", "settings": {}}


# -- proofs ------------------------------------------------------------------------------------


def test_cycles_that_draw_the_well_down_prove_their_pump(ledger: Any) -> None:
    def cycle(t_ms: int, pump: str = "pump1", reason: str = "") -> CycleRow:
        return CycleRow(t_ms, t_ms + 5, pump, reason, {"capacity_m3s": t_ms / 1000})

    ledger.commit_assessment([], [], [(A, cycle(7)), (A, cycle(9)), (B, cycle(8, "pump2"))])
    ledger.commit_assessment([], [], [(A, cycle(9)), (A, cycle(20, reason="short"))])
    ledger.commit_assessment([], [], [(A, cycle(30, "both")), (A, cycle(5))])
    assert ledger.proofs() == {
        A: [Proof("pump1", 5, 9, 9, 0.009)],
        B: [Proof("pump2", 8, 8, 8, 0.008)],
    }
    assert ledger.proofs(B) == {B: [Proof("pump2", 8, 8, 8, 0.008)]}


def test_a_proof_stays_when_a_later_look_is_none(ledger: Any) -> None:
    ledger.add_proofs(A, [Proof(FLOAT, 10, 10, 10, 1.9, 1.9)])
    ledger.add_proofs(A, [Proof(FLOAT, 20, 20, None, 1.5, 1.9)])
    ledger.add_proofs(A, [Proof(FLOAT, 15, 15, 15, 1.88, 1.9)])
    ledger.add_proofs(A, [])
    (proof,) = ledger.proofs(A)[A]
    assert proof == Proof(FLOAT, 10, 20, 15, 1.5, 1.9)
    assert not proof.holds
