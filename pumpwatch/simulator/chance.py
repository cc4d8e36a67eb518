"""Chance that can be asked again: every draw belongs to a seed and a purpose, not to a moment."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A stream of its own for one purpose: the same for equal arguments, whoever else draws."""
    words = [zlib.crc32(str(word).encode()) for word in purpose]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def texture(knot_s: int, step_s: int, seed: int, name: str, day: int) -> NDArray[np.float64]:
    """Continuous noise over one UTC day, zero mean and unit variance, (86400 / step_s,).

    White noise at knots ``knot_s`` apart (a divisor of the day), joined linearly; the last knot
    is the first of the next day, so that days fit together in whatever order they are asked for.
    """
    per_day = DAY_S // knot_s
    knots = generator(seed, name, knot_s, day).standard_normal(per_day)
    following = generator(seed, name, knot_s, day + 1).standard_normal(1)
    at_s = np.arange(DAY_S // step_s) * step_s
    joined = np.interp(at_s, np.arange(per_day + 1) * knot_s, np.concatenate([knots, following]))
    return np.asarray(
        joined * np.sqrt(1.5)
    )  # a linear join of two knots keeps 2/3 of their variance
