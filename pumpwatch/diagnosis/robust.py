"""Medians and spreads that a few bad cycles do not move."""

from __future__ import annotations

import math
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


def slope(y: Sequence[float] | Floats, z: float = 1.64) -> tuple[float, float, float]:
    """Slope per step of evenly spaced ``y`` (n >= 2,): low end, median and high end of its interval.

    The median of all pairs' slopes (Theil 1950) with the limits of Sen (1968), nine tenths by default. As
    ``scipy.stats.theilslopes``, whose package the hub would have to load when an alert is due.
    """
    v = np.asarray(y, float)
    n = len(v)
    i, j = np.triu_indices(n, 1)
    slopes = np.sort((v[j] - v[i]) / (j - i))
    spread = z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return float(slopes[low]), float(np.median(slopes)), float(slopes[high])


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
