"""What the panel says: the truth through its instruments, kept until somebody takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import MAX_PUMPS, SIGNALS, SignalKind, current_signal, run_signal
from pumpwatch.simulator import kernel as k
from pumpwatch.simulator.chance import generator, texture
from pumpwatch.simulator.condition import Condition, healthy
from pumpwatch.simulator.spec import StationSpec
from pumpwatch_edge import source

Floats = NDArray[np.float64]

_DIVISOR = {"level_m": 1000.0, "rain_mm_h": 10.0} | {
    current_signal(n + 1): 100.0 for n in range(MAX_PUMPS)
}
"""Analog signals are kept as whole millimetres, tenths of mm/h and hundredths of an ampere."""
_BLANK = np.iinfo(np.int32).min
"""Where the panel said nothing."""
_CHURN = 1.5
_IDLE_CURRENT_A = 0.008
_BROKEN_LOOP_NOISE = 0.3
_MAX_MA = 21.5
_FLOAT_BIT, _POWER_BIT, _FAULT_BIT = 4, 5, 8
_OWN_CONTACTS = ("fault", "overload", "leakage", "seal")


@dataclass(frozen=True, slots=True)
class Truth:
    """Some steps of one station within one UTC day, each (n,): the instant at every step's end.

    ``seen_m`` is what the transmitter shows before noise, ``bits`` the contacts (`kernel.bits_of`),
    ``amps`` (pumps, n). ``pieces``: from when on (epoch ms) it was in which condition.
    """

    t_ms: NDArray[np.int64]
    seen_m: Floats
    bits: NDArray[np.uint16]
    amps: Floats
    rain_mm_h: Floats
    step_ms: int
    pieces: Sequence[tuple[int, Condition]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Published rows: times (n,) and each signal as scaled whole numbers (n,)."""

    t_ms: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.integer]]

    def __len__(self) -> int:
        return len(self.t_ms)

    def floats(self) -> dict[str, Floats]:
        """Every signal in its own unit, (n,) float64; NaN where the panel said nothing."""
        return {name: _unscaled(name, column) for name, column in self.columns.items()}

    def readings(self) -> list[source.Reading]:
        """Row by row, as an agent reads a panel; what is not said is not there."""
        blanks = [name for name, column in self.columns.items() if (column == _BLANK).any()]
        columns = [
            (_unscaled(name, column) if name in _DIVISOR else column).tolist()
            for name, column in self.columns.items()
        ]
        rows = list(map(dict, map(zip, repeat(tuple(self.columns)), zip(*columns, strict=True))))
        for name in blanks:
            for at in np.flatnonzero(self.columns[name] == _BLANK).tolist():
                del rows[at][name]
        return list(map(source.Reading, self.t_ms.tolist(), rows))

    def picked(self, at: NDArray[np.intp]) -> Rows:
        return Rows(self.t_ms[at], {name: column[at] for name, column in self.columns.items()})


def _unscaled(name: str, column: NDArray[np.integer]) -> Floats:
    if name not in _DIVISOR:
        return column.astype(np.float64)
    values = column / _DIVISOR[name]
    if name == "level_m":
        values[column == _BLANK] = np.nan
    return np.asarray(values)


class Instruments:
    """The sensors of one station. A reading depends on its moment, not on who asked when."""

    def __init__(self, spec: StationSpec, seed: int) -> None:
        site = spec.site
        self.spec = spec
        self.pumps = site.pumps
        self.has_current = site.has_current is not False
        self.has_rain = site.has_rain is not False
        self._seed = seed
        self._day: tuple[int, NDArray[np.float32], Floats] | None = None
        self._healthy = healthy(site.pumps)
        self.edge_names = {n: run_signal(n + 1) for n in range(site.pumps)}
        """The signal of each kind of edge of the kernel that the panel sends."""
        self.edge_names[k.FLOAT_EDGE] = "high_level"
        if spec.contacts:
            self.edge_names |= {k.FAULT_EDGE + n: f"pump{n + 1}_fault" for n in range(site.pumps)}

    def signals(self) -> dict[str, dict[str, object]]:
        """The published signals with unit and range, as a birth message lists them."""
        numbers = range(1, self.pumps + 1)
        names = ["level_m", *(run_signal(n) for n in numbers)]
        if self.has_current:
            names += [current_signal(n) for n in numbers]
        names += ["high_level", "power_ok"]
        if self.has_rain:
            names.append("rain_mm_h")
        if self.spec.contacts:
            names += [f"pump{n}_{what}" for n in numbers for what in _OWN_CONTACTS]
            names += ["mode_auto", "door_open"]
        ranges: dict[str, float] = {"level_m": self.spec.sensors.range_m}
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
        """The rows published in ``truth``."""
        every = self.spec.sample_ms // truth.step_ms
        first = int((-(truth.t_ms[0] // truth.step_ms)) % every)
        here = slice(first, None, every)
        t_ms, bits = truth.t_ms[here], truth.bits[here]
        if not len(t_ms):
            return Rows(t_ms, {})
        said = _Said(truth.pieces, t_ms)
        plain = len(truth.pieces) == 1 and truth.pieces[0][1] == self._healthy
        noise, wander = self._chance(t_ms)
        on = [(bits >> n & 1).astype(np.uint8) for n in range(self.pumps)]
        level = self._level_mm(truth.seen_m[here] + wander, bits, noise[0], None if plain else said)
        columns: dict[str, NDArray[np.integer]] = {"level_m": level}
        for n in range(self.pumps):
            columns[run_signal(n + 1)] = on[n]
        if self.has_current:
            for n in range(self.pumps):
                spread = self.spec.sensors.current_noise
                more = 0.0 if plain else said.of_pump(n, "scatter")
                columns[current_signal(n + 1)] = _centiamps(
                    truth.amps[n, here], spread + more, on[n], noise[1]
                )
        columns["high_level"] = (bits >> _FLOAT_BIT & 1).astype(np.uint8)
        columns["power_ok"] = (bits >> _POWER_BIT & 1).astype(np.uint8)
        if self.has_rain:
            columns["rain_mm_h"] = np.rint(truth.rain_mm_h[here] * 10).astype(np.int16)
        if self.spec.contacts:
            columns |= self._contacts(bits, said)
        rows = Rows(t_ms, columns)
        return rows if plain else self._telemetry(rows, said)

    def _contacts(self, bits: NDArray[np.uint16], said: _Said) -> dict[str, NDArray[np.integer]]:
        out: dict[str, NDArray[np.integer]] = {}
        for n in range(self.pumps):
            tripped = bits >> (_FAULT_BIT + n) & 1
            overload = said.of_pump(n, "overload") > 0
            leakage = said.of_pump(n, "leakage") > 0
            phases = said.of(lambda c: c.phases) > 0
            fault = (tripped > 0) | ~phases
            out[f"pump{n + 1}_fault"] = fault.astype(np.uint8)
            out[f"pump{n + 1}_overload"] = (fault & overload).astype(np.uint8)
            out[f"pump{n + 1}_leakage"] = (fault & leakage).astype(np.uint8)
            out[f"pump{n + 1}_seal"] = said.of_pump(n, "seal").astype(np.uint8)
        automatic = said.of(lambda c: c.auto and all(p.forced is None for p in c.pumps))
        out["mode_auto"] = automatic.astype(np.uint8)
        out["door_open"] = said.of(lambda c: c.door).astype(np.uint8)
        return out

    def _telemetry(self, rows: Rows, said: _Said) -> Rows:
        """What silence, a wrong clock, water in the panel and the way there make of the rows."""
        flooded = said.of(lambda c: c.flooded) > 0
        if flooded.any():
            for name, column in rows.columns.items():
                if SIGNALS[name].kind is SignalKind.STATE and name != "power_ok":
                    column[flooded] = 1
        drop, double = said.of(lambda c: c.drop_p), said.of(lambda c: c.repeat_p)
        heard = said.of(lambda c: c.telemetry) > 0
        if drop.any() or double.any():
            chance = self._uniforms("rows", rows.t_ms)
            heard &= chance >= drop
            times = np.where(1 - chance < double, 2, 1)
        else:
            times = np.ones(len(rows), int)
        shift = said.of(lambda c: c.clock_ms).astype(np.int64)
        shifted = Rows(rows.t_ms + shift, rows.columns)
        return shifted.picked(np.repeat(np.arange(len(rows)), np.where(heard, times, 0)))

    def _chance(self, t_ms: NDArray[np.int64]) -> tuple[NDArray[np.float32], Floats]:
        """Standard normal draws for level and, where it is sent, current, (1 or 2, n), and the wandering zero [m], (n,).

        The currents of all pumps share their draw: it is the supply that wanders.
        """
        period = self.spec.sample_ms
        day = int((t_ms[0] - 1) // DAY_MS)
        if self._day is None or self._day[0] != day:
            name, per_day = self.spec.site.site, DAY_MS // period
            rng = generator(self._seed, name, "instruments", day)
            noise = rng.standard_normal((2 if self.has_current else 1, per_day), np.float32)
            wander = np.zeros(per_day)
            if self.spec.sensors.wander_m:
                slow = texture(7200, 600, self._seed, f"{name} wander", day)
                at_s = np.arange(per_day) * (period / 1000)
                wander = self.spec.sensors.wander_m * np.interp(at_s, np.arange(144) * 600.0, slow)
            self._day = day, noise, wander
        at = (t_ms - day * DAY_MS) // period - 1
        whole = slice(int(at[0]), int(at[-1]) + 1)
        return self._day[1][:, whole], self._day[2][whole]

    def _uniforms(self, purpose: str, t_ms: NDArray[np.int64]) -> Floats:
        """Draws in [0, 1) that belong to the moments, (n,)."""
        day = int((t_ms[0] - 1) // DAY_MS)
        rng = generator(self._seed, self.spec.site.site, purpose, day)
        drawn = rng.random(DAY_MS // self.spec.sample_ms)
        return np.asarray(drawn[(t_ms - day * DAY_MS) // self.spec.sample_ms - 1])

    def _level_mm(
        self,
        seen_m: Floats,
        bits: NDArray[np.uint16],
        noise: NDArray[np.float32],
        said: _Said | None,
    ) -> NDArray[np.int32]:
        sensors = self.spec.sensors
        churns = (bits & 15) > 0
        spread = sensors.level_noise_m * np.where(churns, _CHURN, 1.0)
        least: Floats | float = 0.0
        if said is not None:
            spread = spread * said.of(_noise_of)
            least = np.where(said.of(lambda c: c.loop_ma is not None) > 0, -2.0, 0.0)
        level = np.clip(seen_m + spread * noise, least, sensors.range_m * (_MAX_MA - 4) / 16)
        if said is not None:
            level = self._spiked(level, said)
        step_mm = round(sensors.level_step_m * 1000)
        level_mm: Floats = np.rint(level / sensors.level_step_m) * step_mm
        whole = level_mm.astype(np.int32)
        if said is not None:
            blank = said.of(lambda c: c.blank_p)
            if blank.any():
                whole[self._uniforms("blank", said.t_ms) < blank] = _BLANK
        return whole

    def _spiked(self, level: Floats, said: _Said) -> Floats:
        chance = said.of(lambda c: c.spike_p)
        if not chance.any():
            return level
        drawn = self._uniforms("spikes", said.t_ms)
        height = self._uniforms("heights", said.t_ms)
        spiked = np.clip(level + (height - 0.3) * 2.0, 0.0, self.spec.sensors.range_m)
        return np.where(drawn < chance, spiked, level)


class _Said:
    """A property of the condition at each of some moments."""

    def __init__(self, pieces: Sequence[tuple[int, Condition]], t_ms: NDArray[np.int64]) -> None:
        self.t_ms = t_ms
        self._conditions = [condition for _, condition in pieces]
        # a row at t tells of the step that ended there
        begins = np.array([begin for begin, _ in pieces], np.int64)
        ends = np.searchsorted(t_ms, begins, side="right")
        self._counts = np.diff(np.append(ends, len(t_ms)))
        self._counts[0] += ends[0]

    def of_pump(self, n: int, name: str) -> Floats:
        return self.of(lambda c: getattr(c.pumps[n], name))

    def of(self, what: Callable[[Condition], Any]) -> Floats:
        values = np.array([what(c) for c in self._conditions], float)
        return np.repeat(values, self._counts)


def _noise_of(c: Condition) -> float:
    if c.loop_ma is not None:
        return _BROKEN_LOOP_NOISE
    return 0.0 if c.frozen else c.noise


def _centiamps(
    amps: Floats, spread: Floats | float, on: NDArray[np.uint8], noise: NDArray[np.float32]
) -> NDArray[np.int32]:
    running = amps * np.maximum(1 + spread * noise, 0)
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

    def put_edges(self, edges: Sequence[Edge]) -> None:
        self._edges.extend(edges)

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
