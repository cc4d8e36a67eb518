"""From charts to statements: the signs of the moment, the ranking, and what becomes of episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from pumpwatch.cycles.features import significant
from pumpwatch.diagnosis import causes
from pumpwatch.diagnosis.episodes import (
    Episode,
    Opinion,
    Sign,
    distinct,
    finding,
    severity_of,
)
from pumpwatch.diagnosis.outlook import Outlook, outlook
from pumpwatch.diagnosis.partners import pair_ratios
from pumpwatch.diagnosis.settings import DiagnosisSettings, effects
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.alerts import Finding, Json, Phase, Severity
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

DAY_MS = 86_400_000

Rank = Callable[[Mapping[str, float], int, str | None], list[causes.Cause]]

FEATURE_OF = {
    "capacity": "capacity_m3s",
    "scatter": "capacity_scatter",
    "current": "current_a",
    "backflow": "backflow_m3s",
    "start_level": "start_level_m",
    "stop_level": "stop_level_m",
    "start_spread": "level_spread_m",
    "stop_spread": "level_spread_m",
    "night_inflow": "night_inflow_m3s",
    "inflow_low": "inflow_m3s",
    "day_inflow": "inflow_m3s",
    "short_run": "short_run_share",
    "low_stop": "low_stop_share",
    "late_start": "late_start_share",
    "turn_lost": "late_start_share",
    "hand_over": "hand_over_share",
    "trip": "hand_over_share",
    "low_capacity": "no_drawdown_share",
    "idle": "start_share",
    "pair": "pair_log_ratio",
}
"""Chart → the nomenclature's feature it shows as."""


_PACE_SIGMAS = 5.0
"""Of a pace that is e times another: rags gather thrice as fast as a gasket goes, and that as parts wear."""


def form_opinion(
    now_ms: int,
    site: Site,
    state: AssessorState,
    s: DiagnosisSettings,
    rank: Rank = causes.rank,
    begun_ms: int = 0,
) -> Opinion:
    """Every sign of the moment with its strength, and the causes ranked by them.

    What looked normal in the half-days before ``begun_ms`` is of a time when all was well: since then it
    is not known, and speaks neither for nor against a cause.
    """
    strengths: dict[str, float] = {}
    signs: dict[str, Sign] = {}
    for key, value in state.values.items():
        z = state.charts[key].level if key in state.charts else 0.0
        for quick in (key, key.replace("capacity", "gain")):
            if quick in state.fast and abs(state.fast[quick].level) > 2.0:
                z = max(z, 2.0 * state.fast[quick].level, key=abs)
        if not causes.strength(z) and _outdated(key, begun_ms, state) and not _by_cycle(key, state):
            continue
        strengths[key] = z
        signs[key] = _sign(key, value.now, value.normal, z)
    for key, count in state.counts.items():
        z = 6.0 * min(1.0, count.total / s.count_limit)
        strengths[key] = z
        if z > 2 and key.partition(":")[0] in FEATURE_OF:
            base = state.site.rates.get(key, 0.0) if state.site else 0.0
            signs[key] = _sign(key, count.share, base, z)
    water = state.water
    if water.lasting >= 2 and state.site is not None:
        z = min(2.0 * water.lasting, 10.0)
        strengths["day_inflow"] = z
        peak = state.site.peak_inflow
        signs["day_inflow"] = _sign("day_inflow", peak * (1 + water.share), peak, z)
    if water.missing and state.site is not None:
        z = min(2.5 * water.missing, 10.0)
        strengths["inflow_low"] = z
        last = next((c.inflow for c, _, _ in reversed(state.cycles) if c.valid), math.nan)
        if math.isfinite(last):
            signs["inflow_low"] = _sign("inflow_low", last, state.site.quiet_inflow, -z)
    _derive(now_ms, state, strengths, signs, s, begun_ms)
    ranked = rank(strengths, site.pumps, site.control)
    return Opinion(now_ms, signs, strengths, ranked, _numbers(state))


def _sign(key: str, now: float, normal: float, z: float) -> Sign:
    name, _, target = key.partition(":")
    return Sign(FEATURE_OF[name], target or None, now, normal, z)


def _outdated(key: str, begun_ms: int, state: AssessorState) -> bool:
    """Whether this feature was last measured before what is told began."""
    return state.measured_ms.get(key, begun_ms + 1) <= begun_ms


def _by_cycle(key: str, state: AssessorState) -> bool:
    return key in state.fast or key.replace("capacity", "gain") in state.fast


def _derive(
    now_ms: int,
    state: AssessorState,
    strengths: dict[str, float],
    signs: dict[str, Sign],
    s: DiagnosisSettings,
    begun_ms: int,
) -> None:
    """Signs that lie between features: levels moving together, pace of a loss, the pair compared."""
    a, b = strengths.get("start_level"), strengths.get("stop_level")
    if a is not None and b is not None:
        start, stop = state.values["start_level"].residual, state.values["stop_level"].residual
        alike = start * stop > 0 and 0.5 < abs(start) / max(abs(stop), 1e-6) < 2.0
        strengths["levels_together"] = max(abs(a), abs(b)) if alike else 0.0
    for key, value in state.values.items():
        name, _, pump = key.partition(":")
        if name != "capacity" or _outdated(key, begun_ms, state):
            continue
        if abs(strengths[key]) > 2 and key in state.charts:
            days = max((now_ms - state.charts[key].since_ms) / DAY_MS, 0.5)
            pace = max(math.copysign(1.0, strengths[key]) * value.residual / days, 1e-4)
            strengths[f"pace:{pump}"] = _PACE_SIGMAS * math.log(pace / s.fast_loss_per_day)
    old = [k for k in strengths if k.startswith("capacity") and _outdated(k, begun_ms, state)]
    if any(causes.strength(strengths[k]) for k in old):
        return  # a pump that moved since it was last measured cannot be compared
    for pump, (ratio, z) in pair_ratios(state.values, s).items():
        if old and not causes.strength(z):
            continue
        strengths[f"pair:{pump}"] = z
        signs[f"pair:{pump}"] = _sign(f"pair:{pump}", ratio, 0.0, z)


def _numbers(state: AssessorState) -> dict[str, Json]:
    index: dict[str, Json] = {
        key.partition(":")[2]: significant(math.exp(v.residual), 3)
        for key, v in sorted(state.values.items())
        if key.startswith("capacity")
    }
    numbers: dict[str, Json] = {"capacity_index": index} if index else {}
    if state.strangeness.p is not None:
        numbers["anomaly_p"] = significant(state.strangeness.p, 2)
    return numbers


_WORTH_A_THOUGHT = 0.1
"""Probability from which a cause beside one without a name may explain something."""
WATER = frozenset({"night_inflow", "day_inflow"})


def _holding(keys: list[str]) -> list[str]:
    """The signs that keep an episode open: a pump's or the levels' own, where it has any.

    A leaking valve brings water; once its pump is well again, what still comes in is the season's.
    """
    return [k for k in keys if k not in WATER] or keys


def _likely(e: Episode, opinion: Opinion) -> Iterable[causes.Cause]:
    """What may be behind an open episode: the cause it names; where that stands for not knowing, those beside."""
    if e.fault[0] != "unusual":
        return [causes.Cause(e.fault[0], e.pump, 1.0, (), ())]
    return [c for c in opinion.ranked if c.fault in e.fault[1:] and c.p >= _WORTH_A_THOUGHT]


class Judge:
    """Opens, worsens and resolves the episodes of one site."""

    def __init__(
        self,
        key: SiteKey,
        site: Site,
        state: AssessorState,
        settings: DiagnosisSettings,
        rank: Rank = causes.rank,
    ) -> None:
        self._key, self._site, self._s, self._set, self._rank = key, site, state, settings, rank

    def _opinion(self, now_ms: int, begun_ms: int = 0) -> Opinion:
        return form_opinion(now_ms, self._site, self._s, self._set, self._rank, begun_ms)

    def hear(self, now_ms: int, fired: set[str]) -> list[Finding]:
        """Charts have fired between half-days: open what no open episode covers."""
        if fired <= {k for e in self._s.episodes for k in e.keys}:
            return []
        return self._open_new(fired, self._opinion(now_ms, self._begun_ms(fired)))

    def _begun_ms(self, fired: set[str]) -> int:
        """When the amounts that moved from cycle to cycle began to; 0 where it was events that came up."""
        fast = self._s.fast
        quick = [k for key in fired for k in (key, key.replace("capacity", "gain")) if k in fast]
        return min((fast[k].since_ms for k in quick), default=0)

    def half_day(self, now_ms: int, fired: set[str]) -> list[Finding]:
        """A half-day is over: follow the open episodes, then open what is new."""
        if not fired and not self._s.episodes:
            return []
        opinion = self._opinion(now_ms)
        before = list(self._s.episodes)
        found = [f for e in before for f in self._follow(e, opinion)]
        ended = {k for e in before if e not in self._s.episodes for k in e.keys}
        return found + self._open_new(fired - ended, opinion)

    def _open_new(self, fired: set[str], opinion: Opinion) -> list[Finding]:
        new = sorted(k for k in fired if not self._covered(k, opinion))
        return [self._open(new, opinion)] if new else []

    def _covered(self, key: str, opinion: Opinion) -> bool:
        for e in self._s.episodes:
            if key in e.keys:
                return True
            if any(self._explained(cause, key, opinion) for cause in _likely(e, opinion)):
                e.keys.append(key)
                return True
        return False

    def _explained(self, cause: causes.Cause, key: str, opinion: Opinion) -> bool:
        """Whether ``cause`` does this. What ails a whole station moves every pump's flow: of one alone it is
        that pump's own."""
        z = opinion.strengths.get(key, 0.0)
        if not causes.explains(cause, key, z):
            return False
        if not key.startswith("capacity:") or causes.of_a_pump(cause.fault):
            return True
        others = [v for k, v in opinion.strengths.items() if k.startswith("capacity:") and k != key]
        return all(math.copysign(1.0, z) * v > 1.0 for v in others)

    def _fitting(self, keys: list[str], opinion: Opinion) -> list[causes.Cause]:
        """The causes that explain one of these signs at least, with probabilities among themselves."""
        z = opinion.strengths
        fitting = [
            c for c in opinion.ranked if any(causes.explains(c, k, z.get(k, 0.0)) for k in keys)
        ]
        total = sum(c.p for c in fitting)
        return [c._replace(p=c.p / total) for c in fitting] if total > 0 else []

    def _open(self, keys: list[str], opinion: Opinion) -> Finding:
        fitting = self._fitting(keys, opinion) or list(opinion.ranked)
        top = fitting[0]
        severity = severity_of(top.fault, self._index(top.target), self._set.alarm_capacity)
        episode = Episode(
            cause=keys[0],
            keys=keys,
            fault=self._verdict(fitting),
            pump=top.target,
            target=self._target(top),
            severity=str(severity),
            score=min(0.99, 0.5 + 0.5 * top.p),
            since_ms=min((self._since(k) for k in keys), default=0) or opinion.now_ms,
            opened_ms=opinion.now_ms,
            size=self._size(keys),
        )
        self._s.episodes.append(episode)
        return finding(self._key, episode, Phase.OPENED, opinion, fitting, self._outlook(episode))

    def _outlook(self, e: Episode) -> Outlook | None:
        return outlook(e.fault[0], e.pump, self._s.history, self._s.offsets)

    def _verdict(self, fitting: list[causes.Cause]) -> list[str]:
        """Faults in order; where nothing stands out, not knowing comes first."""
        names = distinct(fitting)
        if fitting[0].p >= self._set.unknown_probability:
            return names
        return ["unusual", *(name for name in names if name != "unusual")]

    def _size(self, keys: list[str]) -> float:
        """How far from normal an episode's amounts are, in effects worth a visit."""
        least = effects(self._set)
        values = [(k.partition(":")[0], self._s.values[k]) for k in keys if k in self._s.values]
        return max(
            (abs(v.residual) / least[name] for name, v in values if least.get(name)), default=0.0
        )

    def _target(self, cause: causes.Cause) -> str | None:
        """Where alternation is lost, the pump to name is the one that does all the work."""
        if cause.fault != "alternation_failure" or self._site.pumps != 2:
            return cause.target
        return "pump2" if cause.target == "pump1" else "pump1"

    def _since(self, key: str) -> int:
        s = self._s
        starts = [b[key].since_ms for b in (s.charts, s.fast, s.counts) if key in b]
        return min((t for t in starts if t), default=0)

    def _index(self, target: str | None) -> float | None:
        value = self._s.values.get(f"capacity:{target}") if target else None
        return math.exp(value.residual) if value else None

    def _follow(self, e: Episode, opinion: Opinion) -> list[Finding]:
        calm = all(self._calm(k, opinion) for k in _holding(e.keys))
        e.calm = e.calm + 1 if calm else 0
        fitting = self._fitting(e.keys, opinion)
        if e.calm >= self._set.clear_halves:
            self._close(e)
            return [finding(self._key, e, Phase.RESOLVED, opinion, fitting)]
        if calm or not fitting:
            return []
        top = fitting[0]
        severity = severity_of(top.fault, self._index(top.target), self._set.alarm_capacity)
        size = self._size(e.keys)
        other = (top.fault, top.target) != (e.fault[0], e.pump) and top.p > 0.5
        e.turned = e.turned + 1 if other and size >= 0.7 * e.size else 0
        worse = severity.rank > Severity(e.severity).rank or size > self._set.growth * e.size
        if e.turned < 2 and not worse:
            return []
        e.size = max(size, e.size)
        if top.p > 0.5:
            e.fault, e.turned = distinct(fitting), 0
            e.pump, e.target = top.target, self._target(top)
        e.severity = str(max(severity, Severity(e.severity), key=lambda v: v.rank))
        e.score = min(0.99, 0.5 + 0.5 * top.p)
        return [finding(self._key, e, Phase.WORSENED, opinion, fitting, self._outlook(e))]

    def _close(self, e: Episode) -> None:
        s = self._s
        s.episodes.remove(e)
        for key in e.keys:
            for book in (s.charts, s.fast, s.counts):
                if key in book:
                    book[key].reset()
        if not WATER.isdisjoint(e.keys):  # the nights and days counted were those of what is over
            s.nights = 0
            s.water.raised = [0] * len(s.water.raised)

    def _calm(self, key: str, opinion: Opinion) -> bool:
        if key in self._s.counts:
            return opinion.now_ms - self._s.counts[key].last_ms > DAY_MS
        if key == "inflow_low":
            return self._s.water.missing == 0
        return abs(opinion.strengths.get(key, 0.0)) < self._set.clear_sigma
