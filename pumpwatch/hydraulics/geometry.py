"""Area and volume of an upright round well. SI units; scalars or arrays alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def round_area(diameter_m: float) -> float:
    """Free water area [m2] of a round well of ``diameter_m`` [m]."""
    return math.pi / 4 * diameter_m**2


def volume(area_m2: ArrayLike, low_m: ArrayLike, high_m: ArrayLike) -> Floats:
    """Water [m3] between two levels [m] of a prismatic well; negative where ``high_m`` is lower."""
    return np.asarray(
        np.asarray(area_m2, float) * (np.asarray(high_m, float) - np.asarray(low_m, float))
    )
