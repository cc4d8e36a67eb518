"""What people do with alerts: look, acknowledge, remark, close."""

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
from pumpwatch.domain.errors import Conflict, NotFound
from pumpwatch.domain.ports import AlertBook, AlertChange, SiteBook
from pumpwatch.domain.sites import SiteMode

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
        alert_book: AlertBook,
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

    def resolve(self, alert_id: str, actor: Actor, found: str) -> Alert:
        """Close it and say what was found.

        Raises `NotFound`; `Conflict` when it is over already or is a present fact of a station in
        service; `InvalidInput` when nothing is said.
        """
        now_ms = self._clock.now_ms()

        def change(alert: Alert, n: int) -> AlertChange:
            site = self._sites.site(alert.key)
            retired = site is None
            made = lifecycle.resolve_by_hand(alert, n, actor, found, now_ms, retired=retired)
            mode = SiteMode.LIVE if site is None else site.mode
            owed = self._policy.owed(made.alert, made.transitions[0], alert, mode)
            return replace(made, owed=owed)

        return self._change(alert_id, change)

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
