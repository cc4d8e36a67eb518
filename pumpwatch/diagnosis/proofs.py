"""The level sensor's audit: does it agree with what does not depend on it?

Three witnesses: the high-level float hangs at a known height, the well widens at the inlet, and the pumps
have a name plate. Each works alone; where its signal or its dimension is missing, it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.proofs import FLOAT, KNEE, VOLUME, Proof
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import run_signal
from pumpwatch.domain.sites import Site

FLOAT_M = 0.05
"""A float may tip so far from its height [m], and as far again as the level moved between two samples."""
KNEE_M = 0.10
"""A bend so close to the inlet [m] is the inlet's; a fill must pass it by as much on both sides."""
KNEE_SPAN_M = 0.4
"""Farther from the inlet [m] nothing is looked at."""
KNEE_SAMPLES = 5
KNEE_BEND = 0.7
"""Above the inlet the level rises at most this share as fast as below: sewer and well fill together."""
KNEE_CLEAR = 0.3
"""Two lines must leave at most this share of the squares that one line leaves."""
VOLUME_SHARE = 0.3
"""What pumps move by the level may differ by this share from their name plates."""
FEWEST_CYCLES = 10


def audit_level(chunk: Chunk, cycles: Sequence[CycleRow], site: Site) -> list[Proof]:
    """What these samples and cycles say about the level sensor; one `Proof` for each witness that speaks."""
    found = [_float(chunk, site), _knee(chunk, site), _volume(cycles, site)]
    return [proof for proof in found if proof is not None]


def _float(chunk: Chunk, site: Site) -> Proof | None:
    """The last time the high-level float went on: was the level there?"""
    if site.high_level_m is None or not {"high_level", "level_m"} <= chunk.signals.keys():
        return None
    state, level = chunk.signals["high_level"], chunk.signals["level_m"]
    known = np.isfinite(state) & np.isfinite(level)
    on, level, t_ms = state[known] >= 0.5, level[known], chunk.t_ms[known]
    near = np.diff(t_ms) <= _gap_ms(site)
    rose = np.flatnonzero(on[1:] & ~on[:-1] & near) + 1
    if not len(rose):
        return None
    i = int(rose[-1])
    low, high = sorted((float(level[i - 1]), float(level[i])))
    slack = FLOAT_M + high - low
    right = abs((low + high) / 2 - site.high_level_m) <= slack
    return _proof(FLOAT, int(t_ms[i]), right, float(level[i]), site.high_level_m)


def _knee(chunk: Chunk, site: Site) -> Proof | None:
    """The last fill that bends at the inlet and nowhere else so clearly. Inflow that ebbs away bends a fill
    too, anywhere: so a bend elsewhere says nothing, and this witness never speaks against the sensor."""
    inlet = site.inlet_level_m
    if inlet is None or "level_m" not in chunk.signals:
        return None
    level = chunk.signals["level_m"]
    known = np.isfinite(level) & (np.abs(level - inlet) <= KNEE_SPAN_M)
    for run in (run_signal(n) for n in range(1, site.pumps + 1)):
        if run in chunk.signals:
            known &= ~(chunk.signals[run] >= 0.5)
    index = np.flatnonzero(known)
    breaks = (np.diff(index) > 1) | (np.diff(chunk.t_ms[index]) > _gap_ms(site))
    for part in reversed(np.split(index, np.flatnonzero(breaks) + 1)):
        h = level[part]
        if len(part) < 2 * KNEE_SAMPLES or h.min() > inlet - KNEE_M or h.max() < inlet + KNEE_M:
            continue
        i = _bend((chunk.t_ms[part] - chunk.t_ms[part[0]]) / 1000, h)
        if i is not None and abs(float(h[i]) - inlet) <= KNEE_M:
            return _proof(KNEE, int(chunk.t_ms[part[i]]), True, float(h[i]), inlet)
    return None


def _bend(t_s: NDArray[np.float64], h: NDArray[np.float64]) -> int | None:
    """Where a rising level clearly goes on more slowly: the index at which two straight lines fit best."""
    best: tuple[float, int, float, float] | None = None
    for i in range(KNEE_SAMPLES - 1, len(h) - KNEE_SAMPLES + 1):
        below, rest = _line(t_s[: i + 1], h[: i + 1])
        above, more = _line(t_s[i:], h[i:])
        if best is None or rest + more < best[0]:
            best = rest + more, i, below, above
    if best is None:
        return None
    rest, i, below, above = best
    clear = below > 0 and 0 <= above <= KNEE_BEND * below
    return i if clear and rest <= KNEE_CLEAR * _line(t_s, h)[1] else None


def _line(t_s: NDArray[np.float64], h: NDArray[np.float64]) -> tuple[float, float]:
    """Slope of the straight line through the points, and the squares it leaves."""
    t, y = t_s - t_s.mean(), h - h.mean()
    slope = float(t @ y / (t @ t))
    return slope, float(np.sum((y - slope * t) ** 2))


def _volume(cycles: Sequence[CycleRow], site: Site) -> Proof | None:
    """What flowed in by the level, over the time its pump ran to take it out, against the name plate.

    The pump that comes nearest speaks: a worn one tells of itself, a wrong level of all alike.
    """
    plate = site.capacity_m3s
    if plate is None:
        return None
    flows = [
        flow
        for n in range(1, site.pumps + 1)
        if (flow := _flow_m3s([c for c in cycles if c.pump == f"pump{n}"])) is not None
    ]
    if not flows:
        return None
    flow_m3s = min(flows, key=lambda flow: abs(flow - plate))
    right = abs(flow_m3s / plate - 1) <= VOLUME_SHARE
    return _proof(VOLUME, cycles[-1].end_ms, right, flow_m3s, plate)


def _flow_m3s(cycles: Sequence[CycleRow]) -> float | None:
    """Mean flow of one pump by what came in during its cycles; None of too few."""
    told = [
        c.features
        for c in cycles
        if c.valid and {"inflow_m3s", "fill_s", "run_s"} <= c.features.keys()
    ]
    run_s = sum(f["run_s"] for f in told)
    if len(told) < FEWEST_CYCLES or run_s <= 0:
        return None
    return sum(f["inflow_m3s"] * (f["fill_s"] + f["run_s"]) for f in told) / run_s


def _proof(subject: str, t_ms: int, right: bool, measured: float, expected: float) -> Proof:
    return Proof(subject, t_ms, t_ms, t_ms if right else None, measured, expected)


def _gap_ms(site: Site) -> float:
    return 2.5 * 1000 * (site.sample_s or 60.0)
