"""The level sensors' audit in time: each live station once a day, on the samples since the last look."""

from __future__ import annotations

from collections.abc import Iterator

from pumpwatch.diagnosis.proofs import audit_level
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, Clock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertBook, ProofBook, SiteBook, TimeSeriesStore
from pumpwatch.domain.sites import SiteMode

EVERY_MS = DAY_MS
LOOKS_BACK_MS = 7 * DAY_MS
OVERLAP_MS = 2 * HOUR_MS
"""What began before the last look and went on beyond it is seen whole."""
REST_S, ROUND_S = 1.0, 600.0


class LevelAudit:
    """Looks after one station at each `step`. One thread owns it."""

    def __init__(
        self,
        sites: SiteBook,
        alerts: AlertBook,
        proofs: ProofBook,
        series: TimeSeriesStore,
        clock: Clock,
    ) -> None:
        self._sites, self._alerts, self._proofs = sites, alerts, proofs
        self._series, self._clock = series, clock
        self._round: Iterator[SiteKey] = iter(())
        self._looked_ms: dict[SiteKey, int] = {}

    def step(self) -> float:
        """Returns the seconds to rest. Raises `StoreUnavailable`; that station's turn comes again."""
        key = next(self._round, None)
        if key is None:
            live = self._sites.sites().items()
            self._round = iter([k for k, site in live if site.mode is not SiteMode.RECORDING])
            return ROUND_S
        now_ms = self._clock.now_ms()
        if now_ms - self._looked_ms.get(key, now_ms - EVERY_MS) >= EVERY_MS:
            self.look(key, now_ms)
            self._looked_ms[key] = now_ms
        return REST_S

    def look(self, key: SiteKey, now_ms: int) -> None:
        """Audit what was recorded of this station since the last look."""
        site = self._sites.site(key)
        if site is None:
            return
        first_ms = now_ms - LOOKS_BACK_MS
        since_ms = max(first_ms, self._looked_ms.get(key, first_ms) - OVERLAP_MS)
        chunk = self._series.read_raw(key, since_ms, now_ms)
        cycles = self._alerts.cycles(key, first_ms, now_ms)
        self._proofs.add_proofs(key, audit_level(chunk, cycles, site))
