"""Flows of a wet well from its level: the old draw-down test, written for arrays.

Every function is the mass balance ``A dh/dt = Q_in - Q_pump`` solved for one of its terms. Rates are
m/s and positive upward, flows m3/s, times s. A NaN in gives a NaN out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def inflow(area_m2: ArrayLike, fill_rate_m_s: ArrayLike) -> Floats:
    """Inflow [m3/s] while no pump runs: ``Q_in = A dh/dt``."""
    return np.asarray(np.asarray(area_m2, float) * np.asarray(fill_rate_m_s, float))


def inflow_during_run(
    before: ArrayLike, after: ArrayLike, gap_before_s: ArrayLike, gap_after_s: ArrayLike
) -> Floats:
    """Inflow at a run's middle, by a line between the fills on both sides.

    ``gap_before_s`` and ``gap_after_s`` are the times from the run's middle to the middle of the stretch
    each fill was measured on. Where only one side is known, that side is taken. Using the fill before
    alone is the main error of the manual draw-down test when inflow changes.
    """
    b, a = np.asarray(before, float), np.asarray(after, float)
    gb, ga = np.asarray(gap_before_s, float), np.asarray(gap_after_s, float)
    line = b + (a - b) * gb / (gb + ga)
    return np.where(np.isfinite(line), line, np.where(np.isfinite(b), b, a))


def capacity(area_m2: ArrayLike, run_rate_m_s: ArrayLike, inflow_m3s: ArrayLike) -> Floats:
    """Flow of the running pump [m3/s]: ``Q = Q_in - A dh/dt``; the level falls, so dh/dt < 0."""
    rate = np.asarray(run_rate_m_s, float)
    return np.asarray(np.asarray(inflow_m3s, float) - np.asarray(area_m2, float) * rate)


def capacity_per_band(run_s: ArrayLike, fill_s: ArrayLike) -> Floats:
    """Geometry-free capacity [1/s]: ``1/T_run + 1/T_fill``, in volumes between the two set-points.

    From ``V = Q_in T_fill`` and ``V = (Q - Q_in) T_run``; good while both set-points stay.
    """
    return np.asarray(1.0 / np.asarray(run_s, float) + 1.0 / np.asarray(fill_s, float))


def backflow(area_m2: ArrayLike, early_rate_m_s: ArrayLike, inflow_m3s: ArrayLike) -> Floats:
    """Flow back through a check valve [m3/s] just after a stop: ``A dh/dt - Q_in``."""
    rate = np.asarray(early_rate_m_s, float)
    return np.asarray(np.asarray(area_m2, float) * rate - np.asarray(inflow_m3s, float))


def time_to_overflow(
    area_m2: ArrayLike,
    level_m: ArrayLike,
    overflow_level_m: ArrayLike,
    inflow_m3s: ArrayLike,
    pumped_m3s: ArrayLike = 0.0,
) -> Floats:
    """Seconds until the well is full: ``A (h_over - h) / (Q_in - Q_pumped)``.

    Infinite while the pumps keep up, 0 at or above the cover. Storage in the sewer above the well is
    not counted, so the true time is longer.
    """
    left = np.asarray(overflow_level_m, float) - np.asarray(level_m, float)
    net = np.asarray(inflow_m3s, float) - np.asarray(pumped_m3s, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = np.asarray(area_m2, float) * left / net
    return np.where(left <= 0, 0.0, np.where(net <= 0, np.inf, seconds))
