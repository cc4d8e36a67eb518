"""The stations: what truly happens there, whoever is listening."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch_edge.source import describe

from .timeline import HOUR, MINUTE, SECOND

SERIAL = "x_serial"
"""A signal of its own carries the number of the row, by which the checker knows it again."""
CONTACTS = ("high_level", "pump1_fault", "power_ok")
DELAY_IN = {"high_level": 5 * SECOND, "pump1_fault": 5 * SECOND, "power_ok": 30 * SECOND}
CAUSE = {"high_level": "high_level", "pump1_fault": "contact:pump1_fault", "power_ok": "power"}
SIGNALS = {
    name: describe(name)
    for name in ("level_m", "pump1_run", "pump2_run", "power_ok", "high_level", "pump1_fault")
} | {SERIAL: {}}


class Change(NamedTuple):
    """A contact changes at a true time."""

    t: int
    signal: str
    value: int


@dataclass
class Plant:
    """One station from ``start`` to ``end``: a row each ``period``, and contacts that come and go."""

    key: SiteKey
    start: int
    end: int
    period: int
    cycle: int
    mode: SiteMode
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._states = {
            name: [(c.t, c.value) for c in self.changes if c.signal == name] for name in CONTACTS
        }
        self._times = [change.t for change in self.changes]

    def site(self) -> Site:
        return Site(
            self.key.site, sample_s=self.period / 1000, well_diameter_m=1.5, well_depth_m=3.4,
            stop_level_m=0.44, start_level_m=1.28, high_level_m=1.85, pump_capacity_m3_min=0.3,
            mode=self.mode,
        )  # fmt: skip

    def rows(self, after: int, to: int) -> list[tuple[int, dict[str, float | None]]]:
        """Rows with after < t <= to, by true time."""
        first = max(-(-(after + 1 - self.start) // self.period), 0)
        last = (min(to, self.end) - self.start) // self.period
        return [self._row(n) for n in range(first, last + 1)]

    def changes_in(self, after: int, to: int) -> list[Change]:
        return self.changes[bisect_right(self._times, after) : bisect_right(self._times, to)]

    def next_change(self, after: int) -> int | None:
        i = bisect_right(self._times, after)
        return self._times[i] if i < len(self._times) else None

    def episodes(self, until: int) -> list[tuple[str, int, int]]:
        """(signal, begin, end) of every contact that stayed long enough to owe an alert."""
        found = []
        for name, states in self._states.items():
            normal = 1 if name == "power_ok" else 0
            for i, (t, value) in enumerate(states):
                over = states[i + 1][0] if i + 1 < len(states) else self.end
                if value != normal and over - t > DELAY_IN[name] and t + HOUR < until:
                    found.append((name, t, over))
        return found

    def _row(self, n: int) -> tuple[int, dict[str, float | None]]:
        t = self.start + n * self.period
        turn, phase = divmod(t - self.start, self.cycle)
        share = phase / self.cycle
        filling = share < 0.75
        level = 0.44 + 1.12 * share if filling else 1.28 - 3.36 * (share - 0.75)
        values: dict[str, float | None] = {
            "level_m": round(level, 3),
            "pump1_run": int(not filling and turn % 2 == 0),
            "pump2_run": int(not filling and turn % 2 == 1),
            SERIAL: n,
        }
        for name, states in self._states.items():
            i = bisect_left(states, (t, 2)) - 1
            values[name] = states[i][1] if i >= 0 else int(name == "power_ok")
        return t, values


def draw_plant(
    chance: Random, key: SiteKey, start: int, days: float, period: int, mode: SiteMode
) -> Plant:
    """Contacts come about every two days, stay for seconds to hours, and return alone."""
    end = start + int(days * 24 * HOUR)
    changes: list[Change] = []
    for name in CONTACTS:
        t = start + int(chance.expovariate(1 / (30 * HOUR))) + 10 * MINUTE
        while t < end:
            stays = int(chance.choice((2 * SECOND, 3 * MINUTE, 40 * MINUTE, 4 * HOUR)))
            stays = int(stays * chance.uniform(0.5, 1.5))
            abnormal = int(name != "power_ok")
            changes += [Change(t, name, abnormal), Change(t + stays, name, 1 - abnormal)]
            t += stays + 20 * MINUTE + int(chance.expovariate(1 / (48 * HOUR)))
    changes.sort()
    cycle = int(chance.uniform(0.5, 3) * HOUR)
    return Plant(key, start, end, period, cycle, mode, [c for c in changes if c.t < end])
