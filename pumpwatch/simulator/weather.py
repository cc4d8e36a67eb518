"""Rain over one district: events by season, the same for every station that shares the sky."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

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


class Weather:
    """The rain of one district, random access by day."""

    def __init__(self, seed: int, district: str, climate: Climate | None = None) -> None:
        self.climate = climate or Climate()
        self._seed = seed
        self._district = district
        self._events: dict[int, NDArray[np.float64]] = {}

    def rain_mm(self, day: int) -> NDArray[np.float64]:
        """Depth in each ten minutes of UTC day ``day`` (days since 1970), (144,) mm."""
        return self._event(day - 1)[BINS_PER_DAY:] + self._event(day)[:BINS_PER_DAY]

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
