"""What an alert says of the days to come, and what it cannot know for want of a signal."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.alerting.i18n import N_, Translator
from pumpwatch.alerting.signs import number_of
from pumpwatch.domain.alerts import Alert, Kind
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.faults import FAULT_GROUP, Group
from pumpwatch.domain.sites import Site

_ANY_MOMENT = N_("Breakdown possible at any moment.")
_BETWEEN = N_(
    "Forecast of {told}: breakdown likely about {day}, between {first} and {last}, if it goes on so."
)
_NOT_BEFORE = N_(
    "Forecast of {told}: breakdown likely about {day}, not before {first}, if it goes on so."
)
_NOT_YET = N_("How soon it breaks down cannot be told yet.")

_NO_CURRENT = N_(
    "The motor current is not measured: without it rags, wear and a leaking coupling look alike."
)
_NO_GAUGE = N_("There is no rain gauge: rain and ground water are told apart by time alone.")
_NO_AREA = N_("The size of the well is not entered: flows are known as rates of the level only.")

_FAR_DAYS = 1000
_BY_CURRENT = frozenset({"pump_ragging", "pump_wear", "coupling_leak"})


def how_soon(alert: Alert, site: Site, tr: Translator) -> str:
    """When it will probably break down, as dates at the site, which stay true; '' where that is no question."""
    if not alert.open or "breakdown" not in alert.evidence:
        return ""
    days, first, last = _days(alert.evidence["breakdown"])
    if days is None or first is None:
        return tr._(_NOT_YET)
    if not days:
        return tr._(_ANY_MOMENT)

    def date(after_days: float) -> str:
        return tr.date(alert.changed_ms + int(after_days * DAY_MS), site.timezone)

    said = {"told": date(0), "day": date(days), "first": date(first)}
    if last is None:
        return tr._(_NOT_BEFORE).format(**said)
    return tr._(_BETWEEN).format(**said, last=date(last))


def not_known(alert: Alert, site: Site, tr: Translator) -> list[str]:
    """What would tell more about this alert, and is not there."""
    if alert.kind is not Kind.PREDICTIVE or not alert.fault:
        return []
    leading = alert.fault[0]
    missing = [
        (_NO_CURRENT, site.has_current is False and leading in _BY_CURRENT),
        (_NO_GAUGE, site.has_rain is False and FAULT_GROUP.get(leading) is Group.INFLOW),
        (_NO_AREA, site.area_m2 is None),
    ]
    return [tr._(text) for text, is_missing in missing if is_missing]


def _days(said: object) -> tuple[float | None, float | None, float | None]:
    """Likely, first and last; None for what cannot be said: evidence may come from a file."""
    if not isinstance(said, Mapping):
        return None, None, None
    likely, first, last = (number_of(said.get(f)) for f in ("days", "from_days", "to_days"))
    known = [d if d is not None and 0 <= d < _FAR_DAYS else None for d in (likely, first, last)]
    return known[0], known[1], known[2]
