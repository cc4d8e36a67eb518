"""Samples and edges of one site as one clean sequence of rows: sorted, distinct, states carried on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import MAX_PUMPS, current_signal, run_signal

ROW = np.dtype(
    [
        ("t_ms", "i8"),
        ("level_m", "f8"),
        ("running", "u1"),
        ("flags", "u1"),
        ("edge", "?"),
        ("rain_mm_h", "f8"),
        ("current_a", "f8", (MAX_PUMPS,)),
    ]
)
"""One moment: ``running`` has bit p-1 set while pump p runs; an edge's row has no level (NaN)."""

MANUAL, DOOR, HIGH, POWER_LOST = 1, 2, 4, 8
"""Bits of ``flags``: not in automatic, panel door open, high-level float, mains lost."""

_FLAG_SIGNALS = [
    ("mode_auto", MANUAL, 0.0),
    ("door_open", DOOR, 1.0),
    ("high_level", HIGH, 1.0),
    ("power_ok", POWER_LOST, 0.0),
]

Rows = NDArray[np.void]
Floats = NDArray[np.float64]


def merge_rows(
    chunk: Chunk, edges: Sequence[Edge], after_ms: int, states: Sequence[float]
) -> tuple[Rows, list[float], int]:
    """Rows of ``chunk`` later than ``after_ms``, with an extra row at each run edge between two samples.

    ``states`` are the last known run states, pump 1 first; blanks keep the state before them. An edge
    at a sample's own time says nothing that the sample does not, unless that sample is blank there.
    Returns the rows, the new last states and how many rows were left out (repeated or too late).
    """
    t, take = _distinct(chunk.t_ms, after_ms)
    dropped = len(chunk.t_ms) - len(t)
    run_edges = [e for e in edges if e.signal in _RUNS]
    edge_t = np.array([e.t_ms for e in run_edges], np.int64)
    values = np.full((MAX_PUMPS, len(t) + len(edge_t)), np.nan)
    for p in range(MAX_PUMPS):
        if (column := chunk.signals.get(run_signal(p + 1))) is not None:
            values[p, : len(t)] = column[take]
    keep = np.ones(len(t) + len(edge_t), bool)
    for k, edge in enumerate(run_edges):
        p, at = _RUNS[edge.signal], int(np.searchsorted(t, edge.t_ms))
        if at < len(t) and t[at] == edge.t_ms:
            keep[len(t) + k] = False
            if np.isnan(values[p, at]):
                values[p, at] = edge.value
        else:
            values[p, len(t) + k] = edge.value
    all_t = np.concatenate([t, edge_t])
    order = np.argsort(all_t, kind="stable")
    order = order[keep[order]]
    rows = np.zeros(len(order), ROW)
    rows["t_ms"] = all_t[order]
    rows["edge"] = order >= len(t)
    last = list(states)
    for p in range(MAX_PUMPS):
        state = _carry(values[p, order], last[p])
        rows["running"] |= (state > 0.5).astype(np.uint8) << p
        last[p] = float(state[-1]) if len(state) else last[p]
    _fill_analog(rows, chunk, take, order, len(t))
    return rows, last, dropped


_RUNS = {run_signal(p + 1): p for p in range(MAX_PUMPS)}


def _distinct(t_ms: NDArray[np.int64], after_ms: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Sorted distinct times after ``after_ms`` and where each was; of repeated rows the first."""
    if len(t_ms) and t_ms[0] > after_ms and (np.diff(t_ms) > 0).all():
        return t_ms, np.arange(len(t_ms))
    times, first = np.unique(t_ms, return_index=True)
    new = times > after_ms
    return times[new], first[new]


def _carry(values: Floats, before: float) -> Floats:
    """Blanks (NaN) take the value before them."""
    known = np.where(np.isnan(values), -1, np.arange(len(values)))
    at = np.maximum.accumulate(known) if len(values) else known
    return np.where(at < 0, before, values[at])


def _fill_analog(
    rows: Rows, chunk: Chunk, take: NDArray[np.intp], order: NDArray[np.intp], samples: int
) -> None:
    is_sample = order < samples
    source = take[order[is_sample]]

    def column(name: str) -> Floats:
        out = np.full(len(order), np.nan)
        if (values := chunk.signals.get(name)) is not None:
            out[is_sample] = values[source]
        return out

    rows["level_m"] = column("level_m")
    rows["rain_mm_h"] = column("rain_mm_h")
    for p in range(MAX_PUMPS):
        rows["current_a"][:, p] = column(current_signal(p + 1))
    for name, bit, when in _FLAG_SIGNALS:
        if name in chunk.signals:
            rows["flags"] |= (column(name) == when).astype(np.uint8) * np.uint8(bit)
