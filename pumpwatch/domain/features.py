"""The quantities a cycle is described by: one name and one unit each, used from cycles to wording."""

from __future__ import annotations

FEATURE_UNITS: dict[str, str] = {
    "capacity_m3s": "m3/s",
    "capacity_index": "",
    "capacity_scatter": "",
    "pair_log_ratio": "",
    "inflow_m3s": "m3/s",
    "night_inflow_m3s": "m3/s",
    "backflow_m3s": "m3/s",
    "run_s": "s",
    "fill_s": "s",
    "start_level_m": "m",
    "stop_level_m": "m",
    "level_spread_m": "m",
    "level_shift_m": "m",
    "current_a": "A",
    "current_scatter_a": "A",
    "start_share": "",
    "starts_per_h": "1/h",
    "short_run_share": "",
    "no_drawdown_share": "",
    "hand_over_share": "",
    "late_start_share": "",
    "missed_turn_share": "",
    "idle_share": "",
    "low_stop_share": "",
    "idle_h": "h",
    "silence_s": "s",
    "frozen_s": "s",
    "outage_s": "s",
    "level_m": "m",
    "anomaly_p": "",
}
"""Feature name → unit. An alert's evidence may name these and nothing else as a sign."""
