"""The control panel: level switches, alternation, the lag pump and the float that forces both."""

from __future__ import annotations

import math

from pumpwatch.domain.sites import Site
from pumpwatch.simulator.spec import PUMPS

FLOAT_DEAD_BAND_M = 0.10
"""How far below the high level the float lets go."""


class Panel:
    """Decides which pumps run from level, power and what it decided before.

    Feed it at every level where something may change (`bounds`) and at every change of power.
    The duty pump alternates with every start; a pump once called runs to the stop level.
    """

    def __init__(self, site: Site, duty: int) -> None:
        self._stop = float(site.stop_level_m or 0)
        self._start = float(site.start_level_m or 0)
        self._lag = float(site.lag_start_level_m or 0)
        self._high = float(site.high_level_m or 0)
        self.cover_m = float(site.well_depth_m or 0)
        self._duty = duty
        self.running = [False] * PUMPS
        self.float_up = False

    @property
    def called(self) -> int:
        return sum(self.running)

    def respond(self, level_m: float, power: bool) -> None:
        """Bring pumps and float into the state that belongs to ``level_m``."""
        if level_m >= self._high:
            self.float_up = True
        elif level_m <= self._high - FLOAT_DEAD_BAND_M:
            self.float_up = False
        if not power or level_m <= self._stop:
            self.running = [False] * PUMPS
            return
        wanted = self.called
        if level_m >= self._lag or self.float_up:
            wanted = PUMPS
        elif level_m >= self._start:
            wanted = max(wanted, 1)
        while self.called < wanted:
            self._start_next()

    def _start_next(self) -> None:
        pump = self._duty if not self.running[self._duty] else 1 - self._duty
        self.running[pump] = True
        self._duty = 1 - pump

    def bounds(self, power: bool) -> tuple[float, float]:
        """The next levels below and above at which `respond` has something to decide."""
        upper = self.cover_m if self.float_up else self._high
        if power and self.called == 0:
            upper = self._start
        elif power and self.called == 1:
            upper = min(upper, self._lag)
        lower = self._stop if self.called else -math.inf
        if self.float_up:
            lower = max(lower, self._high - FLOAT_DEAD_BAND_M)
        return lower, upper
