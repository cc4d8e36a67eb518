"""Scenarios: a town, its weather, what happens to whom and when, and which alerts that must lead to.

A scenario is a TOML file. Everything that is wrong with one is found before anything runs, and named by
file, line and remedy.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.domain.faults import FAULT_GROUP, Group
from pumpwatch.domain.sites import LogEntry, Site, site_from_dict
from pumpwatch.simulator.catalogue import FAULTS, HARMLESS, kind_of
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.events import Event, check_events
from pumpwatch.simulator.fleet import DEMO_CLIMATE, Fleet, draw_fleet
from pumpwatch.simulator.scenario_file import (
    AlertTable,
    EventTable,
    FleetTable,
    ScenarioTable,
    StationTable,
)  # fmt: skip
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.toml_lines import KeyPath, line_of
from pumpwatch.simulator.weather import DRY, Climate, Sky, Storm

CLIMATES = {"honshu": Climate(), "mild": DEMO_CLIMATE, "dry": DRY}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An alert that must come, or may: of a group (or one fault), at a station (and target), in time.

    ``line`` is where the scenario says so.
    """

    station: str
    group: Group
    fault: str | None
    target: str | None
    after_ms: int
    by_ms: int
    line: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that can be run; times are epoch ms."""

    name: str
    title: str
    seed: int
    start_ms: int
    end_ms: int
    fleet: Fleet
    sky: Sky
    events: tuple[Event, ...] = ()
    log: Mapping[str, tuple[LogEntry, ...]] = field(default_factory=dict)
    """Site → what the crews wrote down."""
    expected: tuple[Wanted, ...] = ()
    allowed: tuple[Wanted, ...] = ()


def shipped() -> dict[str, str]:
    """Name → title of the scenarios that come with pumpwatch."""
    return {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8"))["title"]
        for file in sorted(_SHIPPED.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".toml")
    }


_SHIPPED = resources.files("pumpwatch.simulator") / "scenarios"


def load_scenario(name: str) -> Scenario:
    """Read and check a scenario: a file, or one of `shipped` by name.

    Raises `InvalidInput` whose field is ``FILE:LINE``, `NotFound` where there is no such file or name.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise NotFound(f"there is no scenario file {path}", "check the path")
        return read_scenario(path.read_text(encoding="utf-8"), name)
    known = list(shipped())
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
        raise NotFound(f"no scenario {name!r} is shipped", f"{hint}; a file's name ends in .toml")
    file = _SHIPPED / f"{name}.toml"
    return read_scenario(file.read_text(encoding="utf-8"), f"{name}.toml")


def read_scenario(text: str, file: str) -> Scenario:
    """The scenario in ``text``; ``file`` is how problems name it. Raises `InvalidInput`."""
    try:
        raw = tomllib.loads(text)
        table = ScenarioTable.model_validate(raw)
        return _Reader(table, Path(file).stem, text).scenario()
    except tomllib.TOMLDecodeError as error:
        line = getattr(error, "lineno", None) or _line_in(str(error))
        raise InvalidInput(f"{file}:{line}", f"is not TOML: {error}", "correct that line") from None
    except ValidationError as error:
        raise _shape_problem(error, text, file) from None
    except _Problem as problem:
        line = line_of(text, problem.path)
        where = _written(problem.path)
        raise InvalidInput(f"{file}:{line}", f"{where}: {problem.what}", problem.remedy) from None


class _Problem(Exception):
    """What is wrong at one place of the file, before the line is known."""

    def __init__(self, path: KeyPath, what: str, remedy: str) -> None:
        super().__init__(what)
        self.path, self.what, self.remedy = path, what, remedy


def _line_in(message: str) -> int:
    """The line tomllib names, in words only before Python 3.14."""
    words = message.replace(",", " ").split()
    return int(words[words.index("line") + 1]) if "line" in words else 1


def _written(path: KeyPath) -> str:
    """``event[2].start``, counted from 1 as people do."""
    words = ""
    for step in path:
        words += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if words else step
    return words


def _shape_problem(error: ValidationError, text: str, file: str) -> InvalidInput:
    """The first problem of shape in the file's own order."""
    problems = [(line_of(text, p["loc"]), p) for p in error.errors()]
    line, problem = min(problems, key=lambda pair: pair[0])
    path, context = problem["loc"], problem.get("ctx", {})
    what, remedy = problem["msg"].lower(), "correct it"
    if problem["type"] == "scenario":
        what, remedy = problem["msg"], context["remedy"]
    elif problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(path[-1]), _keys_at(path[:-1]), n=1)
        what = "there is no such key"
        remedy = f"did you mean {near[0]!r}?" if near else "take it out, or see docs/simulator.md"
    elif problem["type"] == "missing":
        what, remedy = "is missing", "add it"
    return InvalidInput(f"{file}:{line}", f"{_written(path)}: {what}", remedy)


def _keys_at(path: KeyPath) -> list[str]:
    """The keys a table may have."""
    model: Any = ScenarioTable
    for step in path:
        if isinstance(step, str):
            annotation = model.model_fields[step].annotation
            model = next((a for a in getattr(annotation, "__args__", ())), annotation)
    return list(getattr(model, "model_fields", {}))


class _Reader:
    """Turns the tables of one file into a `Scenario`, or stops at the first thing that cannot be."""

    def __init__(self, table: ScenarioTable, name: str, text: str) -> None:
        self._table, self._name, self._text = table, name, text
        try:
            self._zone = ZoneInfo(table.timezone)
        except (KeyError, ValueError, OSError):
            raise _Problem(
                ("timezone",), f"{table.timezone!r} is unknown", "use an IANA name, e.g. Asia/Tokyo"
            ) from None
        self._start_ms, self._end_ms = self._span()
        self._fleet = self._stations()
        self._ids = [spec.site.site for spec in self._fleet.stations]

    def scenario(self) -> Scenario:
        table = self._table
        written = list(self._events())
        _refuse_overlaps(written)
        sky_seed = table.seed if table.fleet.seed is None else table.fleet.seed
        return Scenario(
            name=self._name,
            title=table.title,
            seed=table.seed,
            start_ms=self._start_ms,
            end_ms=self._end_ms,
            fleet=self._fleet,
            sky=Sky(sky_seed, CLIMATES[table.weather.climate], list(self._storms())),
            events=tuple(event for _, event in written),
            log=self._log(written),
            expected=tuple(self._wanted("expect", table.expect)),
            allowed=tuple(self._wanted("allow", table.allow)),
        )

    # -- time ---------------------------------------------------------------------------------

    def _span(self) -> tuple[int, int]:
        span = self._table.span
        begin = self._local(span.start, ("span", "start"))
        if (span.end is None) == (span.days is None):
            raise _Problem(("span",), "needs one of end and days", "give how long it lasts")
        if span.end is not None:
            end = self._local(span.end, ("span", "end"))
        else:
            # days of the calendar, whatever the clocks do meanwhile
            end = begin + timedelta(days=span.days or 0)
        start_ms, end_ms = _ms(begin), _ms(end)
        if end_ms <= start_ms:
            raise _Problem(("span", "end"), "the end is not after the start", "give a later end")
        return start_ms, end_ms

    def _local(self, moment: datetime, path: KeyPath) -> datetime:
        if moment.tzinfo is not None:
            return moment.astimezone(self._zone)
        local = moment.replace(tzinfo=self._zone)
        if local.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != moment:
            raise _Problem(
                path,
                f"{moment} does not exist in {self._zone.key}: the clocks skip it",
                "take another time, or write it with its offset",
            )
        return local

    def _when(self, value: datetime | timedelta, since_ms: int, path: KeyPath) -> int:
        if isinstance(value, timedelta):
            return since_ms + round(value.total_seconds() * 1000)
        return _ms(self._local(value, path))

    def _inside(self, t_ms: int, path: KeyPath) -> int:
        if not self._start_ms <= t_ms < self._end_ms:
            raise _Problem(
                path,
                f"{_shown(t_ms, self._zone)} is outside the span",
                f"it runs from {_shown(self._start_ms, self._zone)} to {_shown(self._end_ms, self._zone)}",
            )
        return t_ms

    # -- stations -----------------------------------------------------------------------------

    def _stations(self) -> Fleet:
        table, given = self._table.fleet, self._table.station
        seed = self._table.seed if table.seed is None else table.seed
        if table.draw + len(given) == 0:
            raise _Problem(("fleet",), "no station", "draw some, or give [[station]] tables")
        drawn = draw_fleet(seed, table.draw + len(given), self._start_ms).stations
        specs = {spec.site.site: spec for spec in _mixed(drawn[: table.draw], table, seed)}
        for i, (station, base) in enumerate(zip(given, drawn[table.draw :], strict=True)):
            specs[station.site] = self._given(i, station, specs.get(station.site, base))
        for site in table.keep or []:
            if site not in specs:
                raise _Problem(("fleet", "keep"), *_unknown("station", site, specs))
        for district, sites in table.district.items():
            for site in sites:
                if site not in specs:
                    path = ("fleet", "district", district)
                    raise _Problem(path, *_unknown("station", site, specs))
                specs[site] = replace(specs[site], district=district)
        kept = [s for site, s in specs.items() if table.keep is None or site in table.keep]
        ids = {s.site.site for s in kept}
        zoned = [
            replace(
                s,
                site=replace(s.site, timezone=self._zone.key),
                downstream=s.downstream if s.downstream in ids else None,
            )
            for s in kept
        ]
        return Fleet(seed, self._start_ms, tuple(zoned))

    def _given(self, i: int, table: StationTable, base: StationSpec) -> StationSpec:
        own = {**(table.model_extra or {}), "site": table.site}
        known = [f.name for f in fields(Site) if f.name != "timezone"]
        for key in own:
            if key not in known:
                raise _Problem(("station", i, key), *_unknown("key", key, known))
        if "well_diameter_m" in own:
            own.setdefault("well_area_m2", None)
        try:
            site = site_from_dict({**base.site.to_dict(), **own})
            return replace(base, site=site, district=table.district or base.district)
        except InvalidInput as error:
            if error.field not in own:
                raise _Problem(("station", i), error.problem, error.remedy) from None
            what = error.problem.removeprefix(f"{error.field}: ")
            raise _Problem(("station", i, error.field), what, error.remedy) from None

    def _befallen(self, table: EventTable | AlertTable, path: KeyPath) -> list[str]:
        """The stations a table is about."""
        if (table.station is None) == (table.district is None):
            raise _Problem(path, "needs one of station and district", "say whom it befalls")
        if table.district is not None:
            found = [
                s.site.site for s in self._fleet.stations if s.district == table.district
            ]  # fmt: skip
            if not found:
                districts = {s.district for s in self._fleet.stations}
                raise _Problem(
                    (*path, "district"), *_unknown("district", table.district, districts)
                )
            return found
        if table.station == ["*"]:
            return self._ids
        for site in table.station or []:
            if site not in self._ids:
                raise _Problem((*path, "station"), *_unknown("station", site, self._ids))
        return table.station or []

    # -- what happens -------------------------------------------------------------------------

    def _storms(self) -> Iterator[Storm]:
        districts = {s.district for s in self._fleet.stations}
        for i, storm in enumerate(self._table.weather.storm):
            path: KeyPath = ("weather", "storm", i)
            if storm.district not in {None, *districts}:
                raise _Problem(
                    (*path, "district"), *_unknown("district", str(storm.district), districts)
                )
            where = (*path, "start")
            start_ms = self._inside(_ms(self._local(storm.start, where)), where)
            yield Storm(start_ms, storm.hours, storm.depth_mm, storm.district)

    def _events(self) -> Iterator[tuple[int, Event]]:
        """(number of its table, event), one for each station it befalls."""
        for i, table in enumerate(self._table.event):
            path: KeyPath = ("event", i)
            kind = kind_of(table.what)
            if kind is None:
                raise _Problem(
                    (*path, "what"), *_unknown("event", table.what, [*FAULTS, *HARMLESS])
                )
            start = self._inside(
                self._when(table.start, self._start_ms, (*path, "start")), (*path, "start")
            )
            later = {
                key: None if value is None else self._when(value, start, (*path, key))
                for key, value in (("breakdown", table.breakdown), ("repair", table.repair))
            }
            if later["repair"] is None and kind.lasts_h is not None:
                later["repair"] = start + round(kind.lasts_h * HOUR_MS)
            for site in self._befallen(table, path):
                event = Event(
                    site, table.what, table.target, start,
                    later["breakdown"], later["repair"], table.params,
                )  # fmt: skip
                self._check(event, path, table.params)
                yield i, event

    def _check(self, event: Event, path: KeyPath, params: Mapping[str, float]) -> None:
        try:
            check_events([event], self._fleet.stations)
        except InvalidInput as error:
            key = error.field.removesuffix("_ms")
            inner = ("params", key) if key in params else (key,)
            what = error.problem.removeprefix(f"{error.field}: ")
            raise _Problem((*path, *inner), what, error.remedy) from None

    def _log(self, written: Iterable[tuple[int, Event]]) -> dict[str, tuple[LogEntry, ...]]:
        log: dict[str, tuple[LogEntry, ...]] = {}
        for i, event in written:
            kind = self._table.event[i].log
            if kind is None:
                continue
            t_ms = event.start_ms if event.kind.harmless else event.repair_ms
            if t_ms is None:
                raise _Problem(
                    ("event", i, "log"), "a fault is logged when it is repaired", "give repair"
                )
            entry = LogEntry(t_ms, kind, event.target, event.kind.en)
            log[event.station] = (*log.get(event.station, ()), entry)
        return log

    # -- what is expected ---------------------------------------------------------------------

    def _wanted(self, key: str, tables: Sequence[AlertTable]) -> Iterator[Wanted]:
        for i, table in enumerate(tables):
            path: KeyPath = (key, i)
            group = _group(table, path)
            after = self._start_ms
            if table.after is not None:
                after = self._when(table.after, self._start_ms, (*path, "after"))
            by = self._end_ms
            if table.by is not None:
                by = self._when(table.by, after, (*path, "by"))
            if by <= after:
                raise _Problem((*path, "by"), "it is not after its beginning", "give a later time")
            line = line_of(self._text, path)
            for site in self._befallen(table, path):
                yield Wanted(site, group, table.fault, table.target, after, by, line)


def _group(table: AlertTable, path: KeyPath) -> Group:
    if table.fault is not None:
        if table.fault not in FAULT_GROUP:
            raise _Problem((*path, "fault"), *_unknown("fault", table.fault, FAULT_GROUP))
        group = FAULT_GROUP[table.fault]
        if table.group not in (None, group):
            raise _Problem((*path, "group"), f"{table.fault} is of {group}", "leave group out")
        return group
    if table.group is None:
        raise _Problem(path, "needs group or fault", "say which alert")
    if table.group not in set(Group):
        raise _Problem((*path, "group"), *_unknown("group", table.group, set(Group)))
    return Group(table.group)


def _mixed(specs: Sequence[StationSpec], table: FleetTable, seed: int) -> list[StationSpec]:
    """The drawn stations with the shares of the mix; which of them, the seed decides."""
    changes: dict[int, dict[str, Any]] = {}
    for share, one, other in (
        (table.mix.one_minute, {"sample_s": 60.0}, {"sample_s": 10.0}),
        (table.mix.no_current, {"has_current": False}, {"has_current": True}),
        (table.mix.no_rain_gauge, {"has_rain": False}, {"has_rain": True}),
    ):
        if share is None:
            continue
        order = generator(seed, "mix", *one).permutation(len(specs))
        for rank, i in enumerate(order):
            chosen = rank < round(share * len(specs))
            changes.setdefault(int(i), {}).update(one if chosen else other)
    return [
        replace(spec, site=replace(spec.site, **changes.get(i, {}))) for i, spec in enumerate(specs)
    ]


def _refuse_overlaps(written: Sequence[tuple[int, Event]]) -> None:
    """One thing cannot befall the same pump or station twice at once."""
    ordered = sorted(
        written, key=lambda w: (w[1].station, w[1].code, w[1].target or "", w[1].start_ms)
    )
    for (_, one), (i, other) in pairwise(ordered):
        same = (one.station, one.code, one.target) == (other.station, other.code, other.target)
        end_ms = one.repair_ms
        if same and (end_ms is None or other.start_ms < end_ms):
            until = (
                "it is not repaired before the end"
                if end_ms is None
                else f"until {iso_utc(end_ms)}"
            )
            raise _Problem(
                ("event", i, "start"),
                f"{one.code} is at work at {one.station} since {iso_utc(one.start_ms)} ({until})",
                "repair the first before, or start the second later",
            )


def _unknown(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(names[:40])}"
    return f"there is no {what} {name!r}", hint


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _shown(t_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(t_ms / 1000, zone).strftime("%Y-%m-%d %H:%M")
