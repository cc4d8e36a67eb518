"""Benign steps: a change that comes at once and then stands still is told, and the reference moves.

Faults creep, jump about or come back; people and new parts change things once. The original reference
is kept, so that all accepted changes together stay bounded and a return to it is never an alarm.
"""

from __future__ import annotations

from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.partners import moved_alike
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState

HOUR_MS = 3_600_000
WATCHED = ("capacity", "current", "start_level", "stop_level")


def accept_step(
    key: str, value: Value, now_ms: int, state: AssessorState, s: DiagnosisSettings
) -> bool:
    """Note a half-day's residual (from the learnt reference); True if a step was just accepted."""
    name = key.partition(":")[0]
    past = state.history.setdefault(key, [])
    past.append(value.residual)
    del past[: -s.step_halves - 4]
    if name not in WATCHED:
        return False
    base = state.offsets.get(key, 0.0)
    if base and _back_to_normal(past, value, s):
        state.offsets.pop(key)
    elif any(key in e.keys for e in state.episodes):
        return False
    else:
        shift = _sharp_step(past, base, value.sigma, s)
        if shift is None or not _benign(name, key, shift, base + shift, value, now_ms, state, s):
            return False
        state.offsets[key] = base + shift
    state.stepped[key] = now_ms
    state.charts.pop(key, None)
    state.fast.pop(key, None)
    state.values.pop(key, None)
    return True


def _back_to_normal(past: list[float], value: Value, s: DiagnosisSettings) -> bool:
    return len(past) >= s.step_halves and all(
        abs(v) < 1.5 * value.sigma for v in past[-s.step_halves :]
    )


def _sharp_step(past: list[float], base: float, sigma: float, s: DiagnosisSettings) -> float | None:
    """The shift, if the half-days before were calm, those after stand still, and one lies between."""
    n = s.step_halves
    if len(past) < n + 3:
        return None
    before, after = past[-n - 3 : -n - 1], past[-n:]
    shift = sum(after) / n - base
    calm = all(abs(v - base) < max(1.5 * sigma, 0.2 * abs(shift)) for v in before)
    still = max(after) - min(after) < max(sigma, 0.25 * abs(shift))
    return shift if calm and still and abs(shift) > 2.0 * sigma else None


def _benign(
    name: str,
    key: str,
    shift: float,
    total: float,
    value: Value,
    now_ms: int,
    state: AssessorState,
    s: DiagnosisSettings,
) -> bool:
    if name in ("start_level", "stop_level"):
        tight = all(
            state.charts[k].level < 2.5
            for k in ("start_spread", "stop_spread")
            if k in state.charts
        )
        return abs(shift) > s.step_level_m and tight
    worked = _worked_on(key, now_ms, state, s)
    if name == "current":
        twin = state.stepped.get(f"capacity{key[len(name) :]}", 0)
        return worked or now_ms - twin < 36 * HOUR_MS
    if shift > s.gain_effect and moved_alike(key, shift, state, s):
        return worked
    if shift > 0:
        return worked or not _more_water(state)
    if worked:
        return total > -2 * s.step_down_own
    past = state.history[key]
    if len(past) < s.step_halves + 4 or abs(past[-s.step_halves - 1] - past[-1]) > 0.25 * abs(
        shift
    ):
        return False
    limit = s.step_down_common if moved_alike(key, shift, state, s) else s.step_down_own
    return total > -limit


def _worked_on(key: str, now_ms: int, state: AssessorState, s: DiagnosisSettings) -> bool:
    """The pump of ``key`` came back not long ago from missing turns it never misses by itself."""
    _, _, pump = key.partition(":pump")
    if not pump or state.site is None or state.site.turns < 0.8:
        return False
    back = state.turns.back_ms.get(int(pump), 0)
    return now_ms - back < s.step_back_h * HOUR_MS


def _more_water(state: AssessorState) -> bool:
    """Capacity that rises together with inflow or backflow is a leak's mirror image, no better pump."""
    return any(
        chart.level > 1.5
        for book in (state.charts, state.fast)
        for key, chart in book.items()
        if key.startswith(("backflow", "night_inflow"))
    )
