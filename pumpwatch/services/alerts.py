"""What people do with alerts: look, acknowledge, remark, close, say what was found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import RLock

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.policy import Policy
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Severity, Transition
from pumpwatch.domain.clock import Clock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import HUB_KEY, SiteKey
from pumpwatch.domain.labels import (
    NOTHING_FOUND,
    Found,
    Label,
    answer_to,
    correction_of,
    missed_failure,
)
from pumpwatch.domain.ports import AlertChange, AnsweredBook, SiteBook
from pumpwatch.domain.sites import Site, SiteMode

_TRIES = 5
_SEARCHED = 2000

Change = Callable[[Alert, int], AlertChange]


@dataclass(frozen=True, slots=True)
class AlertHistory:
    alert: Alert
    transitions: list[Transition]


class AlertService:
    """Changes by people, one at a time. ``lock`` is shared with whoever else changes alerts."""

    def __init__(
        self,
        alert_book: AnsweredBook,
        site_book: SiteBook,
        clock: Clock,
        policy: Policy,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._alerts, self._sites = alert_book, site_book
        self._clock, self._policy = clock, policy
        self._lock = lock or RLock()

    # -- looking ---------------------------------------------------------------------------------

    def find(self, text: str) -> Alert:
        """The alert with this id, or the only recent one whose id begins with ``text``.

        Raises `NotFound` when there is none, `Conflict` when there are several.
        """
        exact = self._alerts.alert(text)
        if exact is not None:
            return exact
        found = [a for a in self._alerts.alerts(limit=_SEARCHED) if text and a.id.startswith(text)]
        if not found:
            raise NotFound(f"no alert {text!r}", "list them with 'pumpwatch alerts'")
        if len(found) > 1:
            raise Conflict(f"{len(found)} alerts begin with {text!r}", "give more of the id")
        return found[0]

    def history(self, alert_id: str) -> AlertHistory:
        """An alert with all that happened to it, oldest first. Raises `NotFound`."""
        alert = self.find(alert_id)
        return AlertHistory(alert, self._alerts.transitions(alert.id))

    def open_alerts(
        self,
        tenant: str | None = None,
        site: str | None = None,
        min_severity: Severity = Severity.INFO,
    ) -> list[Alert]:
        """What needs attention, first what needs it most: see `attention_rank`."""
        wanted = [
            alert
            for alert in self._alerts.open_alerts()
            if tenant in (None, alert.key.tenant)
            and site in (None, alert.key.site)
            and alert.severity.rank >= min_severity.rank
        ]
        return sorted(wanted, key=attention_rank)

    # -- changing --------------------------------------------------------------------------------

    def acknowledge(self, alert_id: str, actor: Actor, note: str = "") -> Alert:
        """Take it in hand. Raises `NotFound`; `Conflict` when somebody already did."""
        now_ms = self._clock.now_ms()
        return self._change(
            alert_id, lambda a, n: lifecycle.acknowledge(a, n, actor, note.strip(), now_ms)
        )

    def add_note(self, alert_id: str, actor: Actor, text: str) -> Alert:
        """Remark something. Raises `NotFound`; `InvalidInput` when it is empty."""
        now_ms = self._clock.now_ms()
        return self._change(alert_id, lambda a, n: lifecycle.note(a, n, actor, text, now_ms))

    def resolve(self, alert_id: str, actor: Actor, note: str, found: Found | None = None) -> Alert:
        """Close it and say what was found; ``found`` is kept as a label.

        Raises `NotFound`; `Conflict` when it is over already or is a present fact of a station in
        service; `InvalidInput` when nothing is said, or what cannot be meant.
        """
        now_ms = self._clock.now_ms()

        def change(alert: Alert, n: int) -> AlertChange:
            site = self._sites.site(alert.key)
            retired = site is None and alert.key != HUB_KEY
            label = None if found is None else self._answer(alert, found, actor, now_ms)
            made = lifecycle.resolve_by_hand(
                alert, n, actor, note, now_ms, retired=retired, label=label
            )
            mode = SiteMode.LIVE if site is None else site.mode
            owed = self._policy.owed(made.alert, made.transitions[0], alert, mode)
            return replace(made, owed=owed)

        return self._change(alert_id, change)

    # -- what was found --------------------------------------------------------------------------

    def answer(self, subject: str, actor: Actor, found: Found) -> Label:
        """Say what was found of an alert, open or over, or say it anew; the earlier answer stays, and
        so does its time unless another is told.

        ``subject`` may be a failure nobody was told of, too, and the beginning of either. Raises
        `NotFound`; `InvalidInput`; `Conflict` when somebody else answered at this moment.
        """
        now_ms = self._clock.now_ms()
        earlier = self._answers_to(subject)
        if earlier:
            label = self._corrected(earlier[-1], found, actor, now_ms)
        else:
            label = self._answer(self.find(subject), found, actor, now_ms)
        self._alerts.add_label(label)
        return label

    def missed(self, key: SiteKey, actor: Actor, found: Found) -> Label:
        """Write down a failure nobody was told of; ``found.at_ms`` is when the station failed.

        Raises `NotFound` for a site nobody approved; `InvalidInput`; `Conflict` when it is written
        down already, or when an alert that was open then had named it: that one is to be answered.
        """
        now_ms = self._clock.now_ms()
        if self._sites.site(key) is None:
            raise NotFound(f"no site {key}", "see the list of stations")
        if found.cause == NOTHING_FOUND:
            raise InvalidInput("cause", "is no failure", "name what failed")
        checked = self._checked(key, found, now_ms)
        told = self._told_of(key, checked)
        if told is not None:
            raise Conflict(f"alert {told.id} told of it", "answer that alert with what was found")
        label = missed_failure(key, checked, actor, now_ms)
        self._alerts.add_label(label)
        return label

    def _answer(self, alert: Alert, found: Found, actor: Actor, now_ms: int) -> Label:
        earlier = self._alerts.labels(subject=alert.id)
        if earlier:
            return self._corrected(earlier[-1], found, actor, now_ms)
        return answer_to(alert, self._checked(alert.key, found, now_ms), actor, now_ms)

    def _corrected(self, last: Label, found: Found, actor: Actor, now_ms: int) -> Label:
        at_ms = last.found_ms if found.at_ms is None else found.at_ms
        checked = self._checked(last.key, replace(found, at_ms=at_ms), now_ms)
        return correction_of(last, checked, actor, now_ms)

    def _answers_to(self, subject: str) -> list[Label]:
        """Of the subject itself, or of the only one without an alert that begins so."""
        exact = self._alerts.labels(subject=subject)
        if exact:
            return exact
        alone = [label for label in self._alerts.labels() if label.said is None]
        found = [label for label in alone if subject and label.subject.startswith(subject)]
        return found if len({label.subject for label in found}) == 1 else []

    def _checked(self, key: SiteKey, found: Found, now_ms: int) -> Found:
        return found.checked(self._sites.site(key) or Site(key.site), now_ms)

    def _told_of(self, key: SiteKey, found: Found) -> Alert | None:
        """The alert that was open then and named it."""
        at_ms = found.at_ms or 0
        return next(
            (
                alert
                for alert in self._alerts.alerts(*key, limit=_SEARCHED)
                if alert.opened_ms <= at_ms <= (at_ms if alert.open else alert.resolved_ms or 0)
                and found.cause in alert.fault
                and found.target in (None, alert.target)
            ),
            None,
        )

    def _change(self, alert_id: str, make: Change, tries: int = _TRIES) -> Alert:
        """Read, change and write; again when diagnosis or another person wrote in between."""
        with self._lock:
            alert = self.find(alert_id)
            change = make(alert, len(self._alerts.transitions(alert.id)))
            sys.audit("pumpwatch.reached", "web.decided")
            try:
                self._alerts.change_alert(change)
            except Conflict:
                if tries <= 1:
                    raise
            else:
                sys.audit("pumpwatch.reached", "web.committed")
                return change.alert
        return self._change(alert_id, make, tries - 1)


def attention_rank(alert: Alert) -> tuple[int, bool, int]:
    """Sorts alerts: the most severe first, then what nobody has taken in hand, then the oldest."""
    return (-alert.severity.rank, alert.acknowledged_ms is not None, alert.opened_ms)
