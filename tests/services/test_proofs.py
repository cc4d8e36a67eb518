"""The level sensors' audit in time: each live station once a day."""

from __future__ import annotations

import numpy as np

from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS, ManualClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.proofs import FLOAT
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services.proofs import LevelAudit
from pumpwatch.stores.memory import MemoryLedger, MemorySeries

KEY, RECORDED = SiteKey("default", "mh0001"), SiteKey("default", "mh0002")


def tipped(at_ms: int, level_m: float) -> Chunk:
    t_ms = at_ms + 60_000 * np.arange(2)
    levels = np.array([level_m - 0.01, level_m])
    return Chunk(t_ms, {"level_m": levels, "high_level": np.array([0.0, 1.0])})


def test_each_live_station_is_looked_at_once_a_day() -> None:
    ledger, series, clock = MemoryLedger(), MemorySeries(), ManualClock(20 * DAY_MS)
    for key, mode in ((KEY, SiteMode.LIVE), (RECORDED, SiteMode.RECORDING)):
        ledger.put_site(key, Site(key.site, sample_s=60, high_level_m=1.9, mode=mode), SYSTEM, 1)
        series.write([(key, tipped(19 * DAY_MS, 1.9))], 1)
    audit = LevelAudit(ledger, ledger, ledger, series, clock)

    def a_round() -> None:
        for _ in range(3):
            audit.step()

    a_round()
    assert ledger.proofs().keys() == {KEY}
    (proof,) = ledger.proofs(KEY)[KEY]
    assert (proof.subject, proof.proven_ms) == (FLOAT, 19 * DAY_MS + 60_000)
    series.write([(KEY, tipped(20 * DAY_MS, 1.5))], 2)
    clock.advance(DAY_MS // 2)
    a_round()
    assert ledger.proofs(KEY)[KEY] == [proof], "not yet"
    clock.advance(DAY_MS // 2)
    a_round()
    (later,) = ledger.proofs(KEY)[KEY]
    assert (later.checked_ms, later.proven_ms) == (20 * DAY_MS + 60_000, proof.proven_ms)
