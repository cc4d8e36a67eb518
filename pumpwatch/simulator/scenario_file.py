"""What a scenario file may say: its tables and keys, checked by shape before any meaning is looked at."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from pumpwatch.domain.sites import LogKind

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}
_DURATION = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([wdhm])")


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """A problem with one value, as pydantic carries it to whoever knows the line."""
    return PydanticCustomError("scenario", "{what}", {"what": what, "remedy": remedy})


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the scenario's zone
    if isinstance(value, time):
        raise wrong(
            f"{value} does not say of which day", "write the date too, e.g. 2026-09-01T23:30:00"
        )
    raise wrong(f"{value!r} is not a moment", "write e.g. 2026-09-01T23:30:00 without quotes")


def _duration(value: Any) -> timedelta:
    """``"2d 6h 30m"``; weeks, days, hours and minutes."""
    parts = _DURATION.findall(value) if isinstance(value, str) else []
    if not parts or _DURATION.sub("", value).strip():
        raise wrong(f"{value!r} is not a duration", 'write e.g. "2d 6h" or "30m"')
    span = sum((timedelta(**{_UNITS[u]: float(n)}) for n, u in parts), timedelta())
    if span <= timedelta():
        raise wrong(f"{value!r} is not longer than nothing", "give a positive duration")
    return span


def _moment_or_duration(value: Any) -> datetime | timedelta:
    return _duration(value) if isinstance(value, str) else _moment(value)


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A TOML date or date-time; without an offset it is the scenario's own time."""
Duration = Annotated[timedelta, BeforeValidator(_duration)]
When = Annotated[datetime | timedelta, BeforeValidator(_moment_or_duration)]
"""A moment, or how long after the beginning of what it belongs to."""
Stations = Annotated[list[str], BeforeValidator(_names), Field(min_length=1)]
"""One id, several, or "*" for all."""
Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    """No key is taken that is not known, and no value bent into another type."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


class SpanTable(_Table):
    """From when to when: ``days`` are the zone's own, so a change of clocks makes one 23 or 25 hours."""

    start: Moment
    end: Moment | None = None
    days: Annotated[int, Field(ge=1, le=3660)] | None = None


class MixTable(_Table):
    """Which share of the drawn stations sends once a minute, or lacks a signal."""

    one_minute: Share | None = None
    no_current: Share | None = None
    no_rain_gauge: Share | None = None


class FleetTable(_Table):
    """How many stations to draw; ``keep`` leaves only some of them, ``district`` says which share a sky."""

    draw: Annotated[int, Field(ge=0, le=9999)] = 0
    seed: Annotated[int, Field(ge=0)] | None = None
    keep: Stations | None = None
    district: dict[str, Stations] = {}
    mix: MixTable = MixTable()


class StationTable(_Table):
    """Fields of ``site.json`` given instead of drawn: of a drawn station, or of one more.

    They are checked where a station is, not here.
    """

    model_config = ConfigDict(extra="allow")

    site: str
    district: str | None = None


class StormTable(_Table):
    start: Moment
    hours: Annotated[float, Field(gt=0, le=240)]
    depth_mm: Annotated[float, Field(gt=0, le=1500)]
    district: str | None = None


class WeatherTable(_Table):
    """``climate``: rain as it comes, mild showers only, or none but the storms listed here."""

    climate: Literal["honshu", "mild", "dry"] = "honshu"
    storm: list[StormTable] = []


class EventTable(_Table):
    """What happens to whom and when. ``log`` is what the crew wrote into the site log about it."""

    what: str
    station: Stations | None = None
    district: str | None = None
    target: str | None = None
    start: When
    breakdown: When | None = None
    repair: When | None = None
    params: dict[str, float] = {}
    log: Annotated[LogKind, Field(strict=False)] | None = None


class AlertTable(_Table):
    """An alert that must come (``expect``) or may come (``allow``)."""

    group: str | None = None
    fault: str | None = None
    station: Stations | None = None
    district: str | None = None
    target: str | None = None
    after: When | None = None
    by: When | None = None
    why: str = ""


class ScenarioTable(_Table):
    """A whole file."""

    title: str
    seed: Annotated[int, Field(ge=0)]
    timezone: str = "Asia/Tokyo"
    span: SpanTable
    fleet: FleetTable = FleetTable()
    station: list[StationTable] = []
    weather: WeatherTable = WeatherTable()
    event: list[EventTable] = []
    expect: list[AlertTable] = []
    allow: list[AlertTable] = []
