"""What recorded data are like, and what cannot be known for want of something in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.recording import Recording
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.sites import Site

GAP_PERIODS = 2.5
"""A pause longer than this many sampling periods is a gap."""
FEW_SAMPLES = 3
"""Runs of fewer samples give no capacity of their own."""
MOST_BLANK = 0.05
LEAST_COVERED = 0.9
COARSE_M = 0.02
"""A level in steps larger than this hides small changes of the switching levels."""


class Lack(StrEnum):
    """Something that the data or the ledger do not have, by what it is."""

    CURRENT = "current"
    RAIN = "rain"
    FLOAT = "float"
    AREA = "area"
    LEVELS = "levels"
    COVERAGE = "coverage"
    BLANK_LEVEL = "blank_level"
    COARSE_LEVEL = "coarse_level"
    SLOW_SAMPLING = "slow_sampling"
    UNPROVEN_PUMP = "unproven_pump"


@dataclass(frozen=True, slots=True)
class DataQuality:
    """One recording, described. Shares are between 0 and 1.

    ``coverage`` is the share of the span that lies in no gap, ``resolution_m`` the smallest step of the
    level, ``proven`` pump → share of days on which a draw-down measured its capacity.
    """

    start_ms: int
    end_ms: int
    rows: int
    period_s: float
    coverage: float
    longest_gap_ms: int
    blank_level: float
    resolution_m: float | None
    repeated: int
    bad_times: int
    out_of_bounds: int
    unknown: tuple[str, ...]
    signals: tuple[str, ...]
    cycles: int
    median_run_s: float | None
    proven: Mapping[str, float]
    lacks: tuple[Lack, ...]

    @property
    def days(self) -> float:
        return (self.end_ms - self.start_ms) / DAY_MS


def describe_data(recording: Recording, cycles: Sequence[CycleRow]) -> DataQuality:
    """Describe a recording that was cut into ``cycles``."""
    chunk, site = recording.chunk, recording.site
    t_ms, level = chunk.t_ms, chunk.signals["level_m"]
    steps = np.diff(t_ms)
    period_ms = float(np.median(steps)) if len(steps) else 0.0
    gaps = steps[steps > GAP_PERIODS * period_ms]
    span_ms = int(t_ms[-1] - t_ms[0])
    runs_s = [(c.end_ms - c.start_ms) / 1000 for c in cycles]
    quality = DataQuality(
        start_ms=int(t_ms[0]),
        end_ms=int(t_ms[-1]),
        rows=len(chunk),
        period_s=period_ms / 1000,
        coverage=1.0 - float(gaps.sum()) / span_ms if span_ms else 1.0,
        longest_gap_ms=int(gaps.max()) if len(gaps) else 0,
        blank_level=float(np.isnan(level).mean()),
        resolution_m=_resolution(level),
        repeated=recording.repeated,
        bad_times=recording.bad_times,
        out_of_bounds=recording.out_of_bounds,
        unknown=tuple(recording.unknown),
        signals=tuple(chunk.signals),
        cycles=len(cycles),
        median_run_s=float(np.median(runs_s)) if runs_s else None,
        proven=_proven(cycles, site, span_ms),
        lacks=(),
    )
    return _with_lacks(quality, site)


def _resolution(level: NDArray[np.float64]) -> float | None:
    """The smallest step that the level takes again and again [m]."""
    steps = np.abs(np.diff(level[np.isfinite(level)]))
    steps = np.round(steps[steps > 1e-6], 4)
    if not len(steps):
        return None
    sizes, counts = np.unique(steps, return_counts=True)
    return float(sizes[np.argmax(counts >= max(2, 0.01 * len(steps)))])


def _proven(cycles: Sequence[CycleRow], site: Site, span_ms: int) -> dict[str, float]:
    days = max(1.0, span_ms / DAY_MS)
    measured: dict[str, set[int]] = {f"pump{n}": set() for n in range(1, site.pumps + 1)}
    for c in cycles:
        if c.valid and "capacity_m3s" in c.features and c.pump in measured:
            measured[c.pump].add(c.start_ms // DAY_MS)
    return {pump: min(1.0, len(on) / days) for pump, on in measured.items()}


def _with_lacks(quality: DataQuality, site: Site) -> DataQuality:
    signals = quality.signals
    run_s = quality.median_run_s
    lacking = {
        Lack.CURRENT: not any(name.endswith("_current_a") for name in signals),
        Lack.RAIN: "rain_mm_h" not in signals,
        Lack.FLOAT: "high_level" not in signals,
        Lack.AREA: site.area_m2 is None,
        Lack.LEVELS: site.start_level_m is None or site.stop_level_m is None,
        Lack.COVERAGE: quality.coverage < LEAST_COVERED,
        Lack.BLANK_LEVEL: quality.blank_level > MOST_BLANK,
        Lack.COARSE_LEVEL: (quality.resolution_m or 0.0) > COARSE_M,
        Lack.SLOW_SAMPLING: run_s is not None and run_s < FEW_SAMPLES * quality.period_s,
        Lack.UNPROVEN_PUMP: any(share < 0.5 for share in quality.proven.values()),
    }
    return replace(quality, lacks=tuple(lack for lack, is_so in lacking.items() if is_so))
