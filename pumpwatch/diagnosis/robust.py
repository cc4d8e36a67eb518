"""Medians and spreads that a few bad cycles do not move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAD_TO_SIGMA = 1.4826


def median(values: Sequence[float] | Floats) -> float:
    """Median of the finite values; NaN of none."""
    v = np.asarray(values, float)
    v = v[np.isfinite(v)]
    return float(np.median(v)) if len(v) else float("nan")


def sigma(values: Sequence[float] | Floats) -> float:
    """Spread by the median absolute deviation, on the scale of a standard deviation."""
    v = np.asarray(values, float)
    v = v[np.isfinite(v)]
    return float(MAD_TO_SIGMA * np.median(np.abs(v - np.median(v)))) if len(v) else float("nan")


def line(x: Floats, y: Floats, rounds: int = 4) -> tuple[float, float, float]:
    """Robust straight line ``y = a + b (x - m)`` by reweighted least squares; returns (a, b, m)."""
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) == 0:
        return float("nan"), 0.0, 0.0
    m = float(np.median(x))
    if len(x) < 12 or np.ptp(x) < 0.3:
        return float(np.median(y)), 0.0, m
    a, b = float(np.median(y)), 0.0
    for _ in range(rounds):
        r = y - a - b * (x - m)
        s = max(sigma(r), 1e-6)
        w = 1.0 / np.maximum(1.0, (np.abs(r) / (1.5 * s)) ** 2)
        xm, ym = np.average(x, weights=w), np.average(y, weights=w)
        var = float(np.average((x - xm) ** 2, weights=w))
        b = float(np.average((x - xm) * (y - ym), weights=w)) / var if var > 1e-9 else 0.0
        a = float(ym - b * (xm - m))
    return a, b, m
