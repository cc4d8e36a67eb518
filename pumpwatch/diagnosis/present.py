"""Present facts: what is so now, by rules alone and in minutes, whatever the models know.

Power lost, silence, high level, overflow, a frozen or failed transmitter, pump contacts, a pump left in
manual, a wrong clock. Arrays are reduced to the few moments where something changes; a small
machine with timers goes through these, so that the findings do not depend on how the record is cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumpwatch.diagnosis.present_freeze import FreezeWatch
from pumpwatch.diagnosis.present_machine import (
    Change,
    FactMachine,
    Floats,
    Levels,
    PresentState,
    Times,
)
from pumpwatch.diagnosis.present_rules import (
    ABOVE_HIGH,
    AT_COVER,
    CLOCK_AHEAD,
    CLOCK_BACK,
    LEVEL_MISSING,
    SILENT,
    UNANSWERED,
    PresentSettings,
    dry_run,
    rules_of,
    watched_signals,
)
from pumpwatch.domain.alerts import Finding
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import run_signal
from pumpwatch.domain.sites import Site

__all__ = ["PresentFacts", "PresentSettings", "PresentState"]

DEFAULT_PERIOD_S = 60.0


class PresentFacts:
    """The rules of one site. ``state`` goes on where an earlier one stopped."""

    def __init__(
        self,
        key: SiteKey,
        site: Site,
        settings: PresentSettings | None = None,
        state: PresentState | None = None,
    ) -> None:
        self.state = PresentState() if state is None else state
        self._site = site
        self._settings = PresentSettings() if settings is None else settings
        period_ms = round((site.sample_s or DEFAULT_PERIOD_S) * 1000)
        self._silence_ms = max(
            self._settings.silence_ms, self._settings.silence_samples * period_ms
        )
        rules = rules_of(site, self._settings, period_ms)
        self._watched = watched_signals(rules)
        self._freeze = FreezeWatch(key, site, self._settings.freeze, self.state.freeze, period_ms)
        depth = site.well_depth_m
        self._highest_m = np.inf if depth is None else 1.5 * depth + 0.5
        self._machine = FactMachine(key, site, self._settings, rules, self.state, self._silence_ms)

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> list[Finding]:
        """Findings of new rows and edges, oldest first. Rows not newer than the newest are left out."""
        t_ms, at = np.asarray(chunk.t_ms, dtype=np.int64), 0
        while True:
            fresh, end = self._fresh(t_ms[at:])
            rows = np.flatnonzero(fresh) + at
            everything = len(rows) == len(t_ms)
            part = {
                name: np.asarray(v, dtype=float) if everything else np.asarray(v, dtype=float)[rows]
                for name, v in chunk.signals.items()
            }
            self._feed_ordered(t_ms if everything else t_ms[rows], part, edges)
            if end is None:
                break
            at, edges = at + end, ()
            self._set_back(int(t_ms[at]))
        return self._taken()

    def tick(self, now_ms: int) -> list[Finding]:
        """What absence tells by ``now_ms``: silence, and the delays that ran out meanwhile.

        Stamped with the moment it became true, as the next sample would have found it.
        """
        state = self.state
        self._machine.levels = Levels(before_m=state.level_m)
        state.ticked_ms = max(now_ms, state.ticked_ms or now_ms)
        changes: list[Change] = []
        if state.word_ms is not None:
            silent_ms = state.word_ms + self._silence_ms
            if now_ms >= silent_ms and not state.values.get(SILENT, False):
                changes.append((silent_ms, SILENT, True))
            self._machine.run(changes, now_ms)
        if state.row_ms is not None:
            ahead = state.row_ms > now_ms + self._settings.clock_ahead_ms
            if ahead != state.values.get(CLOCK_AHEAD, False):
                self._machine.set(now_ms, CLOCK_AHEAD, ahead)
        return self._taken()

    def _taken(self) -> list[Finding]:
        found, self._machine.found = self._machine.found, []
        return sorted(found, key=lambda f: f.t_ms)

    # -- rows to changes -------------------------------------------------------------------

    def _fresh(self, t_ms: Times) -> tuple[NDArray[np.bool_], int | None]:
        """Which rows are newer than all before, and the row where a clock proves set back."""
        state, settings = self.state, self._settings
        if not len(t_ms):
            return np.zeros(0, dtype=bool), None
        start = t_ms[0] - 1 if state.row_ms is None else state.row_ms
        newest = np.maximum.accumulate(np.concatenate(([start], t_ms)))[:-1]
        fresh = t_ms > newest
        old = np.cumsum(t_ms < newest - settings.clock_step_ms)
        in_a_row: Times = old - np.maximum.accumulate(np.where(fresh, old, 0))
        in_a_row = in_a_row + np.where(np.logical_or.accumulate(fresh), 0, state.stale_rows)
        steps = np.flatnonzero(in_a_row >= settings.clock_step_rows)
        if len(steps):
            return fresh[: steps[0]], int(steps[0])
        state.stale_rows = int(in_a_row[-1])
        return fresh, None

    def _set_back(self, t_ms: int) -> None:
        """The clock was set back to ``t_ms``: say so, and go on from there."""
        state = self.state
        shift = t_ms - 1 - (state.row_ms or t_ms)
        for fact in state.facts.values():
            fact.since_ms = None if fact.since_ms is None else fact.since_ms + shift
            fact.over_ms = None if fact.over_ms is None else fact.over_ms + shift
        state.heard_ms = dict.fromkeys(state.heard_ms, t_ms - 1)
        state.late_ms.clear()
        state.late_over_ms.clear()
        state.row_ms = state.word_ms = t_ms - 1
        state.stale_rows = 0
        state.freeze.level_m, state.freeze.frozen = None, False
        self._machine.set(t_ms, CLOCK_BACK, True)
        self._machine.set(t_ms, CLOCK_BACK, False)

    def _feed_ordered(self, t_ms: Times, rows: dict[str, Floats], edges: Sequence[Edge]) -> None:
        state = self.state
        changes: list[Change] = []
        for name in self._watched:
            told = [e for e in edges if e.signal == name]
            if told:
                self._told_late(name, told)
            if name in rows or told:
                values = rows.get(name, np.full(len(t_ms), np.nan))
                changes += self._changes(name, t_ms, values, told)
        sound = self._levels(t_ms, rows, changes)
        changes += self._against_level(t_ms, rows, sound)
        changes += self._silences(t_ms, edges)
        changes.sort(key=lambda c: c[0])
        words = [*(e.t_ms for e in edges), *(int(t) for t in t_ms[-1:])]
        self._machine.run(changes, max(words, default=0))
        running = np.zeros(len(t_ms), dtype=bool)
        for n in range(1, self._site.pumps + 1):
            if run_signal(n) in rows:
                running |= rows[run_signal(n)] >= 0.5
        levels = self._machine.levels
        self._machine.found += self._freeze.feed(levels.t_ms, levels.level_m, running[sound])
        if len(t_ms):
            state.row_ms = int(t_ms[-1])
        if len(levels.t_ms):
            state.level_m = float(levels.level_m[-1])

    def _told_late(self, name: str, edges: Sequence[Edge]) -> None:
        """An episode of which only edges tell that come after rows of a later time: the rows say that
        it is over, and without this nobody would learn that it was."""
        state = self.state
        now, heard_ms = state.values.get(name), state.heard_ms.get(name)
        if now is None or heard_ms is None:
            return
        for edge in sorted(edges, key=lambda e: e.t_ms):
            value = edge.value >= 0.5
            if value == now:
                began_ms = state.late_ms.pop(name, None)
                if began_ms is not None:
                    self._machine.say_past(name, began_ms, edge.t_ms, max(heard_ms, edge.t_ms))
                else:
                    state.late_over_ms[name] = edge.t_ms
            elif edge.t_ms > heard_ms:
                now = value
            elif edge.t_ms < (over_ms := state.late_over_ms.pop(name, 0)):
                self._machine.say_past(name, edge.t_ms, over_ms, max(heard_ms, over_ms))
            else:
                state.late_ms.setdefault(name, edge.t_ms)

    def _changes(
        self, name: str, t_ms: Times, values: Floats, told: Sequence[Edge] = ()
    ) -> list[Change]:
        """Moments where a two-valued signal changed; what is older than its newest word is left out."""
        before = self.state.values.get(name)
        same = before is not None and not told and len(t_ms) and not np.isnan(values).any()
        if same and bool(((values >= 0.5) == before).all()):  # nearly always, so quickly
            self.state.heard_ms[name] = max(int(t_ms[-1]), self.state.heard_ms.get(name, 0))
            return []
        known = np.isfinite(values)
        t_ms, state = t_ms[known], values[known] >= 0.5
        if told:
            t_ms = np.concatenate((t_ms, [e.t_ms for e in told]))
            state = np.concatenate((state, [e.value >= 0.5 for e in told]))
            order = np.argsort(t_ms, kind="stable")
            t_ms, state = t_ms[order], state[order]
        heard_ms = self.state.heard_ms.get(name)
        if heard_ms is not None and len(t_ms) and t_ms[0] <= heard_ms:
            t_ms, state = t_ms[t_ms > heard_ms], state[t_ms > heard_ms]
        if not len(t_ms):
            return []
        self.state.heard_ms[name] = int(t_ms[-1])
        at = np.flatnonzero(np.diff(state)) + 1
        if before is None or bool(state[0]) != before:
            at = np.concatenate(([0], at))
        return [(int(t_ms[i]), name, bool(state[i])) for i in at]

    def _levels(
        self, t_ms: Times, rows: dict[str, Floats], changes: list[Change]
    ) -> NDArray[np.bool_]:
        """Note the sound levels of these rows and the changes they mean; return which are sound."""
        level = rows.get("level_m", np.full(len(t_ms), np.nan))
        with np.errstate(invalid="ignore"):
            sound = (level >= self._settings.lowest_level_m) & (level <= self._highest_m)
        t_sound, sound_m = t_ms[sound], level[sound]
        self._machine.levels = Levels(t_sound, sound_m, self.state.level_m)
        if self.state.level_m is None and not len(t_sound):
            return sound  # a site without a transmitter has none that fails
        first = len(t_ms) if not len(t_sound) else int(np.argmax(sound))
        seen = slice(0 if self.state.level_m is not None else first, None)
        changes += self._changes(LEVEL_MISSING, t_ms[seen], np.where(sound, 0.0, 1.0)[seen])
        for name, high_m in (
            (AT_COVER, self._site.well_depth_m),
            (ABOVE_HIGH, self._site.high_level_m),
        ):
            if high_m is None:
                if not self.state.values.get(name, False):
                    continue
                high_m = np.inf  # people took the limit away: nothing is above it any more
            low_m = high_m - self._settings.level_margin_m
            state = np.where(sound_m >= high_m, 1.0, np.where(sound_m < low_m, 0.0, np.nan))
            changes += self._changes(name, t_sound, state)
        return sound

    def _against_level(
        self, t_ms: Times, rows: dict[str, Floats], sound: NDArray[np.bool_]
    ) -> list[Change]:
        """What pumps do that the level does not ask for: run below the stop level, stand above the alarm's."""
        stop_m, high_m = self._site.stop_level_m, self._site.high_level_m
        runs = {
            n: rows[run_signal(n)][sound]
            for n in range(1, self._site.pumps + 1)
            if run_signal(n) in rows
        }
        level_m, changes = self._machine.levels.level_m, list[Change]()
        t_sound = t_ms[sound]
        for n, run in runs.items():
            if stop_m is not None:
                dry = (run >= 0.5) & (level_m < stop_m - self._settings.dry_run_m)
                changes += self._changes(dry_run(n), t_sound, dry.astype(float))
        if high_m is not None and len(runs) == self._site.pumps:
            stand = np.all([run < 0.5 for run in runs.values()], axis=0)
            changes += self._changes(
                UNANSWERED, t_sound, (stand & (level_m >= high_m)).astype(float)
            )
        return changes

    def _silences(self, t_ms: Times, edges: Sequence[Edge]) -> list[Change]:
        """Silence begins a timeout after the last word and ends with the next one."""
        state = self.state
        words = t_ms
        if edges:
            words = np.sort(np.concatenate((t_ms, [e.t_ms for e in edges]))).astype(np.int64)
        if state.word_ms is not None:
            words = words[words > state.word_ms]
        if not len(words):
            return []
        last_ms, state.word_ms = state.word_ms, int(words[-1])
        changes: list[Change] = []
        if state.values.get(SILENT, False):
            # after a silence noticed by the clock old words arrive first: wait for those of today
            due_ms = (state.ticked_ms or 0) - self._silence_ms
            words = words[words >= due_ms]
            if not len(words):
                return []
            since_ms = self._machine.fact("comms").opened_ms
            changes.append((max(int(words[0]), since_ms), SILENT, False))
            last_ms = int(words[0])
        times = words if last_ms is None else np.concatenate(([last_ms], words))
        for i in np.flatnonzero(np.diff(times) > self._silence_ms):
            changes.append((int(times[i]) + self._silence_ms, SILENT, True))
            changes.append((int(times[i + 1]), SILENT, False))
        return changes
