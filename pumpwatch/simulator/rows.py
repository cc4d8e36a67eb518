"""A station and its condition as the numbers `kernel` works on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator import kernel as k
from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.plant import Plant
from pumpwatch.simulator.spec import StationSpec

Floats = NDArray[np.float64]

FLOAT_DEAD_BAND_M = 0.10
"""How far below the high level the float lets go."""
_LAG_STEP_M = 0.10
"""Between the start levels of the third and the fourth pump and the one before."""
_ALTERNATION = {None: 1.0, "cycle": 1.0, "clock": 2.0, "none": 0.0}
_NEVER = k.NEVER


def set_up(
    s: Floats, spec: StationSpec, plant: Plant, i: int, dt: float, rng: np.random.Generator
) -> None:
    """Fill the state ``s`` (N_STATE,) of a station that begins somewhere in its band, pumps at rest.

    Its wells and levels are set by `follow`, which must come next.
    """
    site, panel = spec.site, spec.panel
    s[:] = 0.0
    stop, start = float(site.stop_level_m or 0), float(site.start_level_m or 0)
    s[k.H] = stop + (start - stop) * rng.uniform(0.1, 0.9)
    s[k.DUTY] = float(rng.integers(site.pumps))
    s[k.LAST_START], s[k.LAST_RUN] = -_NEVER, 0.0
    s[k.PUMPS] = site.pumps
    s[k.BY_FLOAT] = site.control == "float"
    s[k.ALTERNATION] = _ALTERNATION[site.alternation]
    s[k.ALTERNATE_S] = panel.alternate_h * 3600
    s[k.HAND_OVER_S] = panel.hand_over_s or _NEVER
    s[k.LONG_RUN_S] = panel.long_run_s or _NEVER
    s[k.TIMER_S] = (panel.timer_h or 0.0) * 3600
    s[k.START_GAP_S] = 3600 / panel.starts_per_h if panel.starts_per_h else 0.0
    s[k.STAGGER_S], s[k.BACKUP_S] = panel.stagger_s, panel.backup_s
    s[k.POWER_WAIT_S] = panel.power_wait_s
    s[k.SPIN_UP_S], s[k.COAST_S] = panel.spin_up_s, panel.coast_s
    s[k.MAIN], s[k.SQRT_LIFT] = plant.main_m3[i], math.sqrt(plant.lift_m[i])
    s[k.LOW_M], s[k.SPAN_M] = plant.low_m[i], plant.high_m[i] - plant.low_m[i]
    s[k.NOMINAL], s[k.SPREAD] = plant.nominal_m3s[i], spec.run_spread
    if spec.downstream is not None:
        s[k.ROUTE_SHARE] = -math.expm1(-dt / spec.travel_s)
    s[k.POWER] = s[k.GAIN] = 1.0
    s[k.SEEN] = s[k.H]
    for p, pump in enumerate(spec.pumps):
        s[k.RATED + p] = float(site.rated_current_a or 0) * pump.current_factor
        s[k.GRIP + p] = s[k.LOAD + p] = 1.0
        s[k.T_ON + p] = -_NEVER
        s[k.T_TRIP + p] = _NEVER


def follow(
    s: Floats, spec: StationSpec, c: Condition, heights: Floats, volumes: Floats, leak: Floats,
    dt: float, t: float,
) -> None:  # fmt: skip
    """Bring ``s`` in line with a condition at ``t`` [s]; `kernel.respond` must come next.

    ``heights`` and ``volumes`` are the well's table in that condition, ``leak`` (pumps,) the
    coefficients of its check valves. The level stays, the volume is what the table says of it.
    """
    _sense(s, spec, c, dt)
    _levels(s, spec, c, heights, volumes)
    s[k.V] = np.interp(s[k.H], heights, volumes)
    s[k.VL], s[k.VH] = _NEVER, -_NEVER
    if c.power and not s[k.POWER]:
        s[k.READY] = t + s[k.POWER_WAIT_S]
    s[k.POWER], s[k.PHASES], s[k.AUTO] = c.power, c.phases, c.auto
    s[k.FIXED_DUTY] = -1.0 if c.fixed_duty is None else c.fixed_duty
    s[k.FLOAT_STUCK] = -1.0 if c.float_stuck is None else c.float_stuck
    s[k.LOST] = c.lost
    if c.hang_m == 0.0:
        s[k.HANG_NOW] = 0.0
    s[k.HANG_M] = c.hang_m
    for p, pump in enumerate(c.pumps):
        s[k.LEAK + p] = leak[p]
        s[k.AVAILABLE + p], s[k.WELDED + p] = pump.available, pump.welded
        s[k.FORCED + p] = -1.0 if pump.forced is None else pump.forced
        s[k.NO_FLOW + p], s[k.AIR_P + p], s[k.FAIL_P + p] = pump.no_flow, pump.air_p, pump.fail_p
        s[k.TRIP_P + p], s[k.TRIP_S + p], s[k.RESET_S + p] = pump.trip_p, pump.trip_s, pump.reset_s
        s[k.CHAT_P + p], s[k.OVER_P + p], s[k.OVER_S + p] = pump.chatter_p, pump.over_p, pump.over_s
        s[k.CURRENT + p], s[k.SCATTER + p] = pump.current, pump.scatter
        if pump.no_flow:
            s[k.DRY + p], s[k.FLOWS + p] = 1.0, 0.0
        if not pump.trip_p and s[k.FAULT_UNTIL + p] > 0:
            # what had tripped is reset with the repair
            s[k.FAULT_UNTIL + p] = t


def _sense(s: Floats, spec: StationSpec, c: Condition, dt: float) -> None:
    """What the transmitter makes of the level: a line, a held value, or a broken loop's current."""
    if c.loop_ma is not None:
        s[k.GAIN], s[k.OFFSET] = 0.0, (c.loop_ma - 4.0) / 16.0 * spec.sensors.range_m
    elif c.frozen:
        if s[k.GAIN] != 0.0:
            s[k.OFFSET] = s[k.SEEN]
        s[k.GAIN] = 0.0
    else:
        s[k.GAIN], s[k.OFFSET] = c.gain, c.offset_m
    s[k.FOLLOW] = 1.0 if c.lag_s <= 0 else -math.expm1(-dt / c.lag_s)


def _levels(s: Floats, spec: StationSpec, c: Condition, heights: Floats, volumes: Floats) -> None:
    """Set-points as the panel has them, and the volumes at which the water truly reaches them."""
    site = spec.site
    stop = float(site.stop_level_m or 0) + c.stop_shift_m
    start = float(site.start_level_m or 0) + c.start_shift_m
    lag = float(site.lag_start_level_m or 0) + c.start_shift_m
    high = float(site.high_level_m or 0)
    starts = [start, lag, lag + _LAG_STEP_M, lag + 2 * _LAG_STEP_M][: site.pumps]
    s[k.STOP], s[k.HIGH], s[k.RELEASE] = stop, high, high - FLOAT_DEAD_BAND_M
    s[k.START1 : k.START1 + site.pumps] = starts

    def volume(level: float) -> float:
        return float(np.interp(level, heights, volumes))

    gain, offset = s[k.GAIN], s[k.OFFSET]
    by_float = s[k.BY_FLOAT] > 0

    def true_level(set_point: float) -> float:
        return set_point if by_float or gain == 0 else (set_point - offset) / gain

    s[k.V_STOP] = volume(true_level(stop))
    hang = s[k.HANG_NOW] if by_float and c.hang_m else 0.0
    for p, level in enumerate(starts):
        s[k.V_START1 + p] = volume(true_level(level + hang))
    s[k.V_HIGH], s[k.V_RELEASE] = volume(high), volume(high - FLOAT_DEAD_BAND_M)
    s[k.V_COVER], s[k.V_SNORE] = float(volumes[-1]), volume(spec.well.suction_m)
