"""Stations of one pace in motion: their state, what they are made of, and their minutes of truth."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS, MINUTE_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.simulator import kernel as k
from pumpwatch.simulator import rows
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.condition import Condition, healthy
from pumpwatch.simulator.inflow import Inflow
from pumpwatch.simulator.plant import Plant, well_table
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.stepping import Record, Span, Stepper, Tables

Floats = NDArray[np.float64]

_DRAWS = 2048
"""Own draws of each station for its runs; they come round again after hundreds of runs."""
_UPSTREAM = 2
_RESPONSE_EDGES = 1 + 3 * k.MAX_PUMPS


class Engine:
    """The stations ``specs``, all stepped every ``step_s``. Times are epoch milliseconds."""

    def __init__(
        self, specs: Sequence[StationSpec], inflows: Sequence[Inflow], seed: int, step_s: int,
        start_ms: int, stepper: Stepper,
    ) -> None:  # fmt: skip
        self.specs = tuple(specs)
        self.step_ms = step_s * 1000
        self._inflows, self._stepper, self._dt = inflows, stepper, float(step_s)
        self.pumps = max(s.site.pumps for s in specs)
        self.plant = Plant(specs, self.pumps)
        self.conditions = [healthy(s.site.pumps) for s in specs]
        self.state = np.zeros((k.N_STATE, len(specs)))
        self._tables = self._make(seed)
        self._day = -1
        self._daily: Floats = np.empty((len(specs), 0))
        self._factor, self._add = np.ones(len(specs)), np.zeros(len(specs))
        for i, spec in enumerate(specs):
            s = np.zeros(k.N_STATE)
            rng = generator(seed, spec.site.site, "state")
            rows.set_up(s, spec, self.plant, i, self._dt, rng)
            self.state[:, i] = s
        self.put(dict(enumerate(self.conditions)), start_ms)
        self._sums = self.state[[k.IN, k.SPILLED]].copy()

    def _make(self, seed: int) -> Tables:
        n, states = len(self.specs), 2**self.pumps - 1
        names = [spec.site.site for spec in self.specs]
        chance = [generator(seed, name, "runs") for name in names]
        wells = [well_table(spec) for spec in self.specs]
        upstream = _links(self.specs)
        return Tables(
            np.array([heights for heights, _ in wells]),
            np.array([volumes for _, volumes in wells]),
            np.zeros((n, states, 2)),
            np.zeros((n, states, self.pumps, 2)),
            np.array([np.clip(c.standard_normal(_DRAWS), -3, 3) for c in chance]),
            np.array([c.random(_DRAWS) for c in chance]),
            upstream,
            _order(self.specs, upstream),
        )

    def put(self, conditions: dict[int, Condition], t_ms: int) -> NDArray[np.int64]:
        """Let stations (by row) be in new conditions from ``t_ms`` on; gives the edges, (m, 4)."""
        at = np.array(list(conditions), np.intp)
        now = list(conditions.values())
        t = self._tables
        duty = self.plant.duty(at, now)
        t.net[at], t.flow[at] = duty.net, duty.pump
        leaks = self.plant.leak_coefficient(at, now)
        edges: list[list[int]] = []
        for i, condition, leak in zip(at.tolist(), now, leaks, strict=True):
            before, self.conditions[i] = self.conditions[i], condition
            if condition.fouling != before.fouling:
                t.heights[i], t.volumes[i] = well_table(self.specs[i], condition.fouling)
            self._factor[i], self._add[i] = condition.inflow_factor, condition.inflow_add_m3s
            t.changed(i)
            s = self.state[:, i].copy()
            rows.follow(
                s, self.specs[i], condition, t.heights[i], t.volumes[i], leak, self._dt, t_ms / 1000
            )
            edges += self._respond(i, s.tolist(), t_ms / 1000)
        return np.array(edges, np.int64).reshape(-1, 4)

    def _respond(self, i: int, row: list[float], t: float) -> list[list[int]]:
        lists, room, count = self._tables.lists(i), [[0] * 4 for _ in range(_RESPONSE_EDGES)], [0]
        k.locate(row, *lists[:2])
        k.respond(row, t, i, *lists, room, count)
        row[k.BITS] = float(k.bits_of(row, t))
        self.state[:, i] = row
        return room[: count[0]]

    def block(self, begin_ms: int, end_ms: int) -> tuple[Record, Floats]:
        """An empty record for a block within one UTC day, and room for its inflow, (n, minutes)."""
        first, last = begin_ms // MINUTE_MS, -(-end_ms // MINUTE_MS)
        n = len(self.specs)
        steps = (end_ms - begin_ms) // self.step_ms
        return Record.empty(self.pumps, n, steps, last - first), np.empty((n, last - first))

    def run(
        self, record: Record, inflow: Floats, block_ms: int, begin_ms: int, end_ms: int
    ) -> NDArray[np.int64]:
        """Step from ``begin_ms`` to ``end_ms`` within the block that began at ``block_ms``; gives edges."""
        self._load(block_ms // DAY_MS)
        first_minute = block_ms // MINUTE_MS
        m0, m1 = begin_ms // MINUTE_MS - first_minute, -(-end_ms // MINUTE_MS) - first_minute
        of_day = first_minute % (DAY_MS // MINUTE_MS)
        base = self._daily[:, of_day + m0 : of_day + m1]
        inflow[:, m0:m1] = base * self._factor[:, None] + self._add[:, None]
        lead = (begin_ms - first_minute * MINUTE_MS) // self.step_ms
        span = Span(
            begin_ms / 1000, self._dt, (begin_ms - block_ms) // self.step_ms,
            (end_ms - begin_ms) // self.step_ms, lead,
        )  # fmt: skip
        return self._stepper(self.state, inflow, span, self._tables, record)

    def minutes(self, record: Record, block_ms: int, end_ms: int) -> tuple[int, Floats]:
        """Inflow and spill [m3] of each full minute that ended in the block and the level [m] at its
        end, (3, n, minutes); first the beginning of the first of them.
        """
        done = end_ms // MINUTE_MS - block_ms // MINUTE_MS
        sums = np.concatenate([self._sums[:, :, None], record.minutes[:, :, :done]], axis=2)
        if done:
            self._sums = sums[:, :, -1]
        first_ms = block_ms - block_ms % MINUTE_MS
        ends = first_ms + MINUTE_MS * np.arange(1, done + 1)
        level = record.level[:, (ends - block_ms) // self.step_ms - 1]
        return first_ms, np.concatenate([np.diff(sums, axis=2), level[None]])

    def _load(self, day: int) -> None:
        if day != self._day:
            self._day = day
            self._daily = np.array([flow.day_m3s(day, 60) for flow in self._inflows])


def _links(specs: Sequence[StationSpec]) -> NDArray[np.intp]:
    """Rows that flow into each station, (2, n); one past the last for none."""
    row = {spec.site.site: i for i, spec in enumerate(specs)}
    links = np.full((_UPSTREAM, len(specs)), len(specs), np.intp)
    for i, spec in enumerate(specs):
        if spec.downstream not in row:
            continue
        free = np.flatnonzero(links[:, row[spec.downstream]] == len(specs))
        if not len(free):
            raise InvalidInput(
                "downstream", f"more than {_UPSTREAM} stations flow into {spec.downstream}",
                f"lead {spec.site.site} elsewhere",
            )  # fmt: skip
        links[free[0], row[spec.downstream]] = i
    return links


def _order(specs: Sequence[StationSpec], upstream: NDArray[np.intp]) -> NDArray[np.intp]:
    """The rows so that each comes after those that flow into it, (n,)."""
    above = {i: [u for u in rows if u < len(specs)] for i, rows in enumerate(upstream.T.tolist())}
    try:
        return np.array([*TopologicalSorter(above).static_order()], np.intp)
    except CycleError as error:
        ring = " to ".join(specs[i].site.site for i in error.args[1])
        raise InvalidInput(
            "downstream", f"water goes round from {ring}", "lead one of them elsewhere"
        ) from None
