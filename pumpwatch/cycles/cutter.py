"""From rows to cycles: a fill, the run that empties it, and the fill after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.phases import ALL, EARLY, LATE, NEAR, PHASE, PhaseRules, boundaries, describe
from pumpwatch.cycles.rows import MANUAL, POWER_LOST, ROW, merge_rows
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import MAX_PUMPS

Cycles = NDArray[np.void]
Floats = NDArray[np.float64]

REASONS = ("", "gap", "no_fill", "parallel_run", "hand_over", "long_run", "manual", "power_outage")
"""Why a cycle says nothing of one pump; '' for a valid one. `CYCLE` holds the index."""

CYCLE = np.dtype(
    [
        ("start_ms", "i8"),
        ("end_ms", "i8"),
        ("final_ms", "i8"),
        ("reason", "u1"),
        ("pump", "u1"),
        ("last_pump", "u1"),
        ("pumps", "u1"),
        ("parallel", "?"),
        ("flags", "u1"),
        ("run_s", "f8"),
        ("first_s", "f8"),
        ("fill_s", "f8"),
        ("start_level_m", "f8"),
        ("stop_level_m", "f8"),
        ("max_m", "f8"),
        ("min_m", "f8"),
        ("samples", "i4"),
        ("run_slope", "f8"),
        ("run_early", "f8"),
        ("run_late", "f8"),
        ("fill_slope", "f8"),
        ("fill_gap_s", "f8"),
        ("rest_early", "f8"),
        ("rest_near", "f8"),
        ("rest_late", "f8"),
        ("rest_gap_s", "f8"),
        ("rest_s", "f8"),
        ("current_a", "f8"),
        ("scatter_a", "f8"),
        ("low_a", "f8"),
        ("rain_mm", "f8"),
    ]
)
"""One run with the fill before and the rest after it. Slopes in m/s, upward positive; ``pump`` started
it, ``last_pump`` ended it (1-based), ``pumps`` has a bit for each that ran; ``first_s`` is how
long the run was as it began, before another pump joined or took over. ``fill_gap_s`` and
``rest_gap_s``: from the run's middle to the middle of the stretch the fill's slope comes from."""


@dataclass
class CutterState:
    """What the cutter carries over a border; plain bytes and numbers."""

    rows: bytes = b""
    start: int = 0
    joined: bool = False
    broken: bool = True
    phases: bytes = b""
    running: list[float] = field(default_factory=lambda: [0.0] * MAX_PUMPS)
    last_ms: int = -(2**62)
    fill_from_ms: int | None = None
    edges: list[tuple[int, str, float]] = field(default_factory=list)
    dropped: int = 0


class CycleCutter:
    """Cuts one site's record into cycles, in chunks of any size.

    A cycle comes out when the rest after it is known (the next run began, the rest grew longer than one
    piece) or when something broke it, and is the same however the record was split. Run edges wait until
    the samples have passed them, so what is sent at once and what is sent in batches meet in time order.
    """

    def __init__(self, rules: PhaseRules | None = None, state: bytes | None = None) -> None:
        self.rules = rules or PhaseRules()
        self._s = msgspec.msgpack.decode(state, type=CutterState) if state else CutterState()
        self._rows = np.frombuffer(self._s.rows, ROW)
        self._phases = np.frombuffer(self._s.phases, PHASE)

    @property
    def last_ms(self) -> int:
        """Time of the newest row taken, epoch ms."""
        return self._s.last_ms

    @property
    def dropped(self) -> int:
        """Rows left out so far: repeated, or older than what was already cut."""
        return self._s.dropped

    def snapshot(self) -> bytes:
        self._s.rows, self._s.phases = self._rows.tobytes(), self._phases.tobytes()
        return msgspec.msgpack.encode(self._s)

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Cycles:
        """Take rows and edges, return the cycles that became final, in order of time. (k,) of `CYCLE`."""
        s = self._s
        waiting = [*(Edge(*e) for e in s.edges), *edges]
        until = max(int(chunk.t_ms.max()) if len(chunk) else s.last_ms, s.last_ms)
        due = [e for e in waiting if s.last_ms < e.t_ms <= until]
        s.edges = [(e.t_ms, e.signal, e.value) for e in waiting if e.t_ms > until]
        rows, s.running, dropped = merge_rows(chunk, due, s.last_ms, s.running)
        s.dropped += dropped
        if not len(rows):
            return np.zeros(0, CYCLE)
        s.last_ms = until
        self._rows = np.concatenate([self._rows, rows])
        at, joined, broken = boundaries(self._rows, s.start, self.rules)
        joined[0], broken[0] = s.joined, s.broken
        if len(at) == 1:
            return np.zeros(0, CYCLE)
        done = describe(self._rows, at, joined, broken, self.rules)
        first = int(at[-1])
        s.joined, s.broken = bool(joined[-1]), bool(broken[-1])
        s.start = 0 if s.broken else 1
        self._rows = self._rows[first - s.start :].copy()
        self._phases = np.concatenate([self._phases, done])
        return self._assemble()

    def _assemble(self) -> Cycles:
        """Take the finished runs out of the phases on hand."""
        s, ph = self._s, self._phases
        runs = np.append(ph["running"], self._rows["running"][s.start]) > 0
        broken = np.append(ph["broken"], s.broken)
        joined = np.append(ph["joined"], s.joined)
        n = len(ph)
        begins = runs & (np.roll(~runs, 1) | broken | joined)
        begins[0] = runs[0]
        first = np.flatnonzero(begins[:n])
        stop = np.append(first[1:], n)[: len(first)]
        ends = [
            int(a + np.argmin(np.append(runs[a:b], False)) - 1)
            for a, b in zip(first, stop, strict=True)
        ]
        last = np.array(ends, np.intp)
        cut_off = broken[last + 1] | joined[last + 1]
        final = cut_off | (~runs[last + 1] & (last + 1 < n))
        count = int(np.argmin(np.append(final, False)))
        keep_from = self._keep_from(first, last, count, runs, cut_off)
        out = self._cycles(first[:count], last[:count], cut_off[:count], runs, broken, joined)
        if count:
            s.fill_from_ms = int(out["end_ms"][-1])
        if broken[max(int(last[count - 1]) + 1 if count else 0, 1) : keep_from + 1].any():
            s.fill_from_ms = None
        self._phases = ph[keep_from:].copy()
        return out

    def _keep_from(
        self,
        first: NDArray[np.intp],
        last: NDArray[np.intp],
        count: int,
        runs: NDArray[np.bool_],
        cut_off: NDArray[np.bool_],
    ) -> int:
        """The rest before the next unfinished run is all that is still needed."""
        n = len(self._phases)
        if count < len(first):
            nxt = int(first[count])
            return nxt - 1 if nxt > 0 and not runs[nxt - 1] else nxt
        if count and cut_off[count - 1] and int(last[count - 1]) == n - 1:
            return n
        return n - 1 if n and not runs[n - 1] else n

    def _cycles(
        self,
        first: NDArray[np.intp],
        last: NDArray[np.intp],
        cut_off: NDArray[np.bool_],
        runs: NDArray[np.bool_],
        broken: NDArray[np.bool_],
        joined: NDArray[np.bool_],
    ) -> Cycles:
        ph, out = self._phases, np.zeros(len(first), CYCLE)
        if not len(first):
            return out
        a, z = ph[first], ph[last]
        has_fill = (first > 0) & ~runs[np.maximum(first - 1, 0)] & ~a["broken"]
        has_rest = ~cut_off
        fill, rest = ph[np.maximum(first - 1, 0)], ph[np.minimum(last + 1, len(ph) - 1)]
        start = np.where(has_fill, _meet(fill, LATE, a, EARLY), a["t0_ms"])
        end = np.where(has_rest, _meet(z, LATE, rest, EARLY), z["t1_ms"])
        out["start_ms"], out["end_ms"] = np.rint(start), np.rint(np.maximum(end, start))
        out["final_ms"] = np.where(has_rest, rest["after_ms"], z["after_ms"])
        out["run_s"] = (out["end_ms"] - out["start_ms"]) / 1000.0
        out["fill_s"] = self._fill_s(first, last, out, broken)
        self._runs(out, first, last, a, z)
        out["rain_mm"] += np.where(has_fill, fill["rain_mm"], 0.0)
        _fills(out, fill, has_fill, rest, has_rest, self.rules.ceiling_m)
        long = joined[first] | joined[last + 1] & runs[last + 1]
        out["reason"] = self._reason(out, first, last, long, fill, has_fill, rest, has_rest)
        return out

    def _fill_s(
        self,
        first: NDArray[np.intp],
        last: NDArray[np.intp],
        out: Cycles,
        broken: NDArray[np.bool_],
    ) -> Floats:
        """Stop to start [s]; NaN where something between the two is unknown."""
        began = np.full(len(first), np.nan)
        if self._s.fill_from_ms is not None and not broken[1 : first[0] + 1].any():
            began[0] = self._s.fill_from_ms
        breaks = np.cumsum(broken)
        whole = breaks[first[1:]] == breaks[last[:-1]]
        began[1:] = np.where(whole, out["end_ms"][:-1], np.nan)
        return np.asarray((out["start_ms"] - began) / 1000.0)

    def _runs(
        self, out: Cycles, first: NDArray[np.intp], last: NDArray[np.intp], a: Cycles, z: Cycles
    ) -> None:
        ph = self._phases
        spans = np.column_stack([first, last + 1]).ravel()

        def over(ufunc: np.ufunc, name: str) -> Floats:
            values = np.append(ph[name], ph[name][-1:])
            return np.asarray(ufunc.reduceat(values, spans)[::2])

        out["pumps"], out["flags"] = over(np.bitwise_or, "running"), over(np.bitwise_or, "flags")
        out["max_m"], out["min_m"] = over(np.fmax, "max_m"), over(np.fmin, "min_m")
        out["rain_mm"], out["samples"] = over(np.add, "rain_mm"), over(np.add, "samples")
        many = np.append((ph["running"] & (ph["running"] - 1)) > 0, False)
        out["parallel"] = np.logical_or.reduceat(many, spans)[::2]
        out["pump"], out["last_pump"] = _lowest(a["running"]), _lowest(z["running"])
        alone = (a["after_ms"] - a["t0_ms"]) / 1000.0
        single = first == last
        out["first_s"] = np.where(single, out["run_s"], alone)
        for name, stretch in (("run_slope", ALL), ("run_early", EARLY), ("run_late", LATE)):
            out[name] = np.where(single, a["slope"][:, stretch], np.nan)
        column = np.maximum(out["pump"].astype(np.intp) - 1, 0)
        for name in ("current_a", "scatter_a", "low_a"):
            out[name] = np.where(single, a[name][np.arange(len(first)), column], np.nan)

    def _reason(
        self,
        out: Cycles,
        first: NDArray[np.intp],
        last: NDArray[np.intp],
        long: NDArray[np.bool_],
        fill: Cycles,
        has_fill: NDArray[np.bool_],
        rest: Cycles,
        has_rest: NDArray[np.bool_],
    ) -> NDArray[np.uint8]:
        ph, gap_s = self._phases, self.rules.gap_s
        holes = np.array([ph["gap_s"][f : z + 1].max() for f, z in zip(first, last, strict=True)])
        hole = holes > np.maximum(gap_s, 0.2 * out["run_s"])
        for side, there in ((fill, has_fill), (rest, has_rest)):
            length = (side["t1_ms"] - side["t0_ms"]) / 1000.0
            hole |= there & (side["gap_s"] > np.maximum(gap_s, 0.2 * length))
        flags = out["flags"]
        checks = [
            ("power_outage", (flags & POWER_LOST) > 0),
            ("manual", (flags & MANUAL) > 0),
            ("long_run", long),
            ("parallel_run", out["parallel"]),
            ("hand_over", first != last),
            ("no_fill", ~has_fill | ~has_rest),
            ("gap", hole),
        ]
        picked = np.select([c for _, c in checks], [REASONS.index(name) for name, _ in checks], 0)
        return np.asarray(picked, np.uint8)


def _meet(left: Cycles, left_line: int, right: Cycles, right_line: int) -> Floats:
    """When one phase gave way to the next [epoch ms]: at the edge if it was stamped, else where their
    level lines cross between the two samples, else half-way."""
    a, b = left["t1_ms"].astype(np.float64), right["t0_ms"].astype(np.float64)

    def line(phase: Cycles, k: int) -> tuple[Floats, Floats]:
        slope = np.where(
            np.isnan(phase["slope"][:, k]), phase["slope"][:, ALL], phase["slope"][:, k]
        )
        mid = np.where(np.isnan(phase["slope"][:, k]), phase["mid_s"][:, ALL], phase["mid_s"][:, k])
        height = np.where(
            np.isnan(phase["slope"][:, k]), phase["mid_m"][:, ALL], phase["mid_m"][:, k]
        )
        at_a = height + slope * ((a - phase["t0_ms"]) / 1000.0 - mid)
        return slope, at_a

    slope_l, at_l = line(left, left_line)
    slope_r, at_r = line(right, right_line)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = 1000.0 * (at_r - at_l) / (slope_l - slope_r)
    x = np.where(np.isfinite(x), x, (b - a) / 2)
    return np.where(right["exact"], b, a + np.clip(x, 0.0, b - a))


def _lowest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1-based number of the lowest bit set."""
    bits = (mask[:, None] >> np.arange(MAX_PUMPS, dtype=np.uint8)) & 1
    return np.asarray(np.argmax(bits, axis=1) + 1, np.uint8)


def _fills(
    out: Cycles,
    fill: Cycles,
    has_fill: NDArray[np.bool_],
    rest: Cycles,
    has_rest: NDArray[np.bool_],
    ceiling_m: float,
) -> None:
    """Slopes of the fill before and of the rest after, and the levels the run began and ended at."""
    middle = (out["start_ms"] + out["end_ms"]) / 2

    def centre(phase: Cycles, k: int) -> Floats:
        return np.asarray(phase["t0_ms"] + 1000.0 * phase["mid_s"][:, k])

    out["fill_slope"] = np.where(has_fill, fill["slope"][:, LATE], np.nan)
    out["fill_gap_s"] = np.where(has_fill, (middle - centre(fill, LATE)) / 1000.0, np.nan)
    near = np.where(np.isnan(rest["slope"][:, NEAR]), rest["slope"][:, ALL], rest["slope"][:, NEAR])
    mid = np.where(np.isnan(rest["slope"][:, NEAR]), centre(rest, ALL), centre(rest, NEAR))
    out["rest_near"] = np.where(has_rest, near, np.nan)
    out["rest_gap_s"] = np.where(has_rest, (mid - middle) / 1000.0, np.nan)
    out["rest_early"] = np.where(has_rest, rest["slope"][:, EARLY], np.nan)
    out["rest_late"] = np.where(has_rest, rest["slope"][:, LATE], np.nan)
    out["rest_s"] = np.where(has_rest, (rest["t1_ms"] - out["end_ms"]) / 1000.0, np.nan)
    lead = (out["start_ms"] - fill["t1_ms"]) / 1000.0
    rise = np.where(fill["last_m"] <= ceiling_m, np.nan_to_num(fill["slope"][:, LATE]), 0.0)
    out["start_level_m"] = np.where(has_fill, fill["last_m"] + rise * lead, np.nan)
    lag = (rest["t0_ms"] - out["end_ms"]) / 1000.0
    fall = np.nan_to_num(rest["slope"][:, EARLY])
    out["stop_level_m"] = np.where(has_rest, rest["first_m"] - fall * lag, np.nan)
