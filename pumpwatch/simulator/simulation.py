"""The fleet in motion: wells fill, panels start pumps, faults act, instruments read.

All stations step together on arrays (`spec.STEP_S`). A step in which a level reaches a switch is
worked out exactly for that station alone. Everything random belongs to a seed and a moment, so the
result does not depend on how far each call goes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.ports import ActiveFault
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import run_signal
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.faults import FAULTS, Fault
from pumpwatch.simulator.inflow import Inflow
from pumpwatch.simulator.panel import Panel
from pumpwatch.simulator.plant import HEALTHY, Condition, Plant
from pumpwatch.simulator.readings import STEPS_PER_DAY, Instruments, Outbox, Truth
from pumpwatch.simulator.spec import PUMPS, STEP_S, StationSpec
from pumpwatch.simulator.weather import BIN_S, Climate, Sky
from pumpwatch_edge import source

Floats = NDArray[np.float64]

STEP_MS = STEP_S * 1000
_FAULT_GRID_MS = MINUTE_MS
"""How often faults are looked at: an onset or a repair takes effect at the next full minute."""
_SEVERITY_GRID_MS = 10 * MINUTE_MS
_BLOCK_MS = 3 * HOUR_MS
"""Truth is kept for this long before it is read by the instruments: it bounds the memory."""
_MAX_SWITCHES = 20
"""Switching moments one station may have within one step before the rest of it is let go."""

# rows of the mode array: what holds for a station until something switches
_ON, _AMPS, _AMPS_SLOPE, _SCATTER = 0, PUMPS, 2 * PUMPS, 3 * PUMPS
_FLOAT, _POWER, _TELEMETRY, _MODES = 4 * PUMPS, 4 * PUMPS + 1, 4 * PUMPS + 2, 4 * PUMPS + 3


@dataclass(slots=True)
class Injection:
    """A fault at work: its course of hourly severities from ``onset_ms`` on."""

    site: str
    code: str
    target: str | None
    onset_ms: int
    breakdown_ms: int
    until_ms: int | None
    course: Floats
    fault: Fault

    @property
    def pump(self) -> int | None:
        return None if self.target is None else int(self.target.removeprefix("pump")) - 1

    def acts(self, t_ms: int) -> bool:
        return self.onset_ms <= t_ms and (self.until_ms is None or t_ms < self.until_ms)

    def severity(self, t_ms: int) -> float:
        """Between 0 at onset and 1 at breakdown; 0 where it does not act."""
        if not self.acts(t_ms):
            return 0.0
        at_h = (t_ms - self.onset_ms) / HOUR_MS
        return float(np.interp(at_h, np.arange(len(self.course)), self.course))


@dataclass(frozen=True, slots=True)
class Balance:
    """Water since the start, each (stations,) m3: what a fleet took in, gave out and holds."""

    inflow: Floats
    pumped: Floats
    """Out of the well through the pumps, less what circulated through a leaking valve."""
    returned: Floats
    """Back into the well from the rising main."""
    delivered: Floats
    """Out of the far end of the rising main."""
    spilled: Floats
    stored: Floats
    """In the well."""
    main_empty: Floats
    """Missing from the rising main."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """What was true at one station minute by minute, each (minutes,).

    ``t_ms`` is the beginning of a minute, ``inflow_m3s`` the mean flow into the well,
    ``spilled_m3`` the water lost at the cover, ``rain_mm_h`` falls on the district.
    """

    t_ms: NDArray[np.int64]
    inflow_m3s: Floats
    spilled_m3: Floats
    rain_mm_h: Floats


class Simulation:
    """Stations under one sky, from ``start_ms`` (rounded down to the step) on."""

    def __init__(
        self,
        specs: Sequence[StationSpec],
        seed: int,
        start_ms: int,
        climate: Climate | None = None,
        sky: Sky | None = None,
    ) -> None:
        if not specs:
            raise InvalidInput("specs", "no station", "give at least one")
        self.specs = tuple(specs)
        self.seed = seed
        self.start_ms = start_ms - start_ms % STEP_MS
        self._now_ms = self.start_ms
        self._lock = threading.RLock()
        self._row = {spec.site.site: i for i, spec in enumerate(self.specs)}
        if len(self._row) < len(self.specs):
            raise InvalidInput("specs", "two stations have one id", "give each its own")
        sky = sky or Sky(seed, climate)
        self.weather = {d: sky.over(d) for d in dict.fromkeys(s.district for s in self.specs)}
        self._inflows = [
            Inflow(s.site.site, s.catchment, s.site.timezone, self.weather[s.district], seed)
            for s in self.specs
        ]
        self._instruments = [Instruments(s, seed) for s in self.specs]
        self._outboxes = [Outbox() for _ in self.specs]
        self._injections: list[Injection] = []
        self._truths: deque[tuple[int, Floats, Floats]] = deque(maxlen=DAY_MS // _BLOCK_MS)
        self._set_up_plant()
        self._day = -1

    def _set_up_plant(self) -> None:
        n = len(self.specs)
        self._plant = Plant(self.specs)
        self._area = np.array([float(s.site.area_m2 or 0) for s in self.specs])
        self._conditions: list[Condition] = [HEALTHY] * n
        self._chance = [generator(self.seed, s.site.site, "runs") for s in self.specs]
        self._panels = [
            Panel(s.site, int(rng.integers(PUMPS))) for s, rng in zip(self.specs, self._chance, strict=True)
        ]  # fmt: skip
        low = self._plant.low_m
        band = np.array([float(s.site.start_level_m or 0) for s in self.specs]) - low
        self._level = low + band * np.array([rng.uniform(0.1, 0.9) for rng in self._chance])
        self._flow = np.zeros(n)
        self._flow_slope = np.zeros(n)
        self._drain = np.zeros(n)
        self._upper = np.zeros(n)
        self._lower = np.zeros(n)
        self._modes = np.zeros((_MODES, n))
        self._main_empty = np.zeros(n)
        self._sums = np.zeros((5, n))
        self._grip = np.ones((PUMPS, n))
        self._load = np.ones((PUMPS, n))
        self._net = np.zeros((n, 3, 2))
        self._pump = np.zeros((n, 3, 2, PUMPS))
        self._leak = np.zeros((n, PUMPS))
        self._solve(np.arange(n))
        for i in range(n):
            self._settle(i)

    # -- what may be asked ------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """How far the fleet has been stepped."""
        return self._now_ms

    @property
    def injections(self) -> tuple[Injection, ...]:
        """Every fault there ever was, also repaired ones."""
        with self._lock:
            return tuple(self._injections)

    def spec(self, site: str) -> StationSpec:
        return self.specs[self._index(site)]

    def signals(self, site: str) -> dict[str, dict[str, object]]:
        """What a station publishes: signal → unit and range."""
        return self._instruments[self._index(site)].signals()

    def targets(self, site: str) -> list[str]:
        """The pumps of a station by name."""
        return [f"pump{n + 1}" for n in range(len(self.spec(site).pumps))]

    def balance(self) -> Balance:
        with self._lock:
            inflow, pumped, returned, delivered, spilled = self._sums.copy()
            stored = self._area * self._level
            empty = self._main_empty.copy()
        return Balance(inflow, pumped, returned, delivered, spilled, stored, empty)

    def _index(self, site: str) -> int:
        if site not in self._row:
            known = ", ".join(list(self._row)[:6])
            raise InvalidInput("site", f"{site!r} is not simulated", f"use one of {known} …")
        return self._row[site]

    # -- faults -----------------------------------------------------------------------------

    def inject(
        self,
        site: str,
        fault: str,
        target: str | None = None,
        at_ms: int | None = None,
        *,
        growth_h: float | None = None,
        until_ms: int | None = None,
        **options: float,
    ) -> Injection:
        """Start a fault at ``at_ms`` (by default now; never earlier than the fleet has come).

        ``growth_h`` is the time to breakdown, ``until_ms`` the repair; both have the fault's own
        defaults. Raises `InvalidInput` naming the field, `Conflict` if it is already at work.
        """
        with self._lock:
            self._index(site)
            kind = _fault_class(fault)
            self._check_target(site, kind, target)
            onset = max(self._now_ms, self._now_ms if at_ms is None else at_ms)
            grows = kind.growth_h if growth_h is None or kind.growth_h == 0 else growth_h
            if not math.isfinite(grows) or grows < 0:
                raise InvalidInput(
                    "growth_h", f"{grows} is not a duration", "give hours, 0 or more"
                )
            if until_ms is None and kind.lasts_h is not None:
                until_ms = onset + int(kind.lasts_h * HOUR_MS)
            if until_ms is not None and until_ms <= onset:
                raise InvalidInput("until_ms", "the repair is not after the onset", "correct it")
            for other in self._injections:
                same = (other.site, other.code, other.target) == (site, fault, target)
                overlaps = until_ms is None or other.onset_ms < until_ms
                if same and overlaps and (other.until_ms is None or onset < other.until_ms):
                    raise Conflict(f"{fault} is already at work at {site}", "clear it first")
            try:
                acting = kind(**options)
            except TypeError:
                raise InvalidInput(
                    "options", f"{fault} has no {', '.join(options)}", "leave it out"
                ) from None
            rng = generator(self.seed, site, fault, target or "", onset)
            injection = Injection(
                site, fault, target, onset, onset + int(grows * HOUR_MS), until_ms,
                acting.course(grows, rng), acting,
            )  # fmt: skip
            self._injections.append(injection)
            return injection

    def _check_target(self, site: str, kind: type[Fault], target: str | None) -> None:
        pumps = self.targets(site)
        if kind.on_pump and target not in pumps:
            named = "missing" if target is None else f"{target!r} is not at {site}"
            raise InvalidInput("target", named, f"use {' or '.join(pumps)}")
        if not kind.on_pump and target is not None:
            raise InvalidInput(
                "target", f"{kind.code} befalls the whole station, not {target}", "leave it out"
            )

    def clear(
        self, site: str, fault: str, target: str | None = None, at_ms: int | None = None
    ) -> None:
        """Repair a fault at ``at_ms`` (by default now). Raises `NotFound` if it is not at work."""
        with self._lock:
            self._index(site)
            end = max(self._now_ms, self._now_ms if at_ms is None else at_ms)
            for injection in self._injections:
                same = (injection.site, injection.code, injection.target) == (site, fault, target)
                if same and (injection.until_ms is None or end < injection.until_ms):
                    injection.until_ms = end
                    return
        raise NotFound(
            f"{fault} is not at work at {site}" + (f" {target}" if target else ""),
            "see the faults at work",
        )

    def active(self) -> list[ActiveFault]:
        """The faults at work now, and those that are due."""
        with self._lock:
            return [
                ActiveFault(i.site, i.code, i.target, i.onset_ms)
                for i in self._injections
                if i.until_ms is None or self._now_ms < i.until_ms
            ]

    # -- time -------------------------------------------------------------------------------

    def advance(self, to_ms: int) -> None:
        """Step every station up to the last full step at or before ``to_ms``."""
        with self._lock:
            end_ms = to_ms - to_ms % STEP_MS
            while self._now_ms < end_ms:
                block_end_ms = (self._now_ms // _BLOCK_MS + 1) * _BLOCK_MS
                self._advance_within_day(min(end_ms, block_end_ms))

    def _advance_within_day(self, end_ms: int) -> None:
        begin_ms = self._now_ms
        day, first = divmod(begin_ms // STEP_MS, STEPS_PER_DAY)
        self._load_day(day)
        steps = (end_ms - begin_ms) // STEP_MS
        levels = np.empty((steps, len(self.specs)))
        modes = np.empty((steps, *self._modes.shape))
        spilled = np.empty((steps + 1, len(self.specs)))
        spilled[0] = self._sums[4]
        done = 0
        while done < steps:
            if self._now_ms % _FAULT_GRID_MS == 0:
                self._apply_faults()
            part = steps - done
            if self._faults_to_watch():
                part = min(part, (_FAULT_GRID_MS - self._now_ms % _FAULT_GRID_MS) // STEP_MS)
            here = slice(done, done + part)
            self._step(first + done, levels[here], modes[here], spilled[1:][here])
            done += part
        self._publish(begin_ms, levels, modes)
        self._truths.append(
            (begin_ms, self._inflow[first : first + steps], np.diff(spilled, axis=0))
        )

    def _load_day(self, day: int) -> None:
        if day == self._day:
            return
        self._day = day
        self._inflow = np.column_stack([flow.day_m3s(day, STEP_S) for flow in self._inflows])
        per_bin = BIN_S // STEP_S
        self._rain_mm_h = {
            district: np.repeat(weather.rain_mm(day) * 3600 / BIN_S, per_bin)
            for district, weather in self.weather.items()
        }

    def _step(self, first: int, levels: Floats, modes: Floats, spilled: Floats) -> None:
        """Run ``len(levels)`` steps from step ``first`` of the day, recording each one's end."""
        level, main_empty = self._level, self._main_empty
        inflow_sum, pumped_sum, returned_sum, delivered_sum, _ = self._sums
        per_area = STEP_S / self._area
        begin_ms = self._now_ms
        # a leak may begin or heal between calls, never within one
        drains = bool(self._leak.any() or main_empty.any())
        for k in range(len(levels)):
            flow_in = self._inflow[first + k]
            out = self._flow_slope * level
            out += self._flow
            np.maximum(out, 0.0, out=out)
            gain = flow_in - out
            if drains:
                back = self._run_back(main_empty)
                gain += back
            new = gain * per_area
            new += level
            switching = np.flatnonzero((new >= self._upper) | (new <= self._lower))
            into = flow_in * STEP_S
            out *= STEP_S
            if drains:
                back *= STEP_S
            if len(switching):
                # these are worked out, and their water booked, one by one below
                into[switching] = out[switching] = 0.0
                if drains:
                    back[switching] = 0.0
            inflow_sum += into
            pumped_sum += out
            if drains:
                returned_sum += back
                main_empty += back
            main_empty -= out
            delivered_sum -= np.minimum(main_empty, 0.0)
            np.maximum(main_empty, 0.0, out=main_empty)
            for i in switching:
                new[i] = self._switch(int(i), float(flow_in[i]), begin_ms + k * STEP_MS)
            level[:] = new
            levels[k] = new
            modes[k] = self._modes
            spilled[k] = self._sums[4]
        self._now_ms = begin_ms + len(levels) * STEP_MS

    def _run_back(self, main_empty: Floats) -> Floats:
        """Flow from the main through leaking valves of idle stations; ceases as it empties."""
        full = np.maximum(1 - main_empty / self._plant.main_m3, 0.0)
        return np.asarray(self._drain * np.sqrt(full))

    def _switch(self, i: int, flow_in: float, begin_ms: int) -> float:
        """One step of one station from switch to switch; returns the level at its end."""
        level, left = float(self._level[i]), float(STEP_S)
        area, panel = float(self._area[i]), self._panels[i]
        for _ in range(_MAX_SWITCHES):
            out = max(float(self._flow[i] + self._flow_slope[i] * level), 0.0)
            full = max(1 - float(self._main_empty[i]) / float(self._plant.main_m3[i]), 0.0)
            back = float(self._drain[i]) * math.sqrt(full)
            rate = (flow_in - out + back) / area
            bound = float(self._upper[i] if rate > 0 else self._lower[i])
            reached = rate != 0 and (level + rate * left - bound) * rate >= 0
            span = min(max((bound - level) / rate, 0.0), left) if reached else left
            self._flowed(i, flow_in * span, out * span, back * span)
            left -= span
            level = bound if reached else level + rate * span
            if not reached:
                break
            if rate > 0 and bound == panel.cover_m:
                self._flowed(i, flow_in * left, out * left, back * left)
                self._sums[4, i] += rate * area * left
                break
            self._respond(i, level, begin_ms + round((STEP_S - left) * 1000))
        return level

    def _flowed(self, i: int, flow_in: float, out: float, back: float) -> None:
        """Book volumes [m3] of one station."""
        empty = float(self._main_empty[i]) + back - out
        self._main_empty[i] = max(empty, 0.0)
        self._sums[:4, i] += (flow_in, out, back, max(-empty, 0.0))

    # -- switching --------------------------------------------------------------------------

    def _respond(self, i: int, level_m: float, t_ms: int) -> None:
        """Let the panel decide at ``level_m``, and publish what it changed as edges."""
        panel, power = self._panels[i], self._conditions[i].power
        running, float_up = list(panel.running), panel.float_up
        panel.respond(level_m, power)
        for pump, (was, runs) in enumerate(zip(running, panel.running, strict=True)):
            if runs and not was:
                self._draw_run(i, pump)
            if runs != was:
                self._edge(i, t_ms, run_signal(pump + 1), runs)
        if panel.float_up != float_up:
            self._edge(i, t_ms, "high_level", panel.float_up)
        self._settle(i)

    def _draw_run(self, i: int, pump: int) -> None:
        """How this run differs from the last in flow and current: rags shift, the supply wanders."""
        spread = self.specs[i].run_spread + self._conditions[i].pumps[pump].scatter
        draws = np.clip(self._chance[i].standard_normal(2), -3, 3)
        self._grip[pump, i], self._load[pump, i] = 1 + spread * draws

    def _edge(self, i: int, t_ms: int, signal: str, value: bool) -> None:
        if self._conditions[i].telemetry:
            self._outboxes[i].put_edge(Edge(t_ms, signal, float(value)))

    def _settle(self, i: int) -> None:
        """Bring the arrays of a station in line with its panel and condition."""
        panel, condition, modes = self._panels[i], self._conditions[i], self._modes
        self._lower[i], self._upper[i] = panel.bounds(condition.power)
        state = sum(1 << pump for pump, runs in enumerate(panel.running) if runs) - 1
        self._flow[i] = self._flow_slope[i] = self._drain[i] = 0.0
        modes[_ON : _ON + PUMPS, i] = panel.running
        modes[_AMPS : _SCATTER + PUMPS, i] = 0.0
        modes[_FLOAT, i] = panel.float_up
        modes[_POWER, i] = condition.power
        modes[_TELEMETRY, i] = condition.telemetry
        if state < 0:
            self._drain[i] = self._leak[i].sum() * math.sqrt(self._plant.lift_m[i])
            return
        grip = float(np.prod([self._grip[p, i] for p in range(PUMPS) if panel.running[p]]))
        self._flow[i], self._flow_slope[i] = self._line(i, self._net[i, state] * grip)
        for pump in range(PUMPS):
            if panel.running[pump]:
                amps = self._amps(i, pump, self._pump[i, state, :, pump]) * self._load[pump, i]
                modes[_AMPS + pump, i], modes[_AMPS_SLOPE + pump, i] = self._line(i, amps)
                modes[_SCATTER + pump, i] = condition.pumps[pump].scatter

    def _line(self, i: int, ends: Floats) -> tuple[float, float]:
        """Value at level 0 and slope per metre of a line given at stop and high level."""
        low, high = float(self._plant.low_m[i]), float(self._plant.high_m[i])
        slope = float(ends[1] - ends[0]) / (high - low)
        return float(ends[0]) - slope * low, slope

    def _amps(self, i: int, pump: int, flow: Floats) -> Floats:
        """Motor current [A] at a flow: half of it is there at no flow, the rest grows with it."""
        spec, condition = self.specs[i], self._conditions[i].pumps[pump]
        rated = float(spec.site.rated_current_a or 0) * spec.pumps[pump].current_factor
        share = flow / float(self._plant.nominal_m3s[i])
        return np.asarray(rated * condition.current * (0.55 + 0.45 * share))

    # -- faults at work ---------------------------------------------------------------------

    def _faults_to_watch(self) -> bool:
        return any(
            i.until_ms is None or self._now_ms < i.until_ms + _FAULT_GRID_MS
            for i in self._injections
        )

    def _apply_faults(self) -> None:
        """Set every station's condition for this minute; solve anew only what changed."""
        conditions = {i.site: HEALTHY for i in self._injections}
        for injection in self._injections:
            if injection.acts(self._now_ms):
                conditions[injection.site] = self._acted(conditions[injection.site], injection)
        changed = [
            i for i, c in ((self._row[s], c) for s, c in conditions.items()) if c != self._conditions[i]
        ]  # fmt: skip
        if not changed:
            return
        before = [self._conditions[i] for i in changed]
        for i in changed:
            self._conditions[i] = conditions[self.specs[i].site.site]
        self._solve(np.array(changed))
        for i, was in zip(changed, before, strict=True):
            if self._conditions[i].power != was.power:
                self._edge(i, self._now_ms, "power_ok", self._conditions[i].power)
                self._respond(i, float(self._level[i]), self._now_ms)
            self._settle(i)

    def _acted(self, condition: Condition, injection: Injection) -> Condition:
        at_ms = max(self._now_ms - self._now_ms % _SEVERITY_GRID_MS, injection.onset_ms)
        hours = (self._now_ms - injection.onset_ms) / HOUR_MS
        return injection.fault.act(condition, injection.severity(at_ms), injection.pump, hours)

    def _solve(self, rows: NDArray[np.intp]) -> None:
        conditions = [self._conditions[i] for i in rows]
        duty = self._plant.duty(rows, conditions)
        self._net[rows], self._pump[rows] = duty.net, duty.pump
        self._leak[rows] = self._plant.leak_coefficient(rows, conditions)

    # -- what is published ------------------------------------------------------------------

    def _publish(self, begin_ms: int, levels: Floats, modes: Floats) -> None:
        t_ms = begin_ms + STEP_MS * np.arange(1, len(levels) + 1, dtype=np.int64)
        first = begin_ms // STEP_MS % STEPS_PER_DAY
        for i, (spec, instruments) in enumerate(zip(self.specs, self._instruments, strict=True)):
            level, mode = levels[:, i], modes[:, :, i].T
            amps = mode[_AMPS:_AMPS_SLOPE] + mode[_AMPS_SLOPE:_SCATTER] * level
            truth = Truth(
                t_ms,
                level,
                mode[_ON:_AMPS],
                amps,
                mode[_SCATTER:_FLOAT],
                mode[_FLOAT],
                mode[_POWER],
                mode[_TELEMETRY],
                self._rain_mm_h[spec.district][first : first + len(levels)],
            )
            self._outboxes[i].put_rows(instruments.read(truth))

    def next(self, site: str, up_to_ms: int, limit: int) -> list[source.Edge | source.Reading]:
        """Take up to ``limit`` of a station's oldest edges and rows, none after ``up_to_ms``."""
        with self._lock:
            return self._outboxes[self._index(site)].next(up_to_ms, limit)

    def take(self, site: str) -> tuple[Chunk, list[Edge]]:
        """Take everything a station has published and nobody has taken, in columns."""
        with self._lock:
            return self._outboxes[self._index(site)].take()

    def happen(self, event: Event) -> Injection:
        """`inject` what an `Event` says, which must have been checked."""
        growth_h = None
        if event.breakdown_ms is not None:
            growth_h = (event.breakdown_ms - event.start_ms) / HOUR_MS
        return self.inject(
            event.station, event.code, event.target, event.start_ms,
            growth_h=growth_h, until_ms=event.repair_ms, **event.params,
        )  # fmt: skip

    def truth(self, site: str, since_ms: int) -> Minutes:
        """What was true at a station in each full minute from ``since_ms`` (at most a day ago) on."""
        with self._lock:
            i, district = self._index(site), self.spec(site).district
            kept = [k for k in self._truths if k[0] >= since_ms]
        inflow = np.concatenate([k[1][:, i] for k in kept] or [np.zeros(0)])
        spilled = np.concatenate([k[2][:, i] for k in kept] or [np.zeros(0)])
        per_minute = MINUTE_MS // STEP_MS
        minutes = len(inflow) // per_minute
        begin_ms = kept[0][0] if kept else since_ms
        t_ms = begin_ms + MINUTE_MS * np.arange(minutes, dtype=np.int64)
        rain = [self.weather[district].rain_mm_h(int(t)) for t in t_ms[:: BIN_S // 60]]
        return Minutes(
            t_ms,
            inflow[: minutes * per_minute].reshape(-1, per_minute).mean(axis=1),
            spilled[: minutes * per_minute].reshape(-1, per_minute).sum(axis=1),
            np.repeat(rain, BIN_S // 60)[:minutes],
        )


def _fault_class(code: str) -> type[Fault]:
    if code not in FAULTS:
        raise InvalidInput("fault", f"{code!r} is not simulated", f"use one of {', '.join(FAULTS)}")
    return FAULTS[code]


def make_history(
    simulation: Simulation, days: float, progress: Callable[[float], None] | None = None
) -> None:
    """Step ``days`` on from where the simulation stands; ``progress`` hears the share done."""
    begin_ms = simulation.now_ms
    whole_ms = int(days * DAY_MS)
    step_ms = DAY_MS // 4
    for done_ms in [*range(step_ms, whole_ms, step_ms), whole_ms]:
        simulation.advance(begin_ms + done_ms)
        if progress is not None:
            progress(done_ms / whole_ms)
