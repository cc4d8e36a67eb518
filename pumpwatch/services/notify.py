"""The notifier: what is owed is tried, written down, and tried again until it is settled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from pumpwatch.alerting.i18n import Translator
from pumpwatch.alerting.policy import Policy
from pumpwatch.alerting.wording import notice_text
from pumpwatch.domain.alerts import Alert, Owed, OwedState, Severity, Transition
from pumpwatch.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS
from pumpwatch.domain.errors import DeliveryError
from pumpwatch.domain.ports import AlertBook, Notice, Notifier, OwedBook, SiteBook
from pumpwatch.domain.sites import Site

FIRST_RETRY_MS = 5 * SECOND_MS
LAST_RETRY_MS = HOUR_MS
LAST_CRITICAL_RETRY_MS = 2 * MINUTE_MS
LONGEST_REST_MS = 2 * MINUTE_MS
GIVE_UP_MS = 72 * HOUR_MS
"""A notification that is not critical is given up when it is this old; a critical one never is."""


class NotifyMachine:
    """Feed it with time: ``step(now_ms)`` sends what is due and says when it wants to be called next.

    An attempt is written down before it is made, so a crash between sending and settling leads to
    one repetition under the same idempotency key, never to silence. A channel that fails rests: it
    costs the others one attempt a step, and takes no urgent one with it (a critical notification
    that was never tried is tried even on a resting channel).
    """

    def __init__(
        self,
        *,
        owed: OwedBook,
        alerts: AlertBook,
        sites: SiteBook,
        notifiers: Iterable[Notifier],
        policy: Policy,
        tr: Translator,
        random: Random,
        url: Callable[[str], str] = lambda alert_id: "",
    ) -> None:
        self._owed, self._alerts, self._sites = owed, alerts, sites
        self._notifiers = {notifier.name: notifier for notifier in notifiers}
        self._policy, self._tr, self._random, self._url = policy, tr, random, url
        self._failures: dict[str, int] = {}
        self._failing_since_ms: dict[str, int] = {}
        self._resting_until_ms: dict[str, int] = {}
        self.counters = {"sent": 0, "failed": 0, "given_up": 0, "held": 0}
        self.last_notification_ms: int | None = None

    def step(self, now_ms: int) -> int | None:
        """Serve a batch of what is due. Returns when the next is due (None: nothing is owed)."""
        due = sorted(self._owed.due(now_ms), key=lambda row: self._failures.get(row.notifier, 0))
        tried_in_vain: set[str] = set()
        for row in due:
            self._serve(row, now_ms, tried_in_vain)
        return self._owed.next_due_ms()

    @property
    def failing_since_ms(self) -> int | None:
        """Since when a channel has taken nothing that it was tried with; None if all work."""
        return min(list(self._failing_since_ms.values()), default=None)

    def _serve(self, row: Owed, now_ms: int, tried_in_vain: set[str]) -> None:
        alert = self._alerts.alert(row.alert_id)
        transitions = self._alerts.transitions(row.alert_id)
        transition = next((t for t in transitions if t.n == row.transition_n), None)
        if alert is None or transition is None:
            self._settle(row, now_ms, OwedState.GIVEN_UP, "its alert is not in the ledger")
            return
        others = self._owed.owed_for(alert.id)
        reason = self._policy.not_needed(row, alert, transitions, others, now_ms)
        if reason:
            self._settle(row, now_ms, OwedState.HELD, reason)
        elif row.notifier in tried_in_vain or self._rests(row, transition, now_ms):
            rest_ms = self._resting_until_ms[row.notifier]
            self._owed.settle(replace(row, due_ms=rest_ms), now_ms)
        elif self._owed.attempt(row, now_ms):
            tried = replace(row, attempts=row.attempts + 1)
            if not self._send(tried, alert, transition, now_ms):
                tried_in_vain.add(row.notifier)

    def _rests(self, row: Owed, transition: Transition, now_ms: int) -> bool:
        urgent = transition.severity is Severity.CRITICAL and row.attempts == 0
        return not urgent and self._resting_until_ms.get(row.notifier, now_ms) > now_ms

    def _send(self, row: Owed, alert: Alert, transition: Transition, now_ms: int) -> bool:
        """Whether the channel may be used again in this step."""
        sys.audit("pumpwatch.reached", "notify.attempted")
        try:
            self._notifier(row.notifier).send(self._notice(row, alert, transition))
        except DeliveryError as error:
            return self._failed(row, transition, error, now_ms)
        except Exception as error:
            # whatever an adapter raises, what is owed stays owed
            problem = DeliveryError(f"{row.notifier}: {type(error).__name__}: {error}")
            return self._failed(row, transition, problem, now_ms)
        sys.audit("pumpwatch.reached", "notify.accepted")
        self._failures.pop(row.notifier, None)
        self._failing_since_ms.pop(row.notifier, None)
        self._resting_until_ms.pop(row.notifier, None)
        self.last_notification_ms = now_ms
        self._settle(row, now_ms, OwedState.SENT, "")
        sys.audit("pumpwatch.reached", "notify.settled")
        return True

    def _failed(self, row: Owed, transition: Transition, error: DeliveryError, now_ms: int) -> bool:
        critical = transition.severity is Severity.CRITICAL
        too_old = not critical and now_ms - transition.recorded_ms >= GIVE_UP_MS
        if error.permanent or too_old:
            self._settle(row, now_ms, OwedState.GIVEN_UP, str(error))
            return True
        self.counters["failed"] += 1
        self._failing_since_ms.setdefault(row.notifier, now_ms)
        # urgent ones that try a resting channel say nothing new about it: one outage, one rest
        rests = self._resting_until_ms.get(row.notifier, now_ms) > now_ms
        failures = self._failures[row.notifier] = self._failures.get(row.notifier, 0) + (not rests)
        asked_ms = min(LAST_RETRY_MS, round((error.retry_after_s or 0) * SECOND_MS))
        rest_ms = max(self._pause_ms(failures, LONGEST_REST_MS), asked_ms)
        longest_ms = LAST_CRITICAL_RETRY_MS if critical else LAST_RETRY_MS
        again_ms = max(self._pause_ms(row.attempts, longest_ms), rest_ms)
        self._resting_until_ms[row.notifier] = now_ms + rest_ms
        self._owed.settle(replace(row, due_ms=now_ms + again_ms, last_error=str(error)), now_ms)
        return False

    def _pause_ms(self, failures: int, longest_ms: int) -> int:
        """Exponential back-off; jitter keeps many that failed together from coming back together."""
        pause_ms = min(longest_ms, FIRST_RETRY_MS << min(failures - 1, 20))
        return round(pause_ms * self._random.uniform(0.5, 1.0))

    def _settle(self, row: Owed, now_ms: int, state: OwedState, error: str) -> None:
        self.counters[state] += 1
        self._owed.settle(replace(row, state=state, last_error=error), now_ms)

    def _notifier(self, name: str) -> Notifier:
        try:
            return self._notifiers[name]
        except KeyError:
            raise DeliveryError(
                f"no notifier is named {name!r}", "configure it, or wait until this is given up"
            ) from None

    def _notice(self, row: Owed, alert: Alert, transition: Transition) -> Notice:
        site = self._sites.site(alert.key) or Site(site=alert.key.site)
        title, body = notice_text(alert, transition.step, site, self._tr)
        return Notice(
            idempotency_key=f"{row.alert_id}-{row.transition_n}-{row.notifier}",
            title=title,
            body=body,
            alert=alert,
            step=str(transition.step),
            site_name=site.name or site.site,
            url=self._url(alert.id),
        )
