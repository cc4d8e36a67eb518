"""Site-local half-days: midnight and noon on the site's own clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo


class HalfDays:
    """Halves of site-local days, as epoch milliseconds; daylight saving makes some longer."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)

    def of(self, t_ms: int) -> tuple[int, int, int]:
        """(number, first ms, first ms of the next half) of the half-day ``t_ms`` lies in."""
        local = datetime.fromtimestamp(t_ms / 1000, self._zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        noon = midnight.replace(hour=12)
        late = local.hour >= 12
        first = noon if late else midnight
        following = _next_midnight(midnight) if late else noon
        number = local.date().toordinal() * 2 + int(late)
        return number, round(first.timestamp() * 1000), round(following.timestamp() * 1000)


def _next_midnight(midnight: datetime) -> datetime:
    day = (midnight + timedelta(days=1, hours=6)).date()
    return datetime(day.year, day.month, day.day, tzinfo=midnight.tzinfo)
