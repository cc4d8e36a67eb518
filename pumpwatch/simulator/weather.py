"""Rain over one district: events by season, the same for every station that shares the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.simulator.chance import generator

BIN_S = 600
BINS_PER_DAY = 144
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Climate:
    """Rain by month, January first: chance that an event begins on a day, mean depth [mm].

    The defaults are of the Pacific side of Honshu: dry winter, plum rain in June, typhoons in
    September. ``max_event_mm`` caps one event.
    """

    event_chance: tuple[float, ...] = (
        0.10, 0.13, 0.20, 0.21, 0.21, 0.32, 0.28, 0.20, 0.28, 0.23, 0.16, 0.10,
    )  # fmt: skip
    mean_event_mm: tuple[float, ...] = (6, 8, 11, 12, 13, 17, 16, 16, 20, 16, 11, 7)
    max_event_mm: float = 90.0


DRY = Climate(event_chance=(0.0,) * 12)
"""No rain but what is ordered."""


@dataclass(frozen=True, slots=True)
class Storm:
    """Rain that is ordered: ``depth_mm`` from ``start_ms`` on, spread over ``hours`` with one peak.

    It falls on ``district``, or everywhere when that is None.
    """

    start_ms: int
    hours: float
    depth_mm: float
    district: str | None = None


class Weather:
    """The rain of one district, random access by day."""

    def __init__(
        self,
        seed: int,
        district: str,
        climate: Climate | None = None,
        storms: Sequence[Storm] = (),
    ) -> None:
        self.climate = climate or Climate()
        self._seed = seed
        self._district = district
        self._storms = [s for s in storms if s.district in (None, district)]
        self._events: dict[int, NDArray[np.float64]] = {}
        self._lately: tuple[tuple[int, int], NDArray[np.float64]] = (0, 0), np.empty(0)

    def rain_mm(self, day: int) -> NDArray[np.float64]:
        """Depth in each ten minutes of UTC day ``day`` (days since 1970), (144,) mm."""
        rain = self._event(day - 1)[BINS_PER_DAY:] + self._event(day)[:BINS_PER_DAY]
        for storm in self._storms:
            rain = rain + _fall(storm, day)
        return np.asarray(rain)

    def lately_mm(self, day: int, before: int) -> NDArray[np.float64]:
        """`rain_mm` of ``before`` days and of ``day`` after them, ((before + 1) * 144,) mm.

        The last answer is kept: all stations of a district ask the same of a day.
        """
        if self._lately[0] != (day, before):
            days = [self.rain_mm(d) for d in range(day - before, day + 1)]
            self._lately = (day, before), np.concatenate(days)
        return self._lately[1]

    def rain_mm_h(self, t_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Intensity at moments, (n,)."""
        days, within_ms = np.divmod(t_ms, DAY_MS)
        out = np.zeros(len(t_ms))
        for day in np.unique(days):
            here = days == day
            out[here] = self.rain_mm(int(day))[within_ms[here] // (BIN_S * 1000)]
        return out * 3600 / BIN_S

    def depth_mm(self, begin_ms: int, end_ms: int) -> float:
        """Rain between two moments, by full ten minutes."""
        t_ms = np.arange(begin_ms, end_ms, BIN_S * 1000, dtype=np.int64)
        return float(self.rain_mm_h(t_ms).sum() * BIN_S / 3600)

    def _event(self, day: int) -> NDArray[np.float64]:
        """The event that begins on ``day``, laid over that day and the next, (288,) mm."""
        if day not in self._events:
            self._events[day] = self._draw(day)
        return self._events[day]

    def _draw(self, day: int) -> NDArray[np.float64]:
        rng = generator(self._seed, "rain", self._district, day)
        bins = np.zeros(2 * BINS_PER_DAY)
        month = (_EPOCH + timedelta(days=day)).month - 1
        if rng.random() >= self.climate.event_chance[month]:
            return bins
        depth_mm = min(rng.gamma(0.9, self.climate.mean_event_mm[month] / 0.9),
                       self.climate.max_event_mm)  # fmt: skip
        length = int(min(6 * (1.0 + rng.gamma(2.0, 2.5)), BINS_PER_DAY))
        begin = int(rng.integers(BINS_PER_DAY))
        envelope = np.sin(np.linspace(0, math.pi, length + 2)[1:-1])
        shape = envelope * rng.gamma(1.5, 1.0, length)
        bins[begin : begin + length] = depth_mm * shape / shape.sum()
        return bins


class Sky:
    """The weather over all districts, made as they are asked for."""

    def __init__(
        self, seed: int, climate: Climate | None = None, storms: Sequence[Storm] = ()
    ) -> None:
        self.seed = seed
        self.climate = climate or Climate()
        self.storms = tuple(storms)
        self._districts: dict[str, Weather] = {}

    def over(self, district: str) -> Weather:
        if district not in self._districts:
            self._districts[district] = Weather(self.seed, district, self.climate, self.storms)
        return self._districts[district]


def _fall(storm: Storm, day: int) -> NDArray[np.float64]:
    """What of an ordered storm falls in each ten minutes of a UTC day, (144,) mm.

    Its depth so far is ``(1 - cos(pi x)) / 2`` of the whole after the share ``x`` of its duration.
    """
    edges_ms = day * DAY_MS + np.arange(BINS_PER_DAY + 1) * BIN_S * 1000
    share = np.clip((edges_ms - storm.start_ms) / (storm.hours * HOUR_MS), 0.0, 1.0)
    return np.asarray(np.diff(storm.depth_mm * (1 - np.cos(math.pi * share)) / 2))
