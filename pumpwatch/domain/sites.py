"""A site and its log: what the ledger knows of a station before any sample arrives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import check_id


class SiteMode(StrEnum):
    """Where a site's samples come from, which decides whose clock rules and who may be told."""

    LIVE = "live"
    DEMO = "demo"
    RECORDING = "recording"
    """Event time only: silence is found by the next sample, and nobody is ever notified."""


@dataclass(frozen=True, slots=True)
class Site:
    """One station, as in ``site.json``: every field but ``site`` may be missing (None).

    Levels are metres above the well's bottom, ``static_lift_m`` the height the pump lifts,
    ``pump_capacity_m3_min`` the nameplate flow of one pump. `capacity_m3s` is its SI twin.
    """

    site: str
    name: str | None = None
    timezone: str = "Asia/Tokyo"
    pumps: int = 2
    sample_s: float | None = None
    well_diameter_m: float | None = None
    well_area_m2: float | None = None
    well_depth_m: float | None = None
    stop_level_m: float | None = None
    start_level_m: float | None = None
    lag_start_level_m: float | None = None
    high_level_m: float | None = None
    inlet_level_m: float | None = None
    pump_capacity_m3_min: float | None = None
    rated_current_a: float | None = None
    static_lift_m: float | None = None
    rising_main_d_m: float | None = None
    rising_main_len_m: float | None = None
    control: str | None = None
    alternation: str | None = None
    has_current: bool | None = None
    has_rain: bool | None = None
    latitude: float | None = None
    longitude: float | None = None
    mode: SiteMode = SiteMode.LIVE

    @property
    def area_m2(self) -> float | None:
        """Free water area [m2], from the area itself or the well's diameter."""
        if self.well_area_m2 is not None:
            return self.well_area_m2
        if self.well_diameter_m is not None:
            return math.pi / 4 * self.well_diameter_m**2
        return None

    @property
    def capacity_m3s(self) -> float | None:
        """Nameplate flow of one pump [m3/s]."""
        return None if self.pump_capacity_m3_min is None else self.pump_capacity_m3_min / 60

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if v is not None}


_POSITIVE = [
    "sample_s",
    "well_diameter_m",
    "well_area_m2",
    "well_depth_m",
    "pump_capacity_m3_min",
    "rated_current_a",
    "static_lift_m",
    "rising_main_d_m",
    "rising_main_len_m",
]
_RISING = ["stop_level_m", "start_level_m", "lag_start_level_m", "high_level_m", "well_depth_m"]


def site_from_dict(raw: Mapping[str, Any]) -> Site:
    """Build a `Site` from ``site.json`` content.

    Unknown fields are left out (a newer writer may know more); a field that is present but
    impossible raises `InvalidInput` naming it. Levels must rise from stop to the cover.
    """
    known = {f.name for f in fields(Site)}
    values = {k: v for k, v in raw.items() if k in known and v is not None}
    if "site" not in values:
        raise InvalidInput("site", "missing", 'add the site\'s id, e.g. "site": "mh0001"')
    check_id(str(values["site"]), "site")
    for name in known & values.keys():
        values[name] = _typed(name, values[name])
    for name in _POSITIVE:
        if name in values and values[name] <= 0:
            raise InvalidInput(
                name, f"{values[name]} is not positive", "correct it or leave it out"
            )
    levels = [(n, values[n]) for n in _RISING if n in values]
    for (low, a), (high, b) in pairwise(levels):
        if a >= b:
            raise InvalidInput(low, f"{a} is not below {high} {b}", "correct the levels")
    if not 1 <= values.get("pumps", 2) <= 4:
        raise InvalidInput("pumps", f"{values['pumps']} is not 1 to 4", "give the number of pumps")
    try:
        ZoneInfo(values.get("timezone", "Asia/Tokyo"))
    except (KeyError, ValueError, OSError):
        raise InvalidInput(
            "timezone", f"{values['timezone']!r} is unknown", "use an IANA name, e.g. Asia/Tokyo"
        ) from None
    return Site(**values)


_TEXT = {"site", "name", "timezone", "control", "alternation"}
_FLAGS = {"has_current", "has_rain"}


def _typed(name: str, value: Any) -> Any:
    try:
        if name in _TEXT:
            return str(value)
        if name in _FLAGS:
            if not isinstance(value, bool):
                raise ValueError
            return value
        if name == "mode":
            return SiteMode(value)
        if name == "pumps":
            return int(value)
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidInput(
            name, f"{value!r} cannot be used", "see the site.json reference"
        ) from None
    if not math.isfinite(number):
        raise InvalidInput(name, f"{value!r} is not finite", "correct it or leave it out")
    return number


class LogKind(StrEnum):
    """Kinds of entries in the site log (``events.csv``). The first four set references anew."""

    OVERHAUL = "overhaul"
    CLEANING = "cleaning"
    REPLACED = "replaced"
    ACCEPTED_CHANGE = "accepted_change"
    SET_POINT = "set_point"
    VISIT = "visit"
    MANUAL_RUN = "manual_run"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the site log: something people did at the station."""

    t_ms: int
    kind: LogKind
    target: str | None = None
    note: str = ""
