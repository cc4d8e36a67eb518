"""The small machine behind the present facts: values that change, delays that run out, findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pumpwatch.diagnosis.present_freeze import FreezeState
from pumpwatch.diagnosis.present_rules import PresentSettings, Rule, trip_cause
from pumpwatch.domain.alerts import Finding, Json, Phase, Severity, iso_utc
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

Times: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Change: TypeAlias = tuple[int, str, bool]
"""Moment, signal, new value."""


@dataclass(slots=True)
class FactState:
    """Where one fact stands. ``since_ms``: its condition holds since; ``over_ms``: it is over since."""

    active: bool = False
    severity: str = ""
    since_ms: int | None = None
    over_ms: int | None = None
    opened_ms: int = 0


@dataclass(slots=True)
class PresentState:
    """Everything `PresentFacts` remembers between two chunks."""

    values: dict[str, bool] = field(default_factory=dict)
    heard_ms: dict[str, int] = field(default_factory=dict)
    late_ms: dict[str, int] = field(default_factory=dict)
    """Signal → when an episode began of which only late edges tell, until they tell its end."""
    late_over_ms: dict[str, int] = field(default_factory=dict)
    """Signal → when one ended whose beginning may come later still: its message was lost and is sent
    again."""
    facts: dict[str, FactState] = field(default_factory=dict)
    row_ms: int | None = None
    word_ms: int | None = None
    level_m: float | None = None
    outage_level_m: float | None = None
    stale_rows: int = 0
    ticked_ms: int | None = None
    freeze: FreezeState = field(default_factory=FreezeState)


@dataclass(frozen=True, slots=True)
class Levels:
    """Sound levels of the rows at hand, and the last one before them."""

    t_ms: Times = field(default_factory=lambda: np.zeros(0, np.int64))
    level_m: Floats = field(default_factory=lambda: np.zeros(0))
    before_m: float | None = None

    def at(self, t_ms: int) -> float | None:
        """The level last known at ``t_ms``."""
        i = int(np.searchsorted(self.t_ms, t_ms, side="right")) - 1
        return self.before_m if i < 0 else float(self.level_m[i])

    def first_above(self, limit_m: float, after_ms: int, to_ms: int) -> int | None:
        """Time of the first row in (after, to] whose level is at least ``limit_m``."""
        i, j = np.searchsorted(self.t_ms, [after_ms, to_ms], side="right")
        above = np.flatnonzero(self.level_m[i:j] >= limit_m)
        return int(self.t_ms[i + above[0]]) if len(above) else None


class FactMachine:
    """Goes through changes in order of time and says what becomes true and what is over.

    ``levels`` are the rows at hand, ``found`` what was found since the caller last took it.
    """

    def __init__(
        self,
        key: SiteKey,
        site: Site,
        settings: PresentSettings,
        rules: Sequence[Rule],
        state: PresentState,
        silence_ms: int,
    ) -> None:
        self._key, self._site, self._settings = key, site, settings
        self._rules, self.state, self._silence_ms = rules, state, silence_ms
        self._power = next(r for r in rules if r.cause == "power")
        self.levels = Levels(before_m=state.level_m)
        self.found: list[Finding] = []

    def run(self, changes: Sequence[Change], until_ms: int) -> None:
        """Apply changes, oldest first, and let every delay run out that ends by ``until_ms``."""
        self._catch_up_outage()
        i = 0
        while i < len(changes):
            t_ms = changes[i][0]
            self.advance(t_ms - 1)
            while i < len(changes) and changes[i][0] == t_ms:
                self.state.values[changes[i][1]] = changes[i][2]
                i += 1
            self.evaluate(t_ms)
            self.advance(t_ms)
        self.advance(until_ms)

    def set(self, t_ms: int, name: str, value: bool) -> None:
        """One change at once, whatever the delays before it say."""
        self.state.values[name] = value
        self.evaluate(t_ms)
        self.advance(t_ms)

    def say_past(self, signal: str, since_ms: int, over_ms: int, known_ms: int) -> None:
        """What was so while ``signal`` differed from what it is now, told once it is over.

        Nothing is stamped later than ``known_ms``: what begins after that is another episode.
        """
        values = self.state.values
        then = {**values, signal: not values[signal]}
        for rule in self._rules:
            opened_ms = since_ms + rule.on_ms
            if opened_ms >= over_ms or rule.on(values) or not rule.on(then):
                continue
            if self.fact(rule.cause).opened_ms > since_ms:
                continue  # rows have told it, or what came after it
            resolved_ms = max(opened_ms, min(over_ms + rule.off_ms, known_ms))
            evidence: dict[str, Json] = {"since": iso_utc(since_ms), "signs": []}
            if rule.signals:
                evidence["contacts"] = [signal]
            for phase, t_ms in ((Phase.OPENED, opened_ms), (Phase.RESOLVED, resolved_ms)):
                self.found.append(
                    Finding(
                        self._key, t_ms, phase, rule.cause, rule.kind, rule.severity,
                        (rule.fault,), rule.target, float(phase is Phase.OPENED), evidence,
                    )
                )  # fmt: skip

    def evaluate(self, t_ms: int) -> None:
        """Start and stop the delays of every rule by the values that hold from ``t_ms`` on."""
        values = self.state.values
        for rule in self._rules:
            fact = self.fact(rule.cause)
            if fact.active:
                over = rule.off(values)
                fact.over_ms = (t_ms if fact.over_ms is None else fact.over_ms) if over else None
            elif not rule.on(values):
                fact.since_ms = None
            elif fact.since_ms is None:
                fact.since_ms = t_ms
                if rule.cause == "power":
                    self.state.outage_level_m = self.levels.at(t_ms)

    def advance(self, to_ms: int) -> None:
        """Let the delays run out that end by ``to_ms``, in the order they end."""
        while True:
            due = [
                (t, n) for n, rule in enumerate(self._rules) if (t := self._due(rule)) is not None
            ]
            if not due or min(due)[0] > to_ms:
                break
            t_ms, n = min(due)
            self._watch_outage(t_ms)
            self._turn(self._rules[n], t_ms)
        self._watch_outage(to_ms)

    def _due(self, rule: Rule) -> int | None:
        fact = self.fact(rule.cause)
        if fact.active:
            return None if fact.over_ms is None else fact.over_ms + rule.off_ms
        return None if fact.since_ms is None else fact.since_ms + rule.on_ms

    def _turn(self, rule: Rule, t_ms: int) -> None:
        """A delay ran out: the fact is said, or taken back."""
        fact = self.fact(rule.cause)
        if fact.active:
            self._say(rule, Phase.RESOLVED, max(t_ms, fact.opened_ms))
            fact.active, fact.since_ms, fact.over_ms = False, None, None
            self.evaluate(t_ms)
            return
        fact.active, fact.opened_ms = True, t_ms
        fact.severity = str(self._severity(rule, t_ms))
        self._say(rule, Phase.OPENED, t_ms)

    def _severity(self, rule: Rule, t_ms: int) -> Severity:
        if rule.cause == "power":
            level_m, limit_m = self.levels.at(t_ms), self._outage_limit_m()
            if level_m is not None and limit_m is not None and level_m >= limit_m:
                return Severity.CRITICAL
        pumps = range(1, self._site.pumps + 1)
        tripped = [self.fact(trip_cause(n)).since_ms is not None for n in pumps]
        if rule.fault == "pump_trip" and all(tripped):
            return Severity.CRITICAL
        return rule.severity

    def _outage_limit_m(self) -> float | None:
        """The level from which an outage is critical: it has risen, or would have started a pump."""
        limits = [self._site.start_level_m] if self._site.start_level_m is not None else []
        if self.state.outage_level_m is not None:
            limits.append(self.state.outage_level_m + self._settings.outage_rise_m)
        return min(limits, default=None)

    def _catch_up_outage(self) -> None:
        """Rows of the time before an outage may come after the edge that told of it: the rise counts from
        the newest of them."""
        since_ms = self.fact("power").since_ms
        if since_ms is not None and len(self.levels.t_ms) and self.levels.t_ms[0] <= since_ms:
            self.state.outage_level_m = self.levels.at(since_ms)

    def _watch_outage(self, to_ms: int) -> None:
        """Worsen an outage at the first row up to ``to_ms`` whose level is too high."""
        fact = self.fact("power")
        limit_m = self._outage_limit_m()
        if (
            not fact.active
            or fact.severity == Severity.CRITICAL
            or self.state.values.get("power_ok", True)
            or limit_m is None
        ):
            return
        t_ms = self.levels.first_above(limit_m, fact.opened_ms, to_ms)
        if t_ms is not None:
            fact.severity = str(Severity.CRITICAL)
            self._say(self._power, Phase.WORSENED, t_ms)

    def _say(self, rule: Rule, phase: Phase, t_ms: int) -> None:
        fact = self.fact(rule.cause)
        self.found.append(
            Finding(
                self._key, t_ms, phase, rule.cause, rule.kind, Severity(fact.severity),
                (rule.fault,), rule.target, 0.0 if phase is Phase.RESOLVED else 1.0,
                self._evidence(rule, fact, t_ms),
            )
        )  # fmt: skip

    def _evidence(self, rule: Rule, fact: FactState, t_ms: int) -> dict[str, Json]:
        site, level_m = self._site, self.levels.at(t_ms)
        since_ms = fact.opened_ms if fact.since_ms is None else fact.since_ms
        signs: list[Json] = []
        numbers: dict[str, Json] = {}
        if rule.cause == "comms":
            since_ms -= self._silence_ms
            signs.append(_sign("silence_s", (t_ms - since_ms) / 1000, self._silence_ms / 1000))
        if rule.cause == "power":
            signs.append(_sign("outage_s", (t_ms - since_ms) / 1000, 0.0))
        limits_m = {
            "power": site.start_level_m,
            "comms": site.start_level_m,
            "high_level": site.high_level_m,
            "overflow": site.well_depth_m,
            "unanswered": site.high_level_m,
            "dry_run": site.stop_level_m,
        }
        told = rule.cause.partition(":")[0]
        if told in limits_m and level_m is not None:
            signs.append(_sign("level_m", level_m, limits_m[told]))
        if rule.cause in ("left_in_manual", "sensor_failed"):
            numbers["lasted_s"] = (t_ms - since_ms) / 1000
        if rule.signals:
            numbers["contacts"] = [s for s in rule.signals if self.state.values.get(s, False)]
        return {"since": iso_utc(since_ms), "signs": signs, **numbers}

    def fact(self, cause: str) -> FactState:
        return self.state.facts.setdefault(cause, FactState())


def _sign(feature: str, now: float, normal: float | None) -> dict[str, Json]:
    """A sign of a present fact: measured against a limit, so without a deviation in sigmas."""
    return {"feature": feature, "target": None, "now": now, "normal": normal, "deviation": None}
