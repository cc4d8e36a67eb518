"""How an alert changes: by findings of diagnosis and by people. Pure: versions in, versions out.

Transitions of an alert are numbered from 1. ``n`` is always the number of transitions so far. A
severity never falls while an alert is open, and ``changed_ms`` is the event time of the last thing
diagnosis said, so that old findings are recognised when they are derived again.
"""

from __future__ import annotations

from dataclasses import replace

from pumpwatch.alerting.policy import Policy
from pumpwatch.alerting.weather import HELD
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Step, Transition, alert_id
from pumpwatch.domain.errors import Conflict, InvalidInput
from pumpwatch.domain.labels import Label
from pumpwatch.domain.ports import AlertChange
from pumpwatch.domain.sites import SiteMode


def apply(
    finding: Finding,
    current: Alert | None,
    n: int,
    policy: Policy,
    now_ms: int,
    *,
    mode: SiteMode,
    hold_ms: int = 0,
) -> AlertChange | None:
    """What ``finding`` makes of ``current``; None when it changes nothing.

    ``current`` is the newest alert of the finding's site and cause, open or not (None: there was
    none): from one that is over a finding derived again is recognised as old. ``n`` is the number
    of its transitions, 0 without one; ``mode`` is the site's. Notices wait for ``hold_ms``.
    """
    outcome = _outcome(finding, current)
    if outcome is None:
        return None
    step, after = outcome
    before = None if step is Step.OPENED else current
    number = 1 if before is None else n + 1
    transition = Transition(number, step, finding.t_ms, now_ms, SYSTEM, after.severity, after.fault)
    owed = policy.owed(after, transition, before, mode, hold_ms)
    if hold_ms and owed:
        transition = replace(transition, why=HELD)
    return AlertChange(after, [transition], owed)


def acknowledge(alert: Alert, n: int, actor: Actor, note: str, now_ms: int) -> AlertChange:
    """Somebody has taken it in hand. Also right for one that is over but was never answered.

    Raises `Conflict` when somebody already did.
    """
    if alert.acknowledged_ms is not None:
        raise Conflict(
            f"alert {alert.id} was already acknowledged by {alert.acknowledged_by}",
            "add a note instead",
        )
    after = replace(alert, acknowledged_ms=now_ms, acknowledged_by=actor.id)
    return AlertChange(after, [_by_person(after, Step.ACKNOWLEDGED, n, actor, note, now_ms)])


def note(alert: Alert, n: int, actor: Actor, text: str, now_ms: int) -> AlertChange:
    """A remark of a person. Raises `InvalidInput` when it is empty."""
    _require("note", text, "write what was seen or done")
    return AlertChange(alert, [_by_person(alert, Step.NOTE, n, actor, text.strip(), now_ms)])


def resolve_by_hand(
    alert: Alert, n: int, actor: Actor, found: str, now_ms: int, *, retired: bool = False,
    label: Label | None = None,
) -> AlertChange:  # fmt: skip
    """A person closes it and says what was found, in words or as a ``label``; that also answers it.

    Raises `Conflict` when it is over already, or is a present fact, which only the station can end
    (unless it is ``retired`` and will never say so); `InvalidInput` when nothing is said.
    """
    if not alert.open:
        raise Conflict(f"alert {alert.id} is already resolved", "add a note instead")
    if alert.kind is Kind.CONDITION and not retired:
        raise Conflict(
            f"alert {alert.id} is a present fact",
            "acknowledge it; it ends when the station reports normal",
        )
    if label is None:
        _require("found", found, "say what was found and done")
    after = replace(
        alert,
        changed_ms=max(alert.changed_ms, now_ms),
        resolved_ms=now_ms,
        acknowledged_ms=now_ms if alert.acknowledged_ms is None else alert.acknowledged_ms,
        acknowledged_by=alert.acknowledged_by or actor.id,
    )
    over = _by_person(after, Step.RESOLVED, n, actor, found.strip(), now_ms)
    return AlertChange(after, [over], label=label)


def _outcome(finding: Finding, current: Alert | None) -> tuple[Step, Alert] | None:
    if current is not None and finding.t_ms < current.changed_ms:
        return None
    if current is None or not current.open:
        fresh = _fresh(finding)
        repeated = current is not None and current.id == fresh.id
        return None if repeated or finding.phase is Phase.RESOLVED else (Step.OPENED, fresh)
    if finding.phase is Phase.RESOLVED:
        over = replace(current, changed_ms=finding.t_ms, resolved_ms=finding.t_ms)
        return Step.RESOLVED, over
    if finding.phase is Phase.OPENED and finding.t_ms == current.opened_ms:
        return None
    after = _worse(current, finding)
    unchanged = after == replace(current, changed_ms=after.changed_ms)
    return None if unchanged else (Step.WORSENED, after)


def _fresh(finding: Finding) -> Alert:
    """A new alert; of a worsening too, when a person had closed the one before."""
    return Alert(
        id=alert_id(finding.key, finding.cause, finding.t_ms),
        key=finding.key,
        cause=finding.cause,
        kind=finding.kind,
        severity=finding.severity,
        fault=finding.fault,
        target=finding.target,
        score=finding.score,
        evidence=finding.evidence,
        opened_ms=finding.t_ms,
        changed_ms=finding.t_ms,
    )


def _worse(current: Alert, finding: Finding) -> Alert:
    rose = finding.severity.rank > current.severity.rank
    return replace(
        current,
        severity=finding.severity if rose else current.severity,
        kind=finding.kind,
        fault=finding.fault,
        target=finding.target,
        score=finding.score,
        evidence=finding.evidence,
        changed_ms=finding.t_ms,
        acknowledged_ms=None if rose else current.acknowledged_ms,
        acknowledged_by=None if rose else current.acknowledged_by,
    )


def _by_person(alert: Alert, step: Step, n: int, actor: Actor, why: str, now_ms: int) -> Transition:
    return Transition(n + 1, step, now_ms, now_ms, actor, alert.severity, alert.fault, why)


def _require(field: str, text: str, remedy: str) -> None:
    if not text.strip():
        raise InvalidInput(field, "is empty", remedy)
