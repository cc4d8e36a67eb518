"""The disk: what is free, and for how long that lasts at the pace at which this data directory grows."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pumpwatch.app.checkup import Check, Verdict
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.stores.parquet import ParquetFiles

LOW_SHARE = 0.10
"""Of the disk; asked only where there is no forecast."""
SOON_DAYS = 60
FAR_DAYS = 3_650
WEIGHED_SITES = 200
"""So many are weighed and stand for the others."""
FEWEST_DAYS = 2


@dataclass(frozen=True, slots=True)
class Growth:
    """What the directory keeps of ``sites`` stations: bytes of one station and day."""

    sites: int
    site_day_bytes: float

    @property
    def day_bytes(self) -> float:
        return self.sites * self.site_day_bytes


def disk_check(data_dir: Path, reserve_mb: int) -> Check:
    """Below ``reserve_mb`` the hub leaves telemetry with the agents."""
    place = next(p for p in (data_dir, *data_dir.absolute().parents) if p.exists())
    usage = shutil.disk_usage(place)
    return judged(usage.free, usage.total, reserve_mb, growth(data_dir / "parquet"))


def judged(free: int, total: int, reserve_mb: int, grows: Growth | None) -> Check:
    """``free`` and ``total`` in bytes."""
    found = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f}"
    remedy = "make room, move the data directory, or keep samples for fewer days ([retention])"
    if free < reserve_mb * 1e6:
        found += f"; below inbox.reserve_mb ({reserve_mb} MB) telemetry is left with the agents"
        return Check("disk", Verdict.FAILED, found, remedy)
    if grows is None:
        low = free < LOW_SHARE * total
        found += "; no forecast before samples of two days are sealed"
        return Check("disk", Verdict.WARNING if low else Verdict.OK, found, remedy if low else "")
    days = (free - reserve_mb * 1e6) / grows.day_bytes
    lasts = f"{days:.0f} days" if days < FAR_DAYS else "more than ten years"
    found += (
        f"; {grows.sites} stations add {grows.day_bytes / 1e6:.2g} MB a day"
        f" ({grows.site_day_bytes / 1e3:.2g} kB each), which fits for {lasts}"
    )
    if days < SOON_DAYS:
        return Check("disk", Verdict.WARNING, found, remedy)
    return Check("disk", Verdict.OK, found)


def growth(parquet: Path) -> Growth | None:
    """From the sealed files of samples and sums; None where too little is sealed.

    A station's days are those from its first sealed sample to its last, so one that was away for long
    makes the estimate smaller; retention, which makes it too large, is left out.
    """
    kinds = {kind: parquet / kind for kind in ("raw", "minutes", "hours")}
    own = kinds["raw"] if kinds["raw"].is_dir() else kinds["minutes"]
    files = ParquetFiles(own)
    keys = list(files.sites())
    size, days = 0, 0.0
    for key in islice(keys, 0, None, max(1, len(keys) // WEIGHED_SITES)):
        extent = files.extent(key)
        if extent is None:
            continue
        days += (extent[1] - extent[0]) / DAY_MS
        place = Path(f"tenant={key.tenant}") / f"site={key.site}"
        size += sum(f.stat().st_size for k in kinds.values() for f in (k / place).glob("*.parquet"))
    return Growth(len(keys), size / days) if days >= FEWEST_DAYS else None
