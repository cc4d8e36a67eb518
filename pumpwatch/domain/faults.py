"""The closed list of fault codes, in groups. Nothing else may stand in an alert's ``fault``."""

from __future__ import annotations

from enum import StrEnum


class Group(StrEnum):
    PUMP_HYDRAULIC = "pump_hydraulic"
    PUMP_ELECTRICAL = "pump_electrical"
    DISCHARGE = "discharge"
    SENSING = "sensing"
    CONTROL = "control"
    INFLOW = "inflow"
    SUPPLY = "supply"
    STATE = "state"


_CODES = {
    Group.PUMP_HYDRAULIC: "pump_wear pump_ragging pump_blocked air_lock",
    Group.PUMP_ELECTRICAL: (
        "start_failure motor_degradation pump_out_of_service pump_trip seal_leak "
        "phase_loss contactor_fault"
    ),
    Group.DISCHARGE: "check_valve_leak discharge_blockage coupling_leak rising_main_burst",
    Group.SENSING: "sensor_drift frozen_level sensor_failed",
    Group.CONTROL: "float_hangup alternation_failure stuck_on short_cycling left_in_manual",
    Group.INFLOW: "infiltration_growth upstream_blockage inflow_change",
    Group.SUPPLY: "power_outage comms_gap clock_error",
    Group.STATE: "high_level overflow unusual",
}

FAULT_GROUP: dict[str, Group] = {
    code: group for group, codes in _CODES.items() for code in codes.split()
}

HUB_FAULTS = ("broker_lost", "hub_behind", "telemetry_held", "series_away", "notify_failing")
"""What can be wrong with the installation itself: the only codes of alerts of `HUB_KEY`, and of no
station's."""

CONDITION_FAULTS = frozenset({"high_level", "overflow", "power_outage", "comms_gap", "clock_error"})
"""Present facts: the only faults an alert of kind ``condition`` may name first."""
