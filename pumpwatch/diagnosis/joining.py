"""A station that joins: pumps that were weak before anybody watched, and first days not to learn from.

Nobody can know whether it was always so, hence it is told as information, once, until the site log writes it
off. References are learnt from days that stand still.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.episodes import Sign
from pumpwatch.diagnosis.partners import Stand, best_beside, moved_alone
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings, effects
from pumpwatch.diagnosis.state import JoiningState
from pumpwatch.domain.alerts import Finding, Json, Kind, Phase, Severity, iso_utc
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import LogEntry, Site

DAY_MS = 86_400_000
SURE = 2.0
"""Standard errors by which a difference must exceed what is worth a word."""
MEDIAN_ERROR = 1.253
"""Standard error of a median, in standard errors of a mean: sqrt(pi / 2)."""

WEAK, MOVING = "joined:capacity", "joined:moving"
"""Causes: pumps below their nameplate or their partner; first days in which something changed."""

Kept = Sequence[tuple[int, Seen]]
"""(half-day, cycle) pairs of one pump."""


class Shift(NamedTuple):
    """How far a feature moved from the first third of a span to the last, in its logarithm."""

    by: float
    sigma: float
    """Spread of single cycles within a third."""
    error: float

    def beyond(self, least: float) -> bool:
        return abs(self.by) > least + SURE * self.error


def stand(kept: Kept, s: DiagnosisSettings) -> Stand | None:
    """Where a pump stands by its kept cycles; None while half of what a reference needs is not there."""
    x = np.array([c.log_inflow for _, c in kept])
    y = np.array([c.log_capacity for _, c in kept])
    n = int(np.isfinite(y).sum())
    if n < s.reference_cycles / 2 or len({h for h, _ in kept}) < s.reference_halves / 2:
        return None
    a, b, m = robust.line(x, y)
    sigma = max(robust.sigma(y - a - b * (x - m)), s.capacity_floor)
    return Stand(a, b, m, sigma, MEDIAN_ERROR * sigma / math.sqrt(n))


def shift(kept: Kept, feature: str) -> Shift | None:
    """How ``feature`` (an attribute of `Seen`) moved, inflow taken out; None where too few cycles tell."""
    t = np.array([c.final_ms for _, c in kept], float)
    x = np.array([c.log_inflow for _, c in kept])
    y = np.array([getattr(c, feature) for _, c in kept])
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 12:
        return None
    t, x, y = t[known], x[known], y[known]
    a, b, m = robust.line(x, y)
    rest, third = y - a - b * (x - m), (t[-1] - t[0]) / 3
    first, last = rest[t <= t[0] + third], rest[t >= t[-1] - third]
    if min(len(first), len(last)) < 4:
        return None
    spreads = robust.sigma(first), robust.sigma(last)
    error = math.hypot(spreads[0] / math.sqrt(len(first)), spreads[1] / math.sqrt(len(last)))
    by = float(np.median(last) - np.median(first))
    return Shift(by, max(spreads), MEDIAN_ERROR * error)


def shifts(kept: Kept) -> dict[str, Shift]:
    """Of capacity and current, as far as enough cycles tell."""
    found = {name: shift(kept, f"log_{name}") for name in ("capacity", "current")}
    return {name: v for name, v in found.items() if v}


def moved(kept: Kept, s: DiagnosisSettings) -> dict[str, Shift]:
    """Of what moved by more than would be worth a visit."""
    least = effects(s)
    return {name: v for name, v in shifts(kept).items() if v.beyond(least[name])}


def steady(pump: int, kept: dict[int, Kept], s: DiagnosisSettings) -> Kept:
    """The cycles ``pump`` may be learnt from.

    All that are kept where they stand still, or where all pumps moved alike: a sound main has more than one
    steady state, and a reference must know them. The better half where the pump moved alone. Where nobody
    can tell, the newest days that stand still, and none while it may yet come to a stand.
    """
    own = kept[pump]
    moves = moved(own, s)
    if not moves:
        return own
    others = [_by(shifts(cycles)) for k, cycles in kept.items() if k != pump]
    alone = moved_alone(_by(moves), others, s)
    if alone is False:
        return own
    end_ms = own[-1][1].final_ms
    recent = [(h, c) for h, c in own if c.final_ms > end_ms - s.reference_days * DAY_MS]
    moves = moved(recent, s)
    if not moves:
        return recent
    if alone and len(half := _better(recent, moves)) >= s.reference_cycles:
        return half
    return recent if end_ms - own[0][1].final_ms > s.settle_days * DAY_MS else []


def _by(moves: dict[str, Shift]) -> dict[str, float]:
    return {name: v.by for name, v in moves.items()}


def _better(kept: Kept, moves: dict[str, Shift]) -> Kept:
    """The half in which the pump moved more water, or drew less for it."""
    early = moves["capacity"].by < 0 if "capacity" in moves else moves["current"].by > 0
    middle_ms = (kept[0][1].final_ms + kept[-1][1].final_ms) / 2
    return [(h, c) for h, c in kept if (c.final_ms < middle_ms) == early]


class Newcomer(NamedTuple):
    """What is told of a station that joins: cause, pump, codes most likely first, and signs."""

    cause: str
    target: str | None
    fault: tuple[str, ...]
    signs: list[Sign]


def weak(kept: dict[int, Kept], site: Site, s: DiagnosisSettings) -> Newcomer | None:
    """Pumps that move less water than the nameplate says, or than the best of the others at equal inflow.

    None is named where all lack at least half of what is worth a word: what they share is weak.
    """
    stands = {k: found for k, cycles in kept.items() if (found := stand(cycles, s))}
    signs = [v for k in stands if (v := _below_plate(k, stands[k], site, s.nameplate_loss))]
    beside = [v for k in stands if (v := _below_best(k, stands, s))]
    if not signs and not beside:
        return None
    ranked = sorted(signs + beside, key=lambda v: v.deviation)
    shared = all(_below_plate(k, v, site, s.nameplate_loss / 2) for k, v in stands.items())
    if shared and not beside and len(stands) > 1:
        return Newcomer(WEAK, None, ("unusual", "discharge_blockage"), ranked)
    named = sorted({v.target for v in beside or signs if v.target})
    target = named[0] if len(named) == 1 else None
    return Newcomer(WEAK, target, ("unusual", "pump_wear", "pump_ragging"), ranked)


def _below_plate(pump: int, own: Stand, site: Site, loss: float) -> Sign | None:
    if site.capacity_m3s is None or site.area_m2 is None:
        return None
    plate = math.log(site.capacity_m3s)
    return _short("nameplate_capacity_m3s", pump, own, plate, own.error, loss)


def _below_best(pump: int, stands: dict[int, Stand], s: DiagnosisSettings) -> Sign | None:
    own, others = stands[pump], [v for k, v in stands.items() if k != pump]
    beside = best_beside(own, others, s)
    if beside is None:
        return None
    due, error = beside
    return _short("partner_capacity_m3s", pump, own, due, error, s.partner_loss)


def _short(
    feature: str, pump: int, own: Stand, due: float, error: float, loss: float
) -> Sign | None:
    """The sign of a pump that falls short of ``due`` (log) by more than the share ``loss``, for certain."""
    gap = own.value - due
    if gap > math.log(1 - loss) - SURE * error:
        return None
    return Sign(feature, f"pump{pump}", math.exp(own.value), math.exp(due), gap / own.sigma)


def moving(kept: dict[int, Kept], s: DiagnosisSettings) -> Newcomer | None:
    """Pumps that changed while they were to be learnt."""
    moves = {k: found for k, cycles in kept.items() if (found := moved(cycles, s))}
    if not moves:
        return None
    signs = [sign for k, found in moves.items() for sign in _shifts(k, kept[k], found, s)]
    lost = len(moves) == 1 and any(v.by < 0 for m in moves.values() if (v := m.get("capacity")))
    fault = ("unusual", "pump_ragging", "pump_wear") if lost else ("unusual",)
    target = f"pump{next(iter(moves))}" if len(moves) == 1 else None
    return Newcomer(MOVING, target, fault, signs)


def _shifts(pump: int, kept: Kept, moves: dict[str, Shift], s: DiagnosisSettings) -> Iterable[Sign]:
    names = {"capacity": "early_capacity_m3s", "current": "early_current_a"}
    for name, v in moves.items():
        now = robust.median([getattr(c, f"log_{name}") for _, c in kept[-len(kept) // 3 :]])
        sigma = max(v.sigma, s.capacity_floor)
        yield Sign(names[name], f"pump{pump}", math.exp(now), math.exp(now - v.by), v.by / sigma)


def look(
    key: SiteKey,
    now_ms: int,
    first_ms: int,
    state: JoiningState,
    kept: dict[int, Kept],
    learnt: Container[int],
    site: Site,
    s: DiagnosisSettings,
) -> list[Finding]:
    """What the end of a half-day shows of a station that joins; nothing of one that has joined."""
    days = (now_ms - first_ms) / DAY_MS
    if state.settled or days < s.joining_days:
        return []
    found = {WEAK: weak(kept, site, s)}
    if days >= s.reference_days:
        found[MOVING] = moving({k: v for k, v in kept.items() if k not in learnt}, s)
    out = []
    for cause, newcomer in found.items():
        if newcomer and cause not in state.told and cause not in state.over:
            state.told[cause] = newcomer.target
            out.append(_finding(key, now_ms, Phase.OPENED, newcomer, first_ms))
    known = len(kept) == site.pumps and all(stand(cycles, s) for cycles in kept.values())
    if WEAK in state.told and days >= s.reference_days and known and found[WEAK] is None:
        out.append(_end(key, now_ms, state, WEAK))
    return out


def written_off(
    key: SiteKey, now_ms: int, state: JoiningState, renewed: Iterable[LogEntry]
) -> list[Finding]:
    """What entries of the site log that set a pump anew bring to an end."""
    targets = {entry.target for entry in renewed}
    ended = [
        cause
        for cause, pump in state.told.items()
        if targets and (None in targets or pump is None or pump in targets)
    ]
    return [_end(key, now_ms, state, cause) for cause in ended]


def _end(key: SiteKey, now_ms: int, state: JoiningState, cause: str) -> Finding:
    newcomer = Newcomer(cause, state.told.pop(cause), ("unusual",), [])
    state.over.append(cause)
    return _finding(key, now_ms, Phase.RESOLVED, newcomer, now_ms)


def _finding(key: SiteKey, now_ms: int, phase: Phase, told: Newcomer, since_ms: int) -> Finding:
    evidence: dict[str, Json] = {
        "since": iso_utc(since_ms),
        "signs": [sign.to_json() for sign in told.signs],
    }
    return Finding(
        key, now_ms, phase, told.cause, Kind.INFO, Severity.INFO, told.fault, told.target, 0.1, evidence
    )  # fmt: skip
