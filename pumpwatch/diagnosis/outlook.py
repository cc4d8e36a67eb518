"""How soon a failing pump will no longer do: where the course of its last days leads.

Most failures hasten. The early end of the range lets the loss grow in proportion to itself (``ln(L/r)`` times the
loss in the middle of those days over its pace), at the steepest pace the points allow; the late end goes on in a straight line at the slowest, half as long
again; the middle is the geometric mean of both courses at the likely pace. Slopes: Theil and Sen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pumpwatch.diagnosis import robust

CAPACITY_LEFT = 0.55
"""Share of its own flow with which a pump is as good as lost: it runs twice as long and rarely keeps up."""
CURRENT_GAINED = 1.26
"""Times its own current at which a motor's protection trips: set to the rating, which pumps run below."""
ENDS = {
    "pump_wear": ("capacity", math.log(CAPACITY_LEFT)),
    "pump_ragging": ("capacity", math.log(CAPACITY_LEFT)),
    "coupling_leak": ("capacity", math.log(CAPACITY_LEFT)),
    "discharge_blockage": ("capacity", math.log(CAPACITY_LEFT)),
    "motor_degradation": ("current", math.log(CURRENT_GAINED)),
}
"""Cause → the feature whose course leads to its breakdown, and the residual at which it is there."""

LEAST_POINTS = 5
_LEAST_SHARE = 0.25
"""The middle of a course whose beginning is noise counts as so much of its end."""
HALF_DAY = 0.5
FAR_DAYS = 90.0
"""Further ahead nothing is said."""


class Outlook(NamedTuple):
    """Days until breakdown: likely, and the range; ``to_days`` None where it has no end in sight."""

    days: float
    from_days: float
    to_days: float | None


def outlook(
    fault: str,
    pump: str | None,
    history: Mapping[str, Sequence[float]],
    offsets: Mapping[str, float],
) -> Outlook | None:
    """Of a cause at ``pump`` (None: at the worst of all), by half-day residuals, oldest first, and the
    accepted changes among them; None where the record does not tell."""
    if fault not in ENDS:
        return None
    feature, end = ENDS[fault]
    keys = [f"{feature}:{pump}"] if pump else [k for k in history if k.startswith(f"{feature}:")]
    courses = [
        [math.copysign(1.0, end) * (r - offsets.get(k, 0.0)) for r in history.get(k, ())]
        for k in keys
    ]
    found = [o for course in courses if (o := until(course, abs(end)))]
    return min(found, key=lambda o: (o.days, o.from_days), default=None)


def until(course: Sequence[float], end: float) -> Outlook | None:
    """When a course of half-day losses reaches ``end``; None while it is short, does not grow, or is far."""
    if len(course) < LEAST_POINTS:
        return None
    now = robust.median(course[-3:])
    slow, pace, fast = (b / HALF_DAY for b in robust.slope(course))
    if not (pace > 0 and now > 0):
        return None
    left = max(end - now, 0.0)
    middle = min(max(robust.median(course), _LEAST_SHARE * now), now)  # where the pace was measured
    grown = middle * math.log(max(end / now, 1.0))
    days, soonest = math.sqrt(left * grown) / pace, grown / fast
    latest = 1.5 * left / slow if slow > 0 else math.inf
    if days > FAR_DAYS:
        return None
    return Outlook(
        round(days, 1), round(soonest, 1), round(latest, 1) if latest <= FAR_DAYS else None
    )
