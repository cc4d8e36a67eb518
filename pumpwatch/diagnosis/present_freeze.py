"""A level that does not move while the well must: the frozen transmitter.

Identical readings are compared with the site's own longest usual ones, because these depend on resolution,
period and night inflow. A start and a stop within one reading prove more than time alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.alerts import Finding, Json, Kind, Phase, Severity, iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

Times: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

CAUSE = "frozen_level"


@dataclass(frozen=True, slots=True)
class FreezeSettings:
    """When a constant level is frozen. Times in ms, levels in m."""

    least_ms: int = 20 * MINUTE_MS
    """No reading is called frozen sooner; half of it once pumps started and stopped within."""
    least_samples: int = 20
    times_usual: float = 4.0
    """... nor before it lasts so many times the site's usual longest constant reading."""
    usual_at_first_ms: int = 10 * MINUTE_MS
    days: int = 14
    least_days: int = 3
    surcharge_factor: float = 6.0
    """Above the lag pump's start a storm holds the level still: be so much slower there."""
    rail_ms: int = HOUR_MS
    """Below the stop level, with no pump running, a well that gets any water must rise in this time."""
    worsen_ms: int = HOUR_MS
    quiet_ms: int = 48 * HOUR_MS
    """Transmitters freeze now and then: the episode ends after so long without it."""


@dataclass(slots=True)
class FreezeState:
    """The reading that lasts, what is usual, and the open episode."""

    level_m: float | None = None
    start_ms: int = 0
    last_ms: int = 0
    running: bool = False
    flips: int = 0
    ran: bool = False
    frozen: bool = False
    day: int | None = None
    day_longest_ms: int = 0
    longest_ms: list[int] = field(default_factory=list)
    opened_ms: int | None = None
    since_ms: int = 0
    frozen_ms: int = 0
    severity: str = str(Severity.WARNING)
    fault: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One constant reading: by row its time, the switches so far, and whether any pump ran so far.

    ``known`` says that it was found frozen before these rows came.
    """

    start_ms: int
    level_m: float
    t_ms: Times
    flips: Times
    ran: Flags
    known: bool


class FreezeWatch:
    """Finds frozen readings in rows handed over in time order, however they are cut into pieces."""

    def __init__(
        self, key: SiteKey, site: Site, settings: FreezeSettings, state: FreezeState, period_ms: int
    ) -> None:
        self._key, self._site, self._settings, self.state = key, site, settings, state
        self._least_ms = max(settings.least_ms, settings.least_samples * period_ms)
        self._gap_ms = max(5 * MINUTE_MS, 5 * period_ms)
        tops = [h for h in (site.lag_start_level_m, site.high_level_m) if h is not None]
        self._surcharge_m = min(tops, default=np.inf)
        self._rail_m = 0.02 if site.stop_level_m is None else 0.5 * site.stop_level_m

    def feed(self, t_ms: Times, level_m: NDArray[np.float64], running: Flags) -> list[Finding]:
        """Findings of rows (n,) with a sound level; ``running`` says whether any pump ran."""
        found: list[Finding] = []
        if not len(t_ms):
            return found
        state = self.state
        carried = state.level_m is not None
        if state.level_m is not None:  # the last row before these begins the first stretch
            t_ms = np.concatenate(([state.last_ms], t_ms))
            level_m = np.concatenate(([state.level_m], level_m))
            running = np.concatenate(([state.running], running))
        breaks = (level_m[1:] != level_m[:-1]) | (np.diff(t_ms) > self._gap_ms)
        first = np.concatenate(([0], np.flatnonzero(breaks) + 1))
        last = np.concatenate((first[1:] - 1, [len(t_ms) - 1]))
        start_ms = t_ms[first].copy()
        start_ms[0] = state.start_ms if carried else start_ms[0]
        lasts_ms, final, done = t_ms[last] - start_ms, len(first) - 1, 0

        def stretch(k: int) -> _Stretch:
            rows, goes_on = slice(first[k], last[k] + 1), k == 0 and carried
            flips = np.concatenate(([0], np.cumsum(np.diff(running[rows]))))
            ran = np.logical_or.accumulate(running[rows])
            if goes_on:
                flips, ran = flips + state.flips, ran | state.ran
            known = goes_on and state.frozen
            return _Stretch(
                int(start_ms[k]), float(level_m[first[k]]), t_ms[rows], flips, ran, known
            )

        for k in np.flatnonzero(lasts_ms[:final] >= self._least_ms // 2):
            self._learn(t_ms[last[done:k]], lasts_ms[done:k])
            frozen = self._judge(stretch(int(k)), found)
            done = int(k) + 1 if frozen else int(k)  # what was frozen does not become usual
        self._learn(t_ms[last[done:final]], lasts_ms[done:final])
        lasting = stretch(final)
        state.frozen = self._judge(lasting, found)
        state.level_m, state.start_ms = lasting.level_m, lasting.start_ms
        state.last_ms, state.running = int(t_ms[-1]), bool(running[-1])
        state.flips, state.ran = int(lasting.flips[-1]), bool(lasting.ran[-1])
        self._resolve(state.last_ms, found)
        return found

    def usual_ms(self) -> int:
        """The longest constant reading of most days (upper quartile), in ms."""
        days = sorted(self.state.longest_ms)
        if len(days) < self._settings.least_days:
            return self._settings.usual_at_first_ms
        return days[len(days) * 3 // 4]

    def _learn(self, end_ms: Times, lasts_ms: Times) -> None:
        """Finished readings that were not frozen tell what is usual, one number a day."""
        state = self.state
        if not len(end_ms):
            return
        day = end_ms // DAY_MS
        first = np.concatenate(([0], np.flatnonzero(np.diff(day)) + 1))
        for d, longest in zip(day[first], np.maximum.reduceat(lasts_ms, first), strict=True):
            if state.day is not None and d > state.day:
                state.longest_ms = [*state.longest_ms, state.day_longest_ms][-self._settings.days :]
                state.day_longest_ms = 0
            state.day = int(d)
            state.day_longest_ms = max(state.day_longest_ms, int(longest))

    def _judge(self, reading: _Stretch, found: list[Finding]) -> bool:
        """Is this reading frozen? Opens or worsens the episode if so."""
        age_ms = reading.t_ms - reading.start_ms
        hit = np.flatnonzero(self._frozen(reading, age_ms))
        if not reading.known and not len(hit):
            return False
        state = self.state
        if not reading.known:
            at = int(hit[0])
            self._resolve(int(reading.t_ms[at]), found)
            if state.opened_ms is None:
                rail = reading.level_m <= self._rail_m
                state.fault = ("sensor_failed", CAUSE) if rail else (CAUSE, "sensor_failed")
                state.opened_ms, state.since_ms = int(reading.t_ms[at]), reading.start_ms
                state.severity = str(Severity.WARNING)
                found.append(self._finding(Phase.OPENED, reading, at))
        worse = np.flatnonzero(age_ms >= max(self._settings.worsen_ms, 2 * self._least_ms))
        if len(worse) and state.severity == Severity.WARNING:
            state.severity = str(Severity.ALARM)
            at = int(worse[0]) if reading.known else max(int(worse[0]), int(hit[0]))
            found.append(self._finding(Phase.WORSENED, reading, at))
        state.frozen_ms = int(reading.t_ms[-1])
        return True

    def _frozen(self, reading: _Stretch, age_ms: Times) -> Flags:
        settings = self._settings
        limit = max(self._least_ms, round(settings.times_usual * self.usual_ms()))
        if reading.level_m <= self._rail_m:  # a pump that runs dry holds the level down there
            return np.asarray(~reading.ran & (age_ms >= max(limit, settings.rail_ms)))
        if reading.level_m >= self._surcharge_m:
            limit = round(limit * settings.surcharge_factor)
        return np.asarray((age_ms >= limit) | ((reading.flips >= 2) & (age_ms >= limit // 2)))

    def _resolve(self, now_ms: int, found: list[Finding]) -> None:
        state = self.state
        end_ms = state.frozen_ms + self._settings.quiet_ms
        if state.opened_ms is None or now_ms < end_ms:
            return
        state.opened_ms = None
        evidence: dict[str, Json] = {"since": iso_utc(state.since_ms), "signs": []}
        found.append(self._build(Phase.RESOLVED, end_ms, 0.0, evidence))

    def _finding(self, phase: Phase, reading: _Stretch, at: int) -> Finding:
        t_ms = int(reading.t_ms[at])
        frozen_s = (t_ms - reading.start_ms) / 1000
        sign: dict[str, Json] = {
            "feature": "frozen_s",
            "target": None,
            "now": frozen_s,
            "normal": self.usual_ms() / 1000,
            "deviation": None,
        }
        evidence: dict[str, Json] = {
            "since": iso_utc(self.state.since_ms),
            "signs": [sign],
            "frozen_s": frozen_s,
            "level_m": reading.level_m,
            "pump_switches": int(reading.flips[at]),
        }
        return self._build(phase, t_ms, 0.9, evidence)

    def _build(self, phase: Phase, t_ms: int, score: float, evidence: dict[str, Json]) -> Finding:
        state = self.state
        return Finding(
            self._key, t_ms, phase, CAUSE, Kind.PREDICTIVE, Severity(state.severity),
            tuple(state.fault), None, score, evidence,
        )  # fmt: skip
