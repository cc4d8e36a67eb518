"""Whole fleets through time on arrays, stations beside each other: compiled where numba is, numpy where not.

Both give the same bits: they do the same arithmetic in the same order (`kernel`), here on all stations at
once for a step in which nothing switches, and one by one for the few where something does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator import kernel as k

Floats = NDArray[np.float64]
EDGE_ROOM = 1 << 18
STEP_EDGE_ROOM = 3 * k.MAX_PUMPS * (k.MAX_SWITCHES + 2)
"""More changes of contacts than one station can have in one step."""


class Lists(NamedTuple):
    """One row of `Tables`, as CPython likes it."""

    heights: k.Numbers
    volumes: k.Numbers
    net: list[k.Numbers]
    flow: list[list[k.Numbers]]
    normals: k.Numbers
    uniforms: k.Numbers


@dataclass(frozen=True, slots=True)
class Tables:
    """What the stations of one engine are made of, one row a station.

    ``heights`` and ``volumes`` (n, points) are the wells; ``net`` (n, states, 2) and ``flow``
    (n, states, pumps, 2) the flows of each set of running pumps at both ends of the band; ``normals``
    and ``uniforms`` (n, draws) the chance of their runs; ``upstream`` (2, n) the rows that flow in;
    ``order`` (n,) the rows so that each comes after those that flow into it.
    """

    heights: Floats
    volumes: Floats
    net: Floats
    flow: Floats
    normals: Floats
    uniforms: Floats
    upstream: NDArray[np.intp]
    order: NDArray[np.intp]
    _lists: dict[int, Lists] = field(default_factory=dict)
    _draws: dict[int, tuple[k.Numbers, k.Numbers]] = field(default_factory=dict)

    def lists(self, i: int) -> Lists:
        """Wells, flows and draws of one station as CPython likes them; kept until `changed`."""
        if i not in self._draws:
            self._draws[i] = self.normals[i].tolist(), self.uniforms[i].tolist()
        if i not in self._lists:
            self._lists[i] = Lists(
                self.heights[i].tolist(), self.volumes[i].tolist(), self.net[i].tolist(),
                self.flow[i].tolist(), *self._draws[i],
            )  # fmt: skip
        return self._lists[i]

    def changed(self, i: int) -> None:
        self._lists.pop(i, None)

    @property
    def linked(self) -> bool:
        return bool((self.upstream < len(self.heights)).any())


@dataclass(frozen=True, slots=True)
class Span:
    """Some steps of a block.

    ``begin`` [s since 1970] is where the first of ``steps`` steps of ``dt`` [s] begins, ``first`` its
    column in the record, ``lead`` how many steps it stands behind the block's first full minute.
    """

    begin: float
    dt: float
    first: int
    steps: int
    lead: int

    @property
    def per_minute(self) -> int:
        return round(60 / self.dt)


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down of a block.

    ``level`` is the water and ``seen`` what the transmitter shows, ``bits`` the contacts
    (`kernel.bits_of`) at every step's end, (stations, steps); ``amps`` (pumps, stations, steps).
    ``minutes`` (2, stations, minutes): sums of inflow and spill [m3] at the end of each minute.
    """

    level: Floats
    seen: Floats
    amps: Floats
    bits: NDArray[np.uint16]
    minutes: Floats

    @classmethod
    def empty(cls, pumps: int, stations: int, steps: int, minutes: int) -> Record:
        return cls(
            np.empty((stations, steps)),
            np.empty((stations, steps)),
            np.zeros((pumps, stations, steps)),
            np.empty((stations, steps), np.uint16),
            np.zeros((2, stations, minutes)),
        )


Stepper = Callable[[Floats, Floats, Span, Tables, Record], NDArray[np.int64]]
"""Takes state (N_STATE, n), inflow (n, minutes), span, tables and the record to fill; gives edges (m, 4)."""


def step_numpy(
    state: Floats, inflow: Floats, span: Span, tables: Tables, record: Record
) -> NDArray[np.int64]:
    """All stations side by side, one step after the other."""
    return _Numpy(state, inflow, span, tables, record).run()


class _Numpy:
    def __init__(
        self, state: Floats, inflow: Floats, span: Span, tables: Tables, record: Record
    ) -> None:
        self.state, self.inflow, self.span, self.record = state, inflow, span, record
        self.tables = tables
        self.edges: list[list[int]] = []
        self._room = [[0, 0, 0, 0] for _ in range(STEP_EDGE_ROOM)]

    def run(self) -> NDArray[np.int64]:
        s, span, record, linked = self.state, self.span, self.record, self.tables.linked
        n = s.shape[1]
        pumps = len(record.amps)
        routed = np.zeros(n + 1)
        a0, a1 = s[k.A0 : k.A0 + pumps], s[k.A1 : k.A1 + pumps]
        drains = bool((s[k.DRAIN] > 0).any())
        per_minute = span.per_minute
        for step in range(span.steps):
            minute = (span.lead + step) // per_minute
            start = span.begin + step * span.dt
            end = start + span.dt
            at = span.first + step
            q_in = self.inflow[:, minute]
            if linked:
                routed[:n] = s[k.ROUTED]
                q_in = q_in + routed[self.tables.upstream[0]] + routed[self.tables.upstream[1]]
            out = np.maximum(s[k.SLOPE] * s[k.H] + s[k.FLOW0], 0.0)
            rate = q_in - out
            back = None
            if drains:
                full = np.maximum(1.0 - s[k.EMPTY] / s[k.MAIN], 0.0)
                back = s[k.DRAIN] * np.sqrt(full)
                rate = rate + back
            v = s[k.V] + rate * span.dt
            switching = np.flatnonzero(
                (v >= s[k.VUP]) | (v <= s[k.VLO]) | (s[k.TNEXT] <= end)
            ).tolist()
            kept = [s[:, i].tolist() for i in switching]
            s[k.V] = v
            self._leave(q_in * span.dt, out * span.dt, None if back is None else back * span.dt)
            self._locate()
            record.amps[:, :, at] = a0 + a1 * s[k.H]
            for i, row in zip(switching, kept, strict=True):
                self._advance(row, i, float(q_in[i]), start)
                row[k.BITS] = float(k.bits_of(row, end))
                s[:, i] = row
                for p in range(pumps):
                    record.amps[p, i, at] = k.current_now(row, p, end)
            if switching:
                drains = bool((s[k.DRAIN] > 0).any())
            if linked:
                arrives = s[k.ROUTE] * s[k.ROUTE_SHARE]
                s[k.ROUTE] -= arrives
                s[k.ROUTED] = arrives / span.dt
            record.level[:, at] = s[k.H]
            record.seen[:, at] = s[k.SEEN]
            record.bits[:, at] = s[k.BITS]
            if (span.lead + step + 1) % per_minute == 0:
                record.minutes[0, :, minute] = s[k.IN]
                record.minutes[1, :, minute] = s[k.SPILLED]
        return np.array(self.edges, np.int64).reshape(-1, 4)

    def _leave(self, into: Floats, out: Floats, back: Floats | None) -> None:
        """`kernel.leaves` for all."""
        s = self.state
        if back is None:
            empty = s[k.EMPTY] - out
        else:
            empty = s[k.EMPTY] + back - out
            s[k.BACK] += back
        s[k.IN] += into
        s[k.OUT] += out
        gone = np.minimum(empty, 0.0)
        s[k.DELIVERED] -= gone
        s[k.ROUTE] -= gone * (1.0 - s[k.LOST])
        s[k.EMPTY] = np.maximum(empty, 0.0)

    def _locate(self) -> None:
        """`kernel.locate` for all."""
        s = self.state
        v = s[k.V]
        for i in np.flatnonzero((v > s[k.VH]) | (v < s[k.VL])).tolist():
            row = s[:, i].tolist()
            k.locate(row, *self.tables.lists(i)[:2])
            s[:, i] = row
        s[k.H] = s[k.HB] + (v - s[k.VB]) * s[k.IA]
        exact = s[k.GAIN] * s[k.H] + s[k.OFFSET]
        s[k.SEEN] = np.where(s[k.FOLLOW] == 1.0, exact, s[k.SEEN])

    def _advance(self, row: list[float], i: int, q_in: float, start: float) -> None:
        count = [0]
        k.advance(row, q_in, start, self.span.dt, i, *self.tables.lists(i), self._room, count)
        self.edges += [edge.copy() for edge in self._room[: count[0]]]


def stepper(compiled: bool | None = None) -> Stepper:
    """The way to step: compiled if numba is there; ``compiled`` insists on one or the other."""
    if compiled is False:
        return step_numpy
    try:
        from pumpwatch.simulator import fast
    except ImportError:
        if compiled:
            raise
        return step_numpy
    return fast.step_numba
