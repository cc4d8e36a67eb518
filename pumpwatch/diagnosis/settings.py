"""Every threshold of diagnosis by name, with its unit and why it stands where it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DiagnosisSettings:
    """Thresholds. They follow from physics, sensor resolution and the wanted run length between false
    alarms, not from any one fleet."""

    # references
    reference_days: float = 7.0
    """Days watched before the first references are set."""
    reference_halves: int = 6
    """Half-days with enough dry cycles of a pump before its reference is set."""
    reference_cycles: int = 24
    """Valid dry cycles of a pump its reference needs."""
    reference_rows: int = 1_500
    """Cycles kept while references are learnt; beyond it the oldest go."""
    settle_days: float = 14.0
    """Days of a pump's cycles after which its reference is set although they still move."""
    min_cycles: int = 3
    """Valid cycles of a pump in a half-day before that half-day says anything of it."""
    capacity_floor: float = 0.02
    """Smallest spread of half-day capacity (log) believed: area, sensor and head allow no better."""
    current_floor: float = 0.012
    """Smallest spread of half-day current (log) believed."""
    level_floor_m: float = 0.004
    """Smallest spread of half-day switching levels [m]; sensor resolution is added to it."""
    backflow_floor: float = 0.012
    """Smallest spread of half-day backflow, as a share of the pump's capacity."""
    inflow_floor: float = 0.12
    """Smallest spread of log night inflow: weekends and seasons move it."""

    # stations that join
    joining_days: float = 2.0
    """Days watched before a pump is held against its nameplate and its partner."""
    nameplate_loss: float = 0.15
    partner_loss: float = 0.12
    """Shares of the nameplate's capacity, and of the best other pump's, whose lack is told: sound pumps lack
    up to 14 and 11 % (docs/diagnosis.md, Cold start)."""

    # change detection
    slack: float = 1.0
    """CUSUM allowance k [robust sigmas]: smaller shifts are not looked for."""
    limit: float = 7.0
    """CUSUM decision limit h [robust sigmas]: two half-days of a clear deviation reach it. Healthy half-days
    of a normal spread would in some 6e6 (Siegmund 1985, (exp(2kb) - 1 - 2kb) / 2k² with b = h + 1.166)."""
    firm_sigma: float = 2.0
    """Smoothed deviation [robust sigmas] an episode needs: long sums of little things open none."""
    clip: float = 5.0
    """A half-day counts at most this many sigmas, so that one alone never decides."""
    persistence: int = 2
    """Half-days in a row on the same side before a chart may speak."""
    cycle_slack: float = 1.5
    cycle_limit: float = 16.0
    cycle_clip: float = 4.0
    """The same for single cycles: strong and consistent over about eight of them. The slack is half of the
    least loss they may tell alone (`fast_effect`) in sigmas of the least spread believed: so soonest told."""
    cycle_persistence: int = 5
    count_rate: float = 0.10
    """Share of bad cycles a count chart is tuned to find."""
    count_floor: float = 0.004
    """Smallest healthy share of bad cycles believed."""
    count_limit: float = 8.0
    """Decision limit of a count chart [log likelihood ratio]: about three bad cycles close together."""
    night_limit: float = 12.0
    nights: int = 6
    """Nights in a row of raised dry inflow before groundwater is named: longer than any feast."""
    low_inflow_ratio: float = 0.5
    """Inflow below this share of the quietest normal hour means that water is missing."""
    low_inflow_cycles: int = 3
    scarce_inflow_ratio: float = 0.4
    scarce_quiet_ratio: float = 0.8
    """Inflow below these shares of what the same hour usually brings and of the quietest normal hour: no
    holiday empties a town so far, and no Sunday a factory."""
    scarce_cycles: int = 5
    scarce_h: float = 5.0
    """So many cycles in a row, over so long [h], before water is missing for certain."""
    day_effect: float = 0.4
    """New water in a part of the day, as a share of the usual peak, that is worth a word ..."""
    days_raised: int = 5
    """... once it came on so many dry days in a row: longer than a feast or a building site's pump."""
    capacity_effect: float = 0.05
    gain_effect: float = 0.27
    current_effect: float = 0.035
    level_effect_m: float = 0.03
    backflow_effect: float = 0.03
    night_effect: float = 0.4
    """Smallest deviation worth a visit, however sure: share of capacity lost, gained by all pumps at once
    (the main behind them has opened; a sound one may have two steady states a quarter apart), of current,
    metres of level, share of capacity flowing back, log of the night inflow."""
    growth: float = 1.7
    """An episode is told again when its deviation has grown by this factor."""
    clear_sigma: float = 2.0
    """Below this a feature is back to normal."""
    clear_halves: int = 3
    """Half-days back to normal before an episode is resolved."""

    # gates
    rain_memory_h: float = 12.0
    """Time constant of the remembered rain [h]."""
    wet_mm: float = 3.0
    """Remembered rain [mm] above which a cycle is wet."""
    wet_inflow: float = 2.0
    """Without a gauge: inflow above this multiple of the usual daily peak is wet."""
    wet_hold_h: float = 12.0
    """Wetness seen from inflow alone lasts this long [h] after it was last seen."""
    wet_max_days: float = 4.0
    """No storm lasts longer: inflow that stays up is something else [days]."""

    visit_h: float = 4.0
    """Cycles this long [h] after a logged visit or manual run are not judged."""

    # benign steps
    step_level_m: float = 0.012
    """A switching level that moved at once by more than this [m] and then stands still was set anew."""
    step_halves: int = 2
    """Half-days a step must stand still before it is believed."""
    step_down_own: float = 0.12
    step_down_common: float = 0.20
    """Capacity losses up to these shares that come at once and then stand still are told, not alarmed:
    one pump's, and all pumps' together (a rising main has more than one steady state)."""
    step_back_h: float = 48.0
    """A step this soon [h] after a pump came back from missing turns is the work done on it."""

    # events within cycles
    short_run: float = 0.4
    """A run that drew less than this share of the usual band is a failed start."""
    low_capacity: float = 0.5
    """A cycle with less than this share of the usual capacity moved hardly any water."""
    late_start_m: float = 0.06
    """A start this far above the usual level [m] came from the lag pump's switch."""
    low_stop_m: float = 0.05
    """A stop this far below the usual level [m] came too late."""
    much_inflow: float = 0.5
    """Inflow above this share of a pump's capacity may call for both pumps; a hand-over is then no sign."""
    trip_s: float = 75.0
    """A pump that gave up within this time [s] did not start rather than pump air."""
    usual_window: int = 9
    """Recent cycles whose starts and stops are the usual ones."""
    count_span_h: float = 6.0
    """Odd cycles closer together than this [h] may all come from one visit or one wash-down."""
    idle_starts: int = 6
    """Starts of others in a row while a pump that takes turns stays idle."""
    idle_h: float = 5.0
    """... and for longer than half a working day [h]: a pump may be out for work."""
    idle_days: float = 9.0
    """A pump of a station that changes duty weekly may rest this long [days]."""

    # the forest and the pair
    fit_days: int = 14
    """Days of clean cycles before a forest is asked for."""
    forest_half_rows: int = 40
    """Cycles of a half-day kept for training a forest."""
    rare_p: float = 0.02
    """A cycle with a p-value up to this is strange."""
    strange_sigma: float = 4.0
    """Excess of strange cycles [binomial sigmas] that makes a half-day strange."""
    strange_halves: int = 6
    """Strange half-days in a row before an `unusual` is told, as information only."""
    fast_loss_per_day: float = 0.02
    """Capacity lost per day [log] that parts wear (slower) from rags (faster)."""
    fast_effect: float = 0.12
    fast_effect_common: float = 0.30
    """Capacity lost before single cycles alone may speak; the larger where all pumps lost it."""
    partner_comparison: bool = True
    """Compare the pumps of a pair with each other; may be turned off (see docs on patents)."""

    # episodes
    unknown_probability: float = 0.2
    """Where the likeliest cause is less likely than this, the verdict is that nobody knows."""
    alarm_capacity: float = 0.7
    """Capacity index below which work is urgent."""

    # what does not count
    excluded_ms: tuple[tuple[int, int], ...] = ()
    """Spans [start, end) of epoch ms: a cycle that touches one is neither judged nor learnt from."""


def effects(s: DiagnosisSettings) -> dict[str, float]:
    """Feature → the least deviation worth a visit, in the feature's own measure; 0 where sigmas decide."""
    return {
        "capacity": s.capacity_effect,
        "current": s.current_effect,
        "backflow": s.backflow_effect,
        "start_level": s.level_effect_m,
        "stop_level": s.level_effect_m,
        "start_spread": 0.0,
        "stop_spread": 0.0,
        "night_inflow": s.night_effect,
    }
