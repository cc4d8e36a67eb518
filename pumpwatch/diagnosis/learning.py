"""When references are learnt, and what the site log makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pumpwatch.diagnosis.events import Turns, Usual, events_of
from pumpwatch.diagnosis.joining import Kept, steady
from pumpwatch.diagnosis.references import PumpReference, learn_pump, learn_site, switched
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.diagnosis.strangeness import Strangeness, vector
from pumpwatch.domain.sites import LogEntry, LogKind, Site

DAY_MS = 86_400_000

LearnPump = Callable[[Sequence[tuple[int, Seen]], float, DiagnosisSettings], PumpReference | None]

RENEWING = frozenset(
    {LogKind.OVERHAUL, LogKind.CLEANING, LogKind.REPLACED, LogKind.ACCEPTED_CHANGE}
)
"""Entries after which a pump is learnt anew."""


def keep(c: Seen, hour: float, wet: bool, state: AssessorState, s: DiagnosisSettings) -> None:
    """Keep a dry cycle for the references that are still to be set."""
    if not wet:
        state.learning.append((state.half, hour, c))
        del state.learning[: -s.reference_rows]


def apply_log(log: Sequence[LogEntry], now_ms: int, state: AssessorState) -> list[LogEntry]:
    """Site-log entries up to now, each once, also those that were written down late; returns those after
    which pumps are learnt anew."""
    renewed = []
    for entry in log:
        done: list[int | str] = [entry.t_ms, str(entry.kind), entry.target or ""]
        if entry.t_ms >= now_ms or done in state.logged:
            continue
        state.logged.append(done)
        if entry.kind in RENEWING:
            _renew(entry.target, state)
            renewed.append(entry)
        elif entry.kind == LogKind.SET_POINT:
            state.formerly, state.site = state.site or state.formerly, None
            state.learning.clear()
            for name in ("start_level", "stop_level", "start_spread", "stop_spread"):
                state.forget(name)
    return renewed


def _renew(target: str | None, state: AssessorState) -> None:
    for k in list(state.pumps):
        if target in (None, f"pump{k}"):
            del state.pumps[k]
            state.forget(f":pump{k}")
    state.learning.clear()


def set_references(
    now_ms: int,
    state: AssessorState,
    site: Site,
    forest: Strangeness,
    s: DiagnosisSettings,
    learn: LearnPump = learn_pump,
) -> None:
    """Set the references that are missing, once there is enough to learn them from."""
    assert state.first_ms is not None
    if now_ms - state.first_ms < s.reference_days * DAY_MS:
        return
    resolution_m = _resolution(state)
    moved = state.site is None and state.formerly is not None
    if state.site is None:
        seen = [(h, c) for h, _, c in state.learning]
        state.site = learn_site(seen, [o for _, o, _ in state.learning], resolution_m, s)
        if state.site is not None and state.formerly is not None:
            state.site, state.formerly = switched(state.formerly, state.site), None
    if state.site is None:
        return
    share = 0.5 * resolution_m / max(state.site.band_m, 0.05)
    kept = kept_cycles(state, site)
    for k in range(1, site.pumps + 1):
        if k in state.pumps:
            continue
        own = steady(k, kept, s)
        if ref := learn(own, share, s):
            state.pumps[k] = ref
            if len(own) < len(kept[k]):
                halves = {h for h, _ in own}
                state.learning = [r for r in state.learning if r[2].pump != k or r[0] in halves]
    if len(state.pumps) < site.pumps:
        return
    state.joining.settled = True
    if not moved:
        _base_rates(state, site, s)
    for half in sorted({h for h, _, _ in state.learning}):
        good = [c for h, _, c in state.learning if h == half and c.valid and c.pump in state.pumps]
        vectors = [vector(c, state.site, state.pumps[c.pump], state.offsets) for c in good]
        forest.learn(vectors, half // 2)
    state.learning.clear()


def kept_cycles(state: AssessorState, site: Site) -> dict[int, Kept]:
    """Pump → the cycles kept that tell what it moves."""
    return {
        k: [(h, c) for h, _, c in state.learning if c.valid and c.pump == k and c.samples >= 2]
        for k in range(1, site.pumps + 1)
    }


def _resolution(state: AssessorState) -> float:
    """Smallest step of the level signal seen [m]."""
    levels = np.array([c.max_m for _, _, c in state.learning])
    levels = np.unique(np.round(levels[np.isfinite(levels)], 4))
    return float(np.diff(levels).min()) if len(levels) > 3 else 0.01


def _base_rates(state: AssessorState, site: Site, s: DiagnosisSettings) -> None:
    """How often each odd cycle came while all was well."""
    turns, usual = Turns(), Usual()
    assert state.site is not None
    seen, hits = dict[str, int](), dict[str, int]()
    for _, _, c in state.learning:
        expected = turns.expected(site.pumps, state.site)
        ref = state.pumps.get(c.pump)
        for name, pump, hit in events_of(c, state.site, ref, usual, expected, False, s):
            key = f"{name}:pump{pump}" if pump else name
            seen[key] = seen.get(key, 0) + 1
            hits[key] = hits.get(key, 0) + hit
        turns.add(c, site.pumps)
        usual.add(c, state.site, s)
    state.site.rates = {k: hits[k] / n for k, n in seen.items() if hits[k] >= 2}
