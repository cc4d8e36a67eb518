"""What a panel said, in columns. Arrays appear in annotations only: this floor needs no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LONG_MS = 2 * DAY_MS
"""Charts of longer spans are drawn from what was added up by minutes and hours."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one site: one message or one year.

    ``t_ms`` is (n,) int64, epoch milliseconds UTC; each signal is (n,) float64 in its own unit,
    NaN where the panel said nothing. A signal the site does not have is an absent key.
    """

    t_ms: NDArray[np.int64]
    signals: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.t_ms)

    def __repr__(self) -> str:
        return f"Chunk({len(self)} rows, {', '.join(self.signals)})"


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of one signal, stamped on site at the moment it happened."""

    t_ms: int
    signal: str
    value: float


class Grid(NamedTuple):
    """Buckets of a chart: start_ms + k·width_ms, over samples with start_ms <= t < end_ms."""

    start_ms: int
    end_ms: int
    width_ms: int


def bucket_grid(start_ms: int, end_ms: int, points: int) -> Grid:
    """At most ``points`` buckets over the span.

    Those of a long span (`LONG_MS`) are whole minutes, or whole hours if they are an hour wide, and
    stretch over its ends to the next of them: so the same chart comes out of samples and of sums.
    """
    points = max(points, 1)
    width_ms = max(-(-(end_ms - start_ms) // points), 1)
    if end_ms - start_ms <= LONG_MS or width_ms < MINUTE_MS:
        return Grid(start_ms, end_ms, width_ms)
    unit = HOUR_MS if width_ms >= HOUR_MS else MINUTE_MS
    start_ms, end_ms = start_ms // unit * unit, -(-end_ms // unit) * unit
    width_ms = -(-(end_ms - start_ms) // points)
    return Grid(start_ms, end_ms, -(-width_ms // unit) * unit)
