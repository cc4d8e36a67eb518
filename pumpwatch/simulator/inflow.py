"""What flows into a well: people by hour and day type, ground water, and rain that finds its way in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator.chance import DAY_S, generator, texture
from pumpwatch.simulator.weather import BIN_S, BINS_PER_DAY, Weather

_WORKDAY = (
    0.62, 0.47, 0.39, 0.36, 0.38, 0.52, 0.95, 1.42, 1.48, 1.24, 1.08, 1.02,
    1.08, 1.02, 0.93, 0.90, 0.97, 1.12, 1.33, 1.46, 1.46, 1.34, 1.12, 0.84,
)  # fmt: skip
_WEEKEND = (
    0.72, 0.55, 0.44, 0.39, 0.38, 0.44, 0.62, 0.95, 1.28, 1.46, 1.42, 1.30,
    1.24, 1.14, 1.04, 1.00, 1.04, 1.16, 1.32, 1.40, 1.38, 1.28, 1.08, 0.84,
)  # fmt: skip
_MEMORY_DAYS = 4
"""Rain older than this has left the catchment."""


@dataclass(frozen=True, slots=True)
class Catchment:
    """The houses and the ground above one station.

    ``sewage_m3s`` is the dry-weather mean of what people use, ``infiltration_m3s`` the ground
    water that always comes. Rain on ``rain_area_m2`` of wrongly connected roofs and leaking
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
        share = catchment.fast_share
        self._hydrograph = share * fast + (1 - share) * slow

    def day_m3s(self, day: int, step_s: int) -> NDArray[np.float64]:
        """Mean inflow of every step of UTC day ``day``, (86400 / step_s,) m3/s."""
        dry = self._catchment.sewage_m3s * self._people(day, step_s)
        return np.asarray(dry + self._ground(day) + self._rain(day, step_s))

    def _people(self, day: int, step_s: int) -> NDArray[np.float64]:
        begins = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
        local = begins.astimezone(self._zone)
        offset = local.utcoffset() or timedelta()
        at_h = (np.arange(DAY_S // step_s) * step_s + offset.total_seconds()) / 3600
        free = [((begins + offset).weekday() + ahead) % 7 >= 5 for ahead in (0, 1)]
        hours = (at_h - self._catchment.shift_h) % 24
        today = _by_hour(_WEEKEND if free[0] else _WORKDAY, hours)
        tomorrow = _by_hour(_WEEKEND if free[1] else _WORKDAY, hours)
        shape = np.where(at_h < 24, today, tomorrow)
        moods = generator(self._seed, self._name, "mood", day).standard_normal(1)[0]
        wander = 0.04 * moods
        for knot_s, share in ((60, 0.09), (600, 0.09), (3600, 0.06)):
            wander = wander + share * texture(knot_s, step_s, self._seed, self._name, day)
        return np.asarray(shape * np.exp(wander))

    def _ground(self, day: int) -> float:
        """Ground water stands highest after the rains of early summer."""
        season = math.cos(2 * math.pi * (day - 200) / 365.25)
        return self._catchment.infiltration_m3s * (1 + 0.2 * season)

    def _rain(self, day: int, step_s: int) -> NDArray[np.float64]:
        days = range(day - _MEMORY_DAYS, day + 1)
        rain_mm = np.concatenate([self._weather.rain_mm(d) for d in days])
        if self._catchment.rain_area_m2 == 0 or not rain_mm.any():
            return np.zeros(DAY_S // step_s)
        runoff_mm = np.convolve(rain_mm, self._hydrograph)[: len(rain_mm)]
        flow = runoff_mm[-BINS_PER_DAY - 1 :] / 1000 / BIN_S * self._catchment.rain_area_m2
        # each bin's flow stands at its end, so that a day needs nothing of the next
        at = np.arange(DAY_S // step_s) * step_s / BIN_S
        return np.interp(at, np.arange(BINS_PER_DAY + 1), flow)


def _by_hour(pattern: tuple[float, ...], hours: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.interp(hours, np.arange(25), [*pattern, pattern[0]])
