"""Phases: the stretches of constant run state a record falls into, each with its level lines.

A phase is described from its own rows and one neighbour on each side, so its description does not
depend on how the record was split into chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.rows import Rows
from pumpwatch.domain.signals import MAX_PUMPS

ALL, EARLY, NEAR, LATE = range(4)
"""Stretches of a phase a level line is fitted to: all of it, its beginning, the beginning without the
first moments, its end. For a run, early and late are its halves."""

PHASE = np.dtype(
    [
        ("t0_ms", "i8"),
        ("t1_ms", "i8"),
        ("before_ms", "i8"),
        ("after_ms", "i8"),
        ("running", "u1"),
        ("flags", "u1"),
        ("joined", "?"),
        ("broken", "?"),
        ("exact", "?"),
        ("samples", "i4"),
        ("slope", "f8", (4,)),
        ("mid_s", "f8", (4,)),
        ("mid_m", "f8", (4,)),
        ("max_m", "f8"),
        ("min_m", "f8"),
        ("first_m", "f8"),
        ("last_m", "f8"),
        ("gap_s", "f8"),
        ("rain_mm", "f8"),
        ("current_a", "f8", (MAX_PUMPS,)),
        ("scatter_a", "f8", (MAX_PUMPS,)),
        ("low_a", "f8", (MAX_PUMPS,)),
    ]
)
"""``t0_ms``, ``t1_ms``: first and last row; ``before_ms``, ``after_ms``: the rows around it.
``joined``: continues the phase before (a long phase is described in pieces). ``broken``: nothing is
known just before it. ``exact``: begins with an edge stamped on site. ``slope`` [m/s] is the level line through (``mid_s`` after t0, ``mid_m``)."""

Phases = NDArray[np.void]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PhaseRules:
    """How rows are parted and which of them carry a level line."""

    break_ms: int = 30 * 60_000
    """No row for longer: what happened in between is unknown."""
    piece_ms: int = 4 * 3_600_000
    """A phase longer than this is described in pieces."""
    gap_s: float = 150.0
    """Rows further apart than this, and than a fifth of the phase, leave a hole."""
    early_s: float = 300.0
    settle_s: float = 150.0
    near_s: float = 1_800.0
    """Ends of the early and the near stretch of a rest, and where the near one begins."""
    late_s: float = 1_500.0
    spike_m: float = 0.25
    """A level this far on the same side of both neighbours is no water level."""
    ceiling_m: float = float("inf")
    """Above the inlet the sewer stores too, so a line there says nothing of a flow."""


def boundaries(rows: Rows, start: int, rules: PhaseRules) -> tuple[Ints, Bools, Bools]:
    """First rows of the phases in ``rows[start:]``; which are joined to, which broken from before."""
    t, running = rows["t_ms"], rows["running"]
    changed = np.flatnonzero(running[1:] != running[:-1]) + 1
    broken = np.flatnonzero(t[1:] - t[:-1] > rules.break_ms) + 1
    hard = np.union1d(np.union1d(changed, broken), [start]).astype(np.intp)
    hard = hard[hard >= start]
    firsts: list[int] = []
    for a, b in zip(hard.tolist(), [*hard[1:].tolist(), len(rows)], strict=True):
        firsts.append(a)
        while t[b - 1] - t[firsts[-1]] >= rules.piece_ms:
            firsts.append(int(np.searchsorted(t, t[firsts[-1]] + rules.piece_ms)))
    at = np.array(firsts, np.intp)
    return at, ~np.isin(at, hard), np.isin(at, broken)


def describe(rows: Rows, at: Ints, joined: Bools, broken: Bools, rules: PhaseRules) -> Phases:
    """Describe all phases that begin at ``at`` but the last, which is still open. (p-1,) of `PHASE`."""
    n = len(at) - 1
    out = np.zeros(max(n, 0), PHASE)
    if n < 1:
        return out
    lo, hi = at[:-1], at[1:]
    t, level = rows["t_ms"], rows["level_m"]
    out["t0_ms"], out["t1_ms"] = t[lo], t[hi - 1]
    out["before_ms"], out["after_ms"] = t[np.maximum(lo - 1, 0)], t[hi]
    out["running"], out["joined"], out["broken"] = rows["running"][lo], joined[:-1], broken[:-1]
    out["exact"] = rows["edge"][lo]
    out["flags"] = np.bitwise_or.reduceat(rows["flags"][: hi[-1]], lo)
    step = np.diff(t, prepend=t[0]) / 1000.0
    step[lo[out["broken"]]] = 0.0
    out["gap_s"] = np.maximum.reduceat(step[: hi[-1]], lo)
    rain = np.nan_to_num(rows["rain_mm_h"]) * step / 3600.0
    out["rain_mm"] = np.add.reduceat(rain[: hi[-1]], lo)
    usable = np.isfinite(level) & ~_spikes(level, rules.spike_m)
    _levels(out, level, usable, lo, hi)
    _lines(out, rows, usable & (level <= rules.ceiling_m), lo, hi, rules)
    _currents(out, rows, lo, hi)
    return out


def _spikes(level: Floats, size_m: float) -> Bools:
    out = np.zeros(len(level), bool)
    a, b = level[1:-1] - level[:-2], level[1:-1] - level[2:]
    with np.errstate(invalid="ignore"):
        out[1:-1] = ((a > size_m) & (b > size_m)) | ((a < -size_m) & (b < -size_m))
    return out


def _levels(out: Phases, level: Floats, usable: Bools, lo: Ints, hi: Ints) -> None:
    end = hi[-1]
    out["max_m"] = np.maximum.reduceat(np.where(usable, level, -np.inf)[:end], lo)
    out["min_m"] = np.minimum.reduceat(np.where(usable, level, np.inf)[:end], lo)
    index = np.arange(end)
    first = np.minimum.reduceat(np.where(usable[:end], index, end), lo)
    last = np.maximum.reduceat(np.where(usable[:end], index, -1), lo)
    known = last >= 0
    out["samples"] = np.add.reduceat(usable[:end].astype(np.int32), lo)
    out["first_m"] = np.where(known, level[np.minimum(first, end - 1)], np.nan)
    out["last_m"] = np.where(known, level[last], np.nan)
    out["max_m"][~known] = out["min_m"][~known] = np.nan


def _lines(out: Phases, rows: Rows, usable: Bools, lo: Ints, hi: Ints, rules: PhaseRules) -> None:
    """Least-squares level lines over the four stretches, all phases at once."""
    end = hi[-1]
    phase = np.repeat(np.arange(len(lo)), hi - lo)
    x = (rows["t_ms"][lo[0] : end] - out["t0_ms"][phase]) / 1000.0
    length = ((out["t1_ms"] - out["t0_ms"]) / 1000.0)[phase]
    base = np.nan_to_num(out["first_m"])
    usable = usable[lo[0] : end]
    y = np.where(usable, rows["level_m"][lo[0] : end] - base[phase], 0.0)
    pumping = (out["running"] > 0)[phase]
    stretches = [
        usable,
        usable & np.where(pumping, x <= length / 2, x <= rules.early_s),
        usable & np.where(pumping, True, (x >= rules.settle_s) & (x <= rules.near_s)),
        usable & np.where(pumping, x >= length / 2, length - x <= rules.late_s),
    ]
    first = lo - lo[0]
    for k, inside in enumerate(stretches):
        w = inside.astype(np.float64)
        n = np.add.reduceat(w, first)
        with np.errstate(invalid="ignore", divide="ignore"):
            xm = np.add.reduceat(w * x, first) / n
            ym = np.add.reduceat(w * y, first) / n
            dx = w * (x - xm[phase])
            dx[~inside] = 0.0
            slope = np.add.reduceat(dx * y, first) / np.add.reduceat(dx * dx, first)
        out["slope"][:, k] = np.where(n >= 2, slope, np.nan)
        out["mid_s"][:, k] = xm
        out["mid_m"][:, k] = ym + base


def _currents(out: Phases, rows: Rows, lo: Ints, hi: Ints) -> None:
    """Middle, scatter (interquartile) and low tail (10 %) of each running pump's current.

    The middle is the mean of the middle half: a signal of coarse steps has no finer median."""
    for name in ("current_a", "scatter_a", "low_a"):
        out[name] = np.nan
    for p in range(MAX_PUMPS):
        runs = np.flatnonzero(out["running"] & (1 << p))
        current = rows["current_a"][:, p]
        if not len(runs) or not np.isfinite(current).any():
            continue
        index = np.concatenate([np.arange(lo[k], hi[k]) for k in runs])
        owner = np.repeat(runs, hi[runs] - lo[runs])
        good = np.isfinite(current[index])
        index, owner = index[good], owner[good]
        order = np.lexsort((current[index], owner))
        values, owner = current[index][order], owner[order]
        phases, first, count = np.unique(owner, return_index=True, return_counts=True)

        def quantile(
            q: float, first: Ints = first, count: Ints = count, values: Floats = values
        ) -> Floats:
            return np.asarray(values[first + np.floor(q * (count - 1) + 0.5).astype(np.intp)])

        a, b = first + count // 4, first + count - count // 4
        spans = np.column_stack([a, b]).ravel()
        sums = np.add.reduceat(np.append(values, 0.0), spans)[::2]
        out["current_a"][phases, p] = sums / (b - a)
        out["scatter_a"][phases, p] = quantile(0.75) - quantile(0.25)
        out["low_a"][phases, p] = quantile(0.1)
