"""What the hub does with samples when it has nothing better to do: seal, add up, forget."""

from __future__ import annotations

from pumpwatch.app.settings import RetentionSettings
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import PumpwatchError, StoreUnavailable
from pumpwatch.domain.ports import SiteBook
from pumpwatch.stores.rollups import RolledSeries

BETWEEN_S = 0.2
"""Rest after each piece: who records and who looks gets in between."""
REST_S = 30.0


class Upkeep:
    """One piece a step. Samples are only forgotten after they were added up.

    Ages are counted from the newest sample of all stations if the clock is ahead of it: neither a
    clock that jumped nor a long silence makes the hub forget.
    """

    def __init__(self, store: RolledSeries, sites: SiteBook, retention: RetentionSettings) -> None:
        self._store, self._sites, self._retention = store, sites, retention
        self._forgot_up_to_ms: int | None = None
        self.last_done_ms: int | None = None
        """When there was nothing left to do."""
        self.forgotten = 0
        self.problem = ""

    def step(self, now_ms: int) -> float:
        """Do a piece; returns for how many seconds to rest. Raises `StoreUnavailable`."""
        self._store.adopt(self._sites.sites())
        if self._store.upkeep(now_ms):
            return BETWEEN_S
        self._forget(now_ms)
        self.last_done_ms = now_ms
        return REST_S

    def _forget(self, now_ms: int) -> None:
        """Once for each day that passes."""
        newest = [t_ms for t_ms, _ in self._store.latest(self._sites.sites()).values()]
        today_ms = min(now_ms, max(newest, default=0)) // DAY_MS * DAY_MS
        if not newest or today_ms == self._forgot_up_to_ms:
            return
        keep = self._retention
        try:
            if keep.samples_days:
                before_ms = today_ms - keep.samples_days * DAY_MS
                self.forgotten += self._store.apply_retention(before_ms)
            self.problem = ""
        except StoreUnavailable:
            raise
        except PumpwatchError as error:  # the server cannot: asked again tomorrow
            self.problem = str(error)
        self._store.retain(
            today_ms - keep.minutes_days * DAY_MS if keep.minutes_days else None,
            today_ms - keep.hours_days * DAY_MS if keep.hours_days else None,
        )
        self._forgot_up_to_ms = today_ms
