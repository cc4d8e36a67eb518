"""Which change of an alert owes a notification to whom, and whether it still does later on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pumpwatch.alerting.weather import is_water
from pumpwatch.domain.alerts import Alert, Kind, Owed, OwedState, Severity, Step, Transition
from pumpwatch.domain.clock import MINUTE_MS
from pumpwatch.domain.sites import SiteMode

_SENT = OwedState.SENT


@dataclass(frozen=True, slots=True)
class Route:
    """What one notifier is told: alerts from ``min_severity`` up, their end from ``resolved_from``."""

    notifier: str
    min_severity: Severity = Severity.WARNING
    resolved_from: Severity = Severity.ALARM


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom to disturb.

    ``late_ms``: what happened longer ago than this is told only if it still goes on, critical
    alerts excepted. ``grace_ms``: such late news waits this long, so that a backlog still coming
    in after an outage can say that it is over.
    """

    routes: tuple[Route, ...] = ()
    late_ms: int = 30 * MINUTE_MS
    grace_ms: int = MINUTE_MS

    def owed(
        self,
        alert: Alert,
        transition: Transition,
        before: Alert | None,
        mode: SiteMode,
        hold_ms: int = 0,
    ) -> list[Owed]:
        """What ``transition``, which turned ``before`` into ``alert``, owes, one row per notifier.

        An opening owes, a worsening when the severity rose or what seemed new water is something else, an
        end to those who are told of ends; notes and acknowledgements owe nothing, alerts of kind info neither. Rows of a
        recording are written as held: nobody is ever told, and one can see who would have been.
        What is held is told ``hold_ms`` after it happened, if it still goes on then.
        """
        if alert.kind is Kind.INFO or not _news(alert, transition, before):
            return []
        state = OwedState.HELD if mode is SiteMode.RECORDING else OwedState.OWED
        now_ms = transition.recorded_ms
        late = now_ms - transition.t_ms > self.late_ms and alert.severity is not Severity.CRITICAL
        due_ms = now_ms + (self.grace_ms if late else 0)
        if hold_ms:
            due_ms = max(due_ms, transition.t_ms + hold_ms)
        return [
            Owed(alert.id, transition.n, route.notifier, due_ms, state)
            for route in self.routes
            if alert.severity.rank >= _threshold(route, transition.step).rank
        ]

    def not_needed(
        self,
        row: Owed,
        alert: Alert,
        transitions: Sequence[Transition],
        rows: Sequence[Owed],
        now_ms: int,
    ) -> str:
        """'' when ``row`` must be sent, else the reason why it need not be sent any more.

        ``transitions`` and ``rows`` are all there are of this alert. An answer by a person ends what
        is owed; the end of a critical alert never does.
        """
        own = next((t for t in transitions if t.n == row.transition_n), None)
        if own is None:
            return "its transition is not in the ledger"
        sent = {r.transition_n for r in rows if (r.notifier, r.state) == (row.notifier, _SENT)}
        if own.step is Step.RESOLVED:
            return "" if any(n < own.n for n in sent) else "nobody was told that it began"
        if any(n > own.n for n in sent):
            return "newer news of it was sent"
        answers = [t for t in transitions if t.step is Step.ACKNOWLEDGED and t.n > own.n]
        if answers:
            return f"acknowledged by {answers[0].actor.id}"
        late = now_ms - own.t_ms > self.late_ms
        if late and not alert.open and alert.severity is not Severity.CRITICAL:
            return "over before anybody could be told"
        return ""


def _news(alert: Alert, transition: Transition, before: Alert | None) -> bool:
    match transition.step:
        case Step.OPENED | Step.RESOLVED:
            return True
        case Step.WORSENED:
            return (
                before is None
                or alert.severity.rank > before.severity.rank
                or (is_water(before) and not is_water(alert))  # which may have been held till now
            )
        case _:
            return False


def _threshold(route: Route, step: Step) -> Severity:
    return route.resolved_from if step is Step.RESOLVED else route.min_severity
