"""Outages of the installation itself, told like any alert: opened once, over when it is back.

A station that fails is told of by the hub; this is for when the hub fails, as far as it can still speak.
What it cannot say, that it is dead, an outside service says (`[health] heartbeat_url`).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.policy import Policy
from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Severity, iso_utc
from pumpwatch.domain.keys import HUB_KEY
from pumpwatch.domain.ports import AlertBook, AlertChange
from pumpwatch.domain.sites import SiteMode

BACK_S = 60.0
"""Something is back when it has been for so long: a line that comes and goes is one outage."""
_SEARCHED = 100
_SEVERITY = {"series_away": Severity.WARNING}
"""All others keep alerts from being found or told."""


@dataclass(slots=True)
class _Outage:
    began_ms: int
    began_s: float
    last_ms: int
    last_s: float
    """When it was last seen to be out."""
    told: bool = False


class OutageWatch:
    """Feed it with what is out now: ``step`` opens an alert of `HUB_KEY` for what lasts, and ends it.

    ``lock`` is shared with whoever else changes alerts. Spans are measured on a monotonic clock, so the
    wall's may jump. What was told before a restart is known from the ledger.
    """

    def __init__(
        self,
        alerts: AlertBook,
        policy: Policy,
        lock: AbstractContextManager[object],
        after_s: float,
    ) -> None:
        self._alerts, self._policy, self._lock, self._after_s = alerts, policy, lock, after_s
        self._outages: dict[str, _Outage] | None = None

    def step(self, out: Collection[str], now_ms: int, mono_s: float) -> list[AlertChange]:
        """``out`` are those of `pumpwatch.domain.faults.HUB_FAULTS` that hold now. Returns what was
        written. Raises `StoreUnavailable` and `Conflict`; the next step makes up for it."""
        if self._outages is None:
            self._outages = {
                alert.cause: _Outage(now_ms, mono_s, now_ms, mono_s, told=True)
                for alert in self._alerts.open_alerts(HUB_KEY)
            }
        outages, changes = self._outages, []
        for fault in out:
            outage = outages.setdefault(fault, _Outage(now_ms, mono_s, now_ms, mono_s))
            outage.last_ms, outage.last_s = now_ms, mono_s
            if not outage.told and mono_s - outage.began_s >= self._after_s:
                changes += self._say(Phase.OPENED, fault, outage.began_ms, now_ms)
                outage.told = True
        for fault in outages.keys() - set(out):
            outage = outages[fault]
            if mono_s - outage.last_s >= BACK_S:
                if outage.told:
                    changes += self._say(Phase.RESOLVED, fault, outage.last_ms, now_ms)
                del outages[fault]
        return changes

    def _say(self, phase: Phase, fault: str, t_ms: int, now_ms: int) -> list[AlertChange]:
        with self._lock:
            current = self._newest(fault)
            if current is not None:  # the wall's clock may have been set back meanwhile
                t_ms = max(t_ms, current.changed_ms)
            finding = Finding(
                HUB_KEY, t_ms, phase, fault, Kind.CONDITION,
                _SEVERITY.get(fault, Severity.ALARM), (fault,), None, 1.0, {"since": iso_utc(t_ms)},
            )  # fmt: skip
            n = len(self._alerts.transitions(current.id)) if current else 0
            change = lifecycle.apply(finding, current, n, self._policy, now_ms, mode=SiteMode.LIVE)
            if change is None:
                return []
            self._alerts.commit_assessment([], [change], [])
        return [change]

    def _newest(self, fault: str) -> Alert | None:
        """The open alert of the fault, else the newest one."""
        found = [
            *self._alerts.open_alerts(HUB_KEY),
            *self._alerts.alerts(*HUB_KEY, limit=_SEARCHED),
        ]
        return next((alert for alert in found if alert.cause == fault), None)
