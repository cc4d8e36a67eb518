"""The fleet in motion: wells fill, panels start pumps, events act, instruments read.

Stations are stepped on arrays (`stepping`); a step in which something switches is worked out exactly for
that station alone. Everything random belongs to a seed and a moment, so the result does not
depend on how far each call goes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.ports import ActiveFault
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.simulator import kernel as k
from pumpwatch.simulator.catalogue import FAULTS, HARMLESS, kind_of
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.condition import Condition, healthy
from pumpwatch.simulator.engine import Engine
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.faults.base import Acting, FaultKind
from pumpwatch.simulator.inflow import Inflow
from pumpwatch.simulator.readings import Instruments, Outbox, Truth
from pumpwatch.simulator.spec import STEP_S, StationSpec
from pumpwatch.simulator.stepping import Record, stepper
from pumpwatch.simulator.weather import BIN_S, Climate, Sky
from pumpwatch_edge import source

Floats = NDArray[np.float64]

_SEVERITY_GRID_MS = 10 * MINUTE_MS
"""How often severities are looked at; those that grow for days every hour."""
_SLOW_MS = 2 * DAY_MS
_NEVER_MS = 2**62


@dataclass(slots=True)
class Injection:
    """An event at work: its course of hourly severities from ``onset_ms`` on."""

    site: str
    code: str
    target: str | None
    onset_ms: int
    breakdown_ms: int
    until_ms: int | None
    course: Floats
    fault: FaultKind
    params: Mapping[str, float] = field(default_factory=dict)

    @property
    def pump(self) -> int | None:
        return None if self.target is None else int(self.target.removeprefix("pump")) - 1

    @property
    def grid_ms(self) -> int:
        """How often its act is looked at anew."""
        every = self.fault.every_min * MINUTE_MS
        slow = every == _SEVERITY_GRID_MS and self.breakdown_ms - self.onset_ms > _SLOW_MS
        return HOUR_MS if slow else every

    def acts(self, t_ms: int) -> bool:
        return self.onset_ms <= t_ms and (self.until_ms is None or t_ms < self.until_ms)

    def severity(self, t_ms: int) -> float:
        """Between 0 at onset and 1 at breakdown; 0 where it does not act."""
        if not self.acts(t_ms):
            return 0.0
        at_h = (t_ms - self.onset_ms) / HOUR_MS
        return float(np.interp(at_h, np.arange(len(self.course)), self.course))

    def next_ms(self, t_ms: int) -> int | None:
        """The next full minute after ``t_ms`` at which its act may change; None if never again."""
        onset = -(-self.onset_ms // MINUTE_MS) * MINUTE_MS
        if t_ms < onset:
            return onset
        ends = None if self.until_ms is None else -(-self.until_ms // MINUTE_MS) * MINUTE_MS
        if ends is not None and t_ms >= ends:
            return None
        grid = self.grid_ms
        return min((t_ms // grid + 1) * grid, ends or _NEVER_MS)


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
    """In the well and the sewer that backs up from it."""
    main_empty: Floats
    """Missing from the rising main."""
    under_way: Floats
    """In the sewer to the next station, where there is one."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """What was true at one station minute by minute, each (minutes,).

    ``t_ms`` is the beginning of a minute, ``inflow_m3s`` the mean flow into the well,
    ``spilled_m3`` the water lost at the cover, ``level_m`` where the water stands at its end,
    ``rain_mm_h`` falls on the district.
    """

    t_ms: NDArray[np.int64]
    inflow_m3s: Floats
    spilled_m3: Floats
    level_m: Floats
    rain_mm_h: Floats


class Simulation:
    """Stations under one sky, from ``start_ms`` (rounded down to the step) on.

    ``step_s`` (a divisor of 60) is the pace of those that do not sample faster; ``compiled`` insists on
    numba (True) or numpy (False), whose results are the same. Raises `InvalidInput` naming the field.
    """

    def __init__(
        self,
        specs: Sequence[StationSpec],
        seed: int,
        start_ms: int,
        climate: Climate | None = None,
        sky: Sky | None = None,
        step_s: int = STEP_S,
        compiled: bool | None = None,
    ) -> None:
        if not specs:
            raise InvalidInput("specs", "no station", "give at least one")
        if step_s < 1 or 60 % step_s:
            raise InvalidInput("step_s", f"{step_s} does not divide a minute", "use 1 to 60")
        self.specs = tuple(specs)
        self.seed = seed
        self.step_ms = step_s * 1000
        self.start_ms = start_ms - start_ms % self.step_ms
        self._now_ms = self.start_ms
        self._lock = threading.RLock()
        self._row = {spec.site.site: i for i, spec in enumerate(self.specs)}
        if len(self._row) < len(self.specs):
            raise InvalidInput("specs", "two stations have one id", "give each its own")
        sky = sky or Sky(seed, climate)
        self.weather = {d: sky.over(d) for d in dict.fromkeys(s.district for s in self.specs)}
        self._instruments = [Instruments(s, seed) for s in self.specs]
        self._outboxes = [Outbox() for _ in self.specs]
        self._injections: list[Injection] = []
        self._looks: dict[int, int] = {}
        """When the events of a station (by number) are to be looked at next."""
        self._truths: deque[tuple[int, list[Floats]]] = deque()
        self._movers = self._make_engines(step_s, compiled)
        self._place = {
            i: (engine, row) for engine, members in self._movers for row, i in enumerate(members)
        }

    def _make_engines(self, step_s: int, compiled: bool | None) -> list[tuple[Engine, list[int]]]:
        """Stations of one pace share an engine: each with the numbers of its stations."""
        way = stepper(compiled)
        groups: dict[int, list[int]] = {}
        for i, spec in enumerate(self.specs):
            groups.setdefault(min(step_s, spec.sample_ms // 1000), []).append(i)
        made = []
        for step, members in sorted(groups.items()):
            specs = [self.specs[i] for i in members]
            inflows = [
                Inflow(s.site.site, s.catchment, s.site.timezone, self.weather[s.district], self.seed)
                for s in specs
            ]  # fmt: skip
            made.append((Engine(specs, inflows, self.seed, step, self.start_ms, way), members))
        return made

    # -- what may be asked ------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """How far the fleet has been stepped."""
        return self._now_ms

    @property
    def injections(self) -> tuple[Injection, ...]:
        """Every event there ever was, also repaired ones."""
        with self._lock:
            return tuple(self._injections)

    def spec(self, site: str) -> StationSpec:
        return self.specs[self._index(site)]

    def condition(self, site: str) -> Condition:
        """What events have made of a station by now."""
        return self._condition(self._index(site))

    def signals(self, site: str) -> dict[str, dict[str, object]]:
        """What a station publishes: signal → unit and range."""
        return self._instruments[self._index(site)].signals()

    def targets(self, site: str) -> list[str]:
        """The pumps of a station by name."""
        return [f"pump{n + 1}" for n in range(len(self.spec(site).pumps))]

    def balance(self) -> Balance:
        names = (k.IN, k.OUT, k.BACK, k.DELIVERED, k.SPILLED, k.V, k.EMPTY, k.ROUTE)
        found = np.empty((len(names), len(self.specs)))
        with self._lock:
            for engine, members in self._movers:
                found[:, members] = engine.state[list(names)]
                found[-1, members] += engine.state[k.ROUTED] * engine.step_ms / 1000
        return Balance(*found)

    def _index(self, site: str) -> int:
        if site not in self._row:
            known = ", ".join(list(self._row)[:6])
            raise InvalidInput("site", f"{site!r} is not simulated", f"use one of {known} …")
        return self._row[site]

    # -- events -----------------------------------------------------------------------------

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
        """Let something happen at ``at_ms`` (by default now; never earlier than the fleet has come).

        ``growth_h`` is the time to breakdown, ``until_ms`` the repair, ``options`` the parameters; all
        have the kind's own defaults. Raises `InvalidInput` naming the field, `Conflict` if it is already
        at work.
        """
        with self._lock:
            self._index(site)
            kind = _kind(fault)
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
            params = _params(kind, options)
            rng = generator(self.seed, site, fault, target or "", onset)
            injection = Injection(
                site, fault, target, onset, onset + int(grows * HOUR_MS), until_ms,
                kind.course(grows, rng), kind, params,
            )  # fmt: skip
            self._injections.append(injection)
            self._looks[self._index(site)] = 0
            return injection

    def happen(self, event: Event) -> Injection:
        """`inject` what an `Event` says, which must have been checked."""
        growth_h = None
        if event.breakdown_ms is not None:
            growth_h = (event.breakdown_ms - event.start_ms) / HOUR_MS
        return self.inject(
            event.station, event.code, event.target, event.start_ms,
            growth_h=growth_h, until_ms=event.repair_ms, **event.params,
        )  # fmt: skip

    def _check_target(self, site: str, kind: FaultKind, target: str | None) -> None:
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
                    self._looks[self._index(site)] = 0
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
            end_ms = to_ms - to_ms % self.step_ms
            while self._now_ms < end_ms:
                self._advance_block(min(end_ms, (self._now_ms // DAY_MS + 1) * DAY_MS))

    def _advance_block(self, end_ms: int) -> None:
        """Step to ``end_ms`` within one UTC day, then let the instruments read."""
        block_ms = self._now_ms
        blocks = [engine.block(block_ms, end_ms) for engine, _ in self._movers]
        pieces: dict[int, list[tuple[int, Condition]]] = {}
        for i, (engine, row) in self._place.items():
            pieces[i] = [(block_ms, engine.conditions[row])]
        while self._now_ms < end_ms:
            self._look_at_events(pieces)
            until = min([end_ms, *self._due(end_ms)])
            for (engine, members), (record, inflow) in zip(self._movers, blocks, strict=True):
                edges = engine.run(record, inflow, block_ms, self._now_ms, until)
                self._put_edges(edges, members)
            self._now_ms = until
        truth: list[Floats] = [np.empty(0)] * len(self.specs)
        for (engine, members), (record, _) in zip(self._movers, blocks, strict=True):
            self._publish(engine, members, record, block_ms, pieces)
            begin_ms, minutes = engine.minutes(record, block_ms, end_ms)
            for row, i in enumerate(members):
                truth[i] = minutes[:, row]
        self._truths.append((begin_ms, truth))
        while self._truths and self._truths[0][0] < self._now_ms - 2 * DAY_MS:
            self._truths.popleft()

    def _due(self, end_ms: int) -> list[int]:
        """When events are to be looked at again."""
        soonest = (self._now_ms // MINUTE_MS + 1) * MINUTE_MS
        return [max(t, soonest) for t in self._looks.values() if t < end_ms]

    def _look_at_events(self, pieces: dict[int, list[tuple[int, Condition]]]) -> None:
        """Set the condition of the stations whose events are due; work out what changed."""
        if self._now_ms % MINUTE_MS:
            return
        conditions: dict[int, Condition] = {}
        for i in sorted(i for i, due_ms in self._looks.items() if due_ms <= self._now_ms):
            conditions[i] = healthy(len(self.specs[i].pumps))
            mine = [e for e in self._injections if e.site == self.specs[i].site.site]
            for injection in mine:
                if injection.acts(self._now_ms):
                    injection.fault.act(conditions[i], self._acting(injection))
            moments = (e.next_ms(self._now_ms) for e in mine)
            self._looks[i] = min((m for m in moments if m is not None), default=_NEVER_MS)
        if not conditions:
            return
        before = {i: self._condition(i) for i in conditions}
        changed = {i: c for i, c in conditions.items() if c != before[i]}
        for engine, members in self._movers:
            turned = {row: changed[i] for row, i in enumerate(members) if i in changed}
            if turned:
                edges = engine.put(turned, self._now_ms)
                for row, condition in turned.items():
                    i = members[row]
                    pieces[i].append((self._now_ms, condition))
                    if condition.power != before[i].power and condition.telemetry:
                        at_ms = self._now_ms + condition.clock_ms
                        self._outboxes[i].put_edges(
                            [Edge(at_ms, "power_ok", float(condition.power))]
                        )
                self._put_edges(edges, members)

    def _acting(self, injection: Injection) -> Acting:
        spec = self.specs[self._row[injection.site]]
        grid = max(self._now_ms - self._now_ms % injection.grid_ms, injection.onset_ms)
        local = datetime.fromtimestamp(self._now_ms / 1000, ZoneInfo(spec.site.timezone))

        def chance() -> float:
            purpose = ("chance", injection.code, injection.target or "", injection.onset_ms, grid)
            return float(generator(self.seed, injection.site, *purpose).random())

        def rain_mm() -> float:
            weather = self.weather[spec.district]
            return weather.depth_mm(grid - 6 * HOUR_MS, grid)

        return Acting(
            spec, injection.severity(grid), (self._now_ms - injection.onset_ms) / HOUR_MS,
            injection.pump, injection.params, local.hour + local.minute / 60, chance, rain_mm,
        )  # fmt: skip

    # -- what is published ------------------------------------------------------------------

    def _put_edges(self, edges: NDArray[np.int64], members: Sequence[int]) -> None:
        """Hand edges (m, 4) of an engine, in time order for each station, to the stations' outboxes."""
        if not len(edges):
            return
        ordered = edges[np.argsort(edges[:, k.EDGE_STATION], kind="stable")]
        begins = np.flatnonzero(np.diff(ordered[:, k.EDGE_STATION], prepend=-1)).tolist()
        for begin, end in pairwise([*begins, len(ordered)]):
            i = members[int(ordered[begin, k.EDGE_STATION])]
            condition = self._condition(i)
            if not condition.telemetry:
                continue
            names = self._instruments[i].edge_names
            t_ms = (ordered[begin:end, k.EDGE_MS] + condition.clock_ms).tolist()
            kinds = ordered[begin:end, k.EDGE_KIND].tolist()
            values = ordered[begin:end, k.EDGE_VALUE].astype(float).tolist()
            said = zip(t_ms, map(names.get, kinds), values, strict=True)
            self._outboxes[i].put_edges([Edge(t, name, v) for t, name, v in said if name])

    def _condition(self, i: int) -> Condition:
        engine, row = self._place[i]
        return engine.conditions[row]

    def _publish(
        self,
        engine: Engine,
        members: Sequence[int],
        record: Record,
        block_ms: int,
        pieces: Mapping[int, list[tuple[int, Condition]]],
    ) -> None:
        steps = record.level.shape[1]
        t_ms = block_ms + engine.step_ms * np.arange(1, steps + 1, dtype=np.int64)
        bins = (t_ms - 1) % DAY_MS // (BIN_S * 1000)
        rain = {
            district: weather.rain_mm(block_ms // DAY_MS)[bins] * 3600 / BIN_S
            for district, weather in self.weather.items()
        }
        for row, i in enumerate(members):
            truth = Truth(
                t_ms,
                record.seen[row],
                record.bits[row],
                record.amps[:, row],
                rain[self.specs[i].district],
                engine.step_ms,
                pieces[i],
            )
            self._outboxes[i].put_rows(self._instruments[i].read(truth))

    def truth(self, site: str, since_ms: int) -> Minutes:
        """What was true at a station in each full minute from ``since_ms`` (at most a day ago) on."""
        with self._lock:
            i, district = self._index(site), self.spec(site).district
            kept = [(begin, parts[i]) for begin, parts in self._truths if begin >= since_ms]
        begin_ms = kept[0][0] if kept else since_ms
        inflow, spilled, level = np.concatenate(
            [part for _, part in kept] or [np.zeros((3, 0))], axis=1
        )
        t_ms = begin_ms + MINUTE_MS * np.arange(len(inflow), dtype=np.int64)
        rain = self.weather[district].rain_mm_h(t_ms)
        return Minutes(t_ms, inflow / 60, spilled, level, rain)

    def next(self, site: str, up_to_ms: int, limit: int) -> list[source.Edge | source.Reading]:
        """Take up to ``limit`` of a station's oldest edges and rows, none after ``up_to_ms``."""
        with self._lock:
            return self._outboxes[self._index(site)].next(up_to_ms, limit)

    def take(self, site: str) -> tuple[Chunk, list[Edge]]:
        """Take everything a station has published and nobody has taken, in columns."""
        with self._lock:
            return self._outboxes[self._index(site)].take()


def _kind(code: str) -> FaultKind:
    kind = kind_of(code)
    if kind is None:
        known = ", ".join([*FAULTS, *HARMLESS])
        raise InvalidInput("fault", f"{code!r} is not simulated", f"use one of {known}")
    return kind


def _params(kind: FaultKind, options: Mapping[str, float]) -> dict[str, float]:
    unknown = set(options) - set(kind.params)
    if unknown:
        raise InvalidInput(
            "options", f"{kind.code} has no {', '.join(sorted(unknown))}", "leave it out"
        )
    return {name: param.default for name, param in kind.params.items()} | dict(options)


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
