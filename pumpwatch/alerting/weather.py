"""New water at many stations at once is weather: news of it waits until the water has run off.

Only notices wait; the alert itself is there at once. What a pump, a valve or a sensor shows never
waits, nor a sewer that brings too little, nor anything critical.
"""

from __future__ import annotations

from collections.abc import Iterable

from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS

NEW_WATER = frozenset({"infiltration_growth", "inflow_change"})
"""Causes that rain, thaw or a flood may bring to a whole district; they take weeks to do harm."""
WITHIN_MS = DAY_MS
HOLD_MS = 2 * DAY_MS
"""Long enough for a storm's water to leave a small district's sewers; what still stands then is told."""
SHARE, LEAST = 0.05, 3
"""From this share of the stations on it is weather, and never of fewer than so many."""
HELD = "held: weather"
"""Stands as the reason of a transition whose notices wait."""


def is_water(told: Alert | Finding) -> bool:
    """Whether new water is what it names first."""
    return not NEW_WATER.isdisjoint(told.fault[:1])


def may_wait(finding: Finding) -> bool:
    """Whether news of it could be weather at all."""
    return (
        is_water(finding)
        and finding.phase is not Phase.RESOLVED
        and finding.kind is Kind.PREDICTIVE
        and finding.severity is not Severity.CRITICAL
    )


def hold_ms(finding: Finding, others: Iterable[Alert], stations: int) -> int:
    """How long [ms] notices of ``finding`` wait; 0 when they go at once.

    ``others`` are alerts of the same tenant, ``stations`` how many it has. The first ones of a storm
    are told: nobody can know yet that more will follow.
    """
    if not may_wait(finding):
        return 0
    wet = {
        alert.key
        for alert in others
        if is_water(alert) and abs(finding.t_ms - alert.opened_ms) < WITHIN_MS
    }
    return HOLD_MS if len(wet | {finding.key}) >= max(LEAST, SHARE * stations) else 0
