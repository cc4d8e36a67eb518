"""What the panel says: the truth through its instruments, kept until somebody takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import SIGNALS, SignalKind, current_signal, run_signal
from pumpwatch.simulator.chance import DAY_S, generator
from pumpwatch.simulator.spec import PUMPS, STEP_S, StationSpec
from pumpwatch_edge import source

Floats = NDArray[np.float64]

STEPS_PER_DAY = DAY_S // STEP_S
_DIVISOR = {"level_m": 1000.0, "rain_mm_h": 10.0} | {
    current_signal(n + 1): 100.0 for n in range(PUMPS)
}
"""Analog signals are kept as whole millimetres, tenths of mm/h and hundredths of an ampere."""
_CHURN = 1.5
_IDLE_CURRENT_A = 0.008


@dataclass(frozen=True, slots=True)
class Truth:
    """Some steps of one station as they were, each (n,): the instant at every step's end."""

    t_ms: NDArray[np.int64]
    level_m: Floats
    on: Floats
    amps: Floats
    scatter: Floats
    float_up: Floats
    power: Floats
    telemetry: Floats
    rain_mm_h: Floats
    """``on``, ``amps`` and ``scatter`` are (pumps, n)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Published rows: times (n,) and each signal as scaled whole numbers (n,)."""

    t_ms: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.integer]]

    def __len__(self) -> int:
        return len(self.t_ms)

    def floats(self) -> dict[str, Floats]:
        """Every signal in its own unit, (n,) float64."""
        return {
            name: column / _DIVISOR[name] if name in _DIVISOR else column.astype(np.float64)
            for name, column in self.columns.items()
        }

    def readings(self) -> list[source.Reading]:
        """Row by row, as an agent reads a panel."""
        columns = [
            (column / _DIVISOR[name] if name in _DIVISOR else column).tolist()
            for name, column in self.columns.items()
        ]
        rows = map(dict, map(zip, repeat(tuple(self.columns)), zip(*columns, strict=True)))
        return list(map(source.Reading, self.t_ms.tolist(), rows))


class Instruments:
    """The sensors of one station. A reading depends on its moment, not on who asked when."""

    def __init__(self, spec: StationSpec, seed: int) -> None:
        site = spec.site
        self.spec = spec
        self.has_current = site.has_current is not False
        self.has_rain = site.has_rain is not False
        self._sample_ms = int((site.sample_s or STEP_S) * 1000)
        self._seed = seed
        self._day: tuple[int, Floats] | None = None

    def signals(self) -> dict[str, dict[str, object]]:
        """The published signals with unit and range, as a birth message lists them."""
        names = ["level_m", *(run_signal(n + 1) for n in range(PUMPS))]
        if self.has_current:
            names += [current_signal(n + 1) for n in range(PUMPS)]
        names += ["high_level", "power_ok"]
        if self.has_rain:
            names.append("rain_mm_h")
        ranges: dict[str, float] = {
            "level_m": np.ceil(float(self.spec.site.well_depth_m or 0) + 0.5)
        }
        return {
            name: {"unit": SIGNALS[name].unit}
            | (
                {"min": 0, "max": float(ranges.get(name, SIGNALS[name].high))}
                if SIGNALS[name].kind is SignalKind.ANALOG
                else {}
            )
            for name in names
        }

    def read(self, truth: Truth) -> Rows:
        """The rows published in ``truth``, which lies within one UTC day."""
        keep = (truth.t_ms % self._sample_ms == 0) & (truth.telemetry > 0)
        t_ms = truth.t_ms[keep]
        noise = self._noise(truth.t_ms)[:, keep]
        on = truth.on[:, keep]
        columns: dict[str, NDArray[np.integer]] = {
            "level_m": self._level_mm(truth.level_m[keep], on, noise[0])
        }
        for n in range(PUMPS):
            columns[run_signal(n + 1)] = on[n].astype(np.uint8)
        if self.has_current:
            for n in range(PUMPS):
                amps = self._amps(truth.amps[n, keep], truth.scatter[n, keep], on[n], noise[n + 1])
                columns[current_signal(n + 1)] = amps
        columns["high_level"] = truth.float_up[keep].astype(np.uint8)
        columns["power_ok"] = truth.power[keep].astype(np.uint8)
        if self.has_rain:
            columns["rain_mm_h"] = np.rint(truth.rain_mm_h[keep] * 10).astype(np.int16)
        return Rows(t_ms, columns)

    def _noise(self, t_ms: NDArray[np.int64]) -> Floats:
        """Standard normal draws for the level and each current, (1 + pumps, n)."""
        steps = t_ms // (STEP_S * 1000) - 1
        day = int(steps[0]) // STEPS_PER_DAY
        if self._day is None or self._day[0] != day:
            rng = generator(self._seed, self.spec.site.site, "instruments", day)
            self._day = day, rng.standard_normal((1 + PUMPS, STEPS_PER_DAY))
        return self._day[1][:, steps - day * STEPS_PER_DAY]

    def _level_mm(self, level_m: Floats, on: Floats, noise: Floats) -> NDArray[np.int32]:
        sensors = self.spec.sensors
        spread = sensors.level_noise_m * np.where(on.any(axis=0), _CHURN, 1.0)
        seen_m: Floats = np.maximum(level_m + spread * noise, 0)
        step_mm = round(sensors.level_step_m * 1000)
        level_mm: Floats = np.rint(seen_m / sensors.level_step_m) * step_mm
        return level_mm.astype(np.int32)

    def _amps(self, amps: Floats, scatter: Floats, on: Floats, noise: Floats) -> NDArray[np.int32]:
        running = amps * np.maximum(1 + (self.spec.sensors.current_noise + scatter) * noise, 0)
        idle = _IDLE_CURRENT_A * np.abs(noise)
        centiamps: Floats = np.rint(np.where(on > 0, running, idle) * 100)
        return centiamps.astype(np.int32)


class Outbox:
    """Rows and edges of one station in time order, until they are taken."""

    def __init__(self) -> None:
        self._rows: deque[Rows] = deque()
        self._edges: deque[Edge] = deque()
        self._at = 0
        self._oldest: list[source.Reading] = []
        """The oldest block row by row, once somebody has begun to take it so."""

    def put_rows(self, rows: Rows) -> None:
        if len(rows):
            self._rows.append(rows)

    def put_edge(self, edge: Edge) -> None:
        self._edges.append(edge)

    def next(self, up_to_ms: int, limit: int) -> list[source.Edge | source.Reading]:
        """Take up to ``limit`` of the oldest not later than ``up_to_ms``: edges before rows."""
        taken: list[source.Edge | source.Reading] = []
        while len(taken) < limit:
            row_ms = int(self._rows[0].t_ms[self._at]) if self._rows else up_to_ms + 1
            edge_ms = self._edges[0].t_ms if self._edges else up_to_ms + 1
            if min(row_ms, edge_ms) > up_to_ms:
                break
            if edge_ms <= row_ms:
                edge = self._edges.popleft()
                taken.append(source.Edge(edge.t_ms, edge.signal, edge.value))
            else:
                taken += self._next_rows(min(edge_ms, up_to_ms + 1), limit - len(taken))
        return taken

    def _next_rows(self, before_ms: int, limit: int) -> list[source.Reading]:
        """Rows of the oldest block earlier than ``before_ms``."""
        block = self._rows[0]
        if not self._oldest:
            # whole: edges cut a block into many small parts
            self._oldest = block.readings()
        end = min(self._at + limit, int(np.searchsorted(block.t_ms, before_ms)))
        taken = self._oldest[self._at : end]
        self._at = end
        if end == len(block):
            self._rows.popleft()
            self._at, self._oldest = 0, []
        return taken

    def take(self) -> tuple[Chunk, list[Edge]]:
        """Take everything at once, in columns."""
        blocks = list(self._rows)
        if blocks:
            blocks[0] = _part(blocks[0], self._at, len(blocks[0]))
        edges = list(self._edges)
        self._rows.clear()
        self._edges.clear()
        self._at, self._oldest = 0, []
        if not blocks:
            return Chunk(np.empty(0, np.int64), {}), edges
        merged = Rows(
            np.concatenate([b.t_ms for b in blocks]),
            {n: np.concatenate([b.columns[n] for b in blocks]) for n in blocks[0].columns},
        )
        return Chunk(merged.t_ms, merged.floats()), edges


def _part(rows: Rows, start: int, end: int) -> Rows:
    return Rows(rows.t_ms[start:end], {n: c[start:end] for n, c in rows.columns.items()})
