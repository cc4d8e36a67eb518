"""What flows into a well: people by hour and day type, ground water, and rain that finds its way in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator.chance import DAY_S, generator
from pumpwatch.simulator.weather import BIN_S, BINS_PER_DAY, Weather

_WORKDAY = (
    0.62, 0.47, 0.39, 0.36, 0.38, 0.52, 0.95, 1.42, 1.48, 1.24, 1.08, 1.02,
    1.08, 1.02, 0.93, 0.90, 0.97, 1.12, 1.33, 1.46, 1.46, 1.34, 1.12, 0.84,
)  # fmt: skip
_WEEKEND = (
    0.72, 0.55, 0.44, 0.39, 0.38, 0.44, 0.62, 0.95, 1.28, 1.46, 1.42, 1.30,
    1.24, 1.14, 1.04, 1.00, 1.04, 1.16, 1.32, 1.40, 1.38, 1.28, 1.08, 0.84,
)  # fmt: skip
_SHOPS = (
    0.05, 0.03, 0.02, 0.02, 0.03, 0.08, 0.25, 0.55, 0.85, 1.20, 1.55, 2.00,
    2.35, 2.00, 1.55, 1.40, 1.50, 1.90, 2.30, 2.20, 1.60, 0.90, 0.40, 0.12,
)  # fmt: skip
_CLOSED = frozenset({
    (1, 1), (1, 2), (1, 3), (2, 11), (2, 23), (4, 29), (5, 3), (5, 4), (5, 5), (8, 11),
    (8, 13), (8, 14), (8, 15), (11, 3), (11, 23), (12, 29), (12, 30), (12, 31),
})  # fmt: skip
"""Public holidays of Japan that have a date of their own, and the days between which most firms close."""
_STRAYS = ((60, 0.09), (600, 0.09), (3600, 0.06))
"""Seconds between knots, and how far use strays within such times (a share)."""
_MEMORY_DAYS = 4
"""Rain older than this has left the catchment."""


@dataclass(frozen=True, slots=True)
class Catchment:
    """The houses and the ground above one station.

    ``sewage_m3s`` is the dry-weather mean of what people use at home, ``shops_m3s`` that of shops and
    restaurants, ``factory_m3s`` the flow while a factory's shifts run (from ``factory_from_h`` to
    ``factory_to_h`` on working days), ``infiltration_m3s`` the ground water that always comes. Rain on ``rain_area_m2`` of wrongly connected roofs and leaking
    sewers comes too: ``fast_share`` of it through a quick cascade of reservoirs of ``fast_k_h``,
    the rest through a slow one of ``slow_k_h``.
    """

    sewage_m3s: float
    infiltration_m3s: float = 0.0
    rain_area_m2: float = 0.0
    fast_share: float = 0.6
    fast_k_h: float = 0.4
    slow_k_h: float = 6.0
    shift_h: float = 0.0
    """How much later than most this neighbourhood lives."""
    shops_m3s: float = 0.0
    factory_m3s: float = 0.0
    factory_from_h: float = 8.0
    factory_to_h: float = 17.0


def unit_hydrograph(reservoirs: int, k_h: float) -> NDArray[np.float64]:
    """Outflow share per ten minutes of a cascade of equal linear reservoirs, sums to one.

    The instantaneous unit hydrograph is a gamma density (Nash 1957), here taken at bin centres.
    """
    t_h = (np.arange(_MEMORY_DAYS * BINS_PER_DAY) + 0.5) * BIN_S / 3600
    density = t_h ** (reservoirs - 1) * np.exp(-t_h / k_h)
    return np.asarray(density / density.sum())


class Inflow:
    """The inflow of one station, random access by day."""

    def __init__(
        self, name: str, catchment: Catchment, timezone: str, weather: Weather, seed: int
    ) -> None:
        self._name = name
        self._catchment = catchment
        self._zone = ZoneInfo(timezone)
        self._weather = weather
        self._seed = seed
        fast = unit_hydrograph(3, catchment.fast_k_h)
        slow = unit_hydrograph(2, catchment.slow_k_h)
        self._following: dict[int, tuple[np.random.Generator, NDArray[np.float64]]] = {}
        """The chance of the day after the last one asked for, its first draws taken."""
        self._habits_of = 0, 0
        self._habits: list[NDArray[np.float64]] = []
        """As `_make_habits` gave them for the last clock and step asked for."""
        share = catchment.fast_share
        self._hydrograph = share * fast + (1 - share) * slow

    def day_m3s(self, day: int, step_s: int) -> NDArray[np.float64]:
        """Mean inflow of every step of UTC day ``day``, (86400 / step_s,) m3/s."""
        return np.asarray(self._people(day, step_s) + self._ground(day) + self._rain(day, step_s))

    def _people(self, day: int, step_s: int) -> NDArray[np.float64]:
        """Homes, shops and factory by the hours and day types of the local calendar, (n,) m3/s."""
        local = _local_day(self._zone, day)
        if self._habits_of != (local.ahead_s, step_s):
            self._habits = self._make_habits(local.ahead_s, step_s)
            self._habits_of = local.ahead_s, step_s
        one, other = local.types
        midnight = -(-(DAY_S - local.ahead_s % DAY_S) // step_s)
        homes, *others = (
            np.concatenate([of_type[one, :midnight], of_type[other, midnight:]])
            for of_type in self._habits
        )
        flow = homes * np.exp(self._wander(day, step_s))
        for more in others:
            flow += more
        return np.asarray(flow)

    def _make_habits(self, ahead_s: int, step_s: int) -> list[NDArray[np.float64]]:
        """What homes, shops and factory use over a UTC day, where there are any, each (2, n) m3/s:
        on working days, and on days off. The local clock is ``ahead_s`` ahead of UTC.
        """
        c = self._catchment
        at_h = (np.arange(DAY_S // step_s) * step_s + ahead_s) / 3600
        homes = [_by_hour(pattern, (at_h - c.shift_h) % 24) for pattern in (_WORKDAY, _WEEKEND)]
        habits = [c.sewage_m3s * np.array(homes)]
        if c.shops_m3s:
            habits.append(c.shops_m3s * _by_hour(_SHOPS, at_h % 24) * np.array([[0.9], [1.25]]))
        if c.factory_m3s:
            shift = (at_h % 24 >= c.factory_from_h) & (at_h % 24 < c.factory_to_h)
            habits.append(c.factory_m3s * np.array([shift, np.zeros(len(shift))]))
        return habits

    def _use(self, day: int) -> tuple[np.random.Generator, NDArray[np.float64]]:
        """A day's chance, and the first draws from it: three knots and the mood."""
        rng = generator(self._seed, self._name, "use", day)
        return rng, rng.standard_normal(4)

    def _wander(self, day: int, step_s: int) -> NDArray[np.float64]:
        """How far the logarithm of use strays from the pattern: a mood of the day, and of shorter times.

        Knots joined linearly, as `chance.texture`; a day's first knots end the day before.
        """
        today, first = self._following.get(day) or self._use(day)
        self._following = {day + 1: self._use(day + 1)}
        following = self._following[day + 1][1]
        at_s = _grid_s(step_s)[:-1]
        wander = np.full(len(at_s), 0.04 * first[3])
        for n, (knot_s, share) in enumerate(_STRAYS):
            knots = np.empty(DAY_S // knot_s + 1)
            knots[0], knots[-1] = first[n], following[n]
            knots[1:-1] = today.standard_normal(len(knots) - 2)
            joined = np.interp(at_s, _grid_s(knot_s), knots)
            wander += share * math.sqrt(1.5) * joined
        return wander

    def _ground(self, day: int) -> float:
        """Ground water stands highest after the rains of early summer."""
        season = math.cos(2 * math.pi * (day - 200) / 365.25)
        return self._catchment.infiltration_m3s * (1 + 0.2 * season)

    def _rain(self, day: int, step_s: int) -> NDArray[np.float64]:
        rain_mm = self._weather.lately_mm(day, _MEMORY_DAYS)
        if self._catchment.rain_area_m2 == 0 or not rain_mm.any():
            return np.zeros(DAY_S // step_s)
        runoff_mm = np.convolve(rain_mm, self._hydrograph, "valid")
        flow = runoff_mm / 1000 / BIN_S * self._catchment.rain_area_m2
        # each bin's flow stands at its end, so that a day needs nothing of the next
        return np.interp(_grid_s(step_s)[:-1] / BIN_S, np.arange(BINS_PER_DAY + 1), flow)


@dataclass(frozen=True, slots=True)
class _LocalDay:
    """A UTC day by the local clock, which is ``ahead_s`` ahead: the types of the two days it falls on,
    0 a working day, 1 a day off.
    """

    ahead_s: int
    types: tuple[int, int]


@lru_cache(maxsize=64)
def _local_day(zone: ZoneInfo, day: int) -> _LocalDay:
    begins = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    ahead = begins.astimezone(zone).utcoffset() or timedelta()
    today, next_day = begins + ahead, begins + ahead + timedelta(days=1)
    return _LocalDay(round(ahead.total_seconds()), (int(_is_free(today)), int(_is_free(next_day))))


@lru_cache(maxsize=16)
def _grid_s(every_s: int) -> NDArray[np.float64]:
    """Times of a day from its beginning to its end, ``every_s`` apart, (86400 / every_s + 1,)."""
    grid = np.arange(0.0, DAY_S + 1, every_s)
    grid.flags.writeable = False
    return grid


def _by_hour(pattern: tuple[float, ...], hours: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.interp(hours, np.arange(25), [*pattern, pattern[0]])


def _is_free(day: datetime) -> bool:
    return day.weekday() >= 5 or (day.month, day.day) in _CLOSED
