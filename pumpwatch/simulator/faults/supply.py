"""Mains, carrier, clock, and the panel under water."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, Param
from pumpwatch.simulator.spec import StationSpec

_ALWAYS_H = 1e6


def power_outage(c: Condition, at: Acting) -> None:
    """The pumps stand, the well fills, and a small battery keeps the panel talking."""
    c.power = False
    c.telemetry = c.telemetry and at.hours < at.params["battery_h"]


def phase_loss(c: Condition, at: Acting) -> None:
    """A fuse of one phase: the relays stay in, no motor starts, and the phase guard reports it."""
    c.phases = False
    for pump in c.pumps:
        pump.overload = True


def comms_gap(c: Condition, at: Acting) -> None:
    """Nothing is heard; the station works on."""
    c.telemetry = False


def clock_error(c: Condition, at: Acting) -> None:
    """The panel's clock runs slow and falls behind."""
    c.clock_ms -= int(at.params["minutes"] * 60_000 * at.severity)


def panel_flooded(c: Condition, at: Acting) -> None:
    """Water between the terminals closes every contact, the motors drop out, then there is silence."""
    c.power = False
    c.flooded = True
    c.loop_ma = 22.5
    c.telemetry = c.telemetry and at.hours * 60 < at.params["minutes"]


def _never(spec: StationSpec, params: Mapping[str, float]) -> bool:
    """Only the hub's own clock, at the moment of receipt, proves a panel's wrong: rows carry one time."""
    return False


KINDS = (
    FaultKind(
        "power_outage", "Mains power lost", "停電", power_outage, False, 0.0, ("power_outage",),
        lasts_h=2.0, deadline_h=0.25, every_min=1,
        params={"battery_h": Param("h", 0.0, _ALWAYS_H, _ALWAYS_H, "until the panel falls silent too")},
    ),
    FaultKind(
        "phase_loss", "Phase lost", "欠相", phase_loss, False, 0.0,
        ("phase_loss", "pump_out_of_service", "high_level"), lasts_h=4.0, deadline_h=1.0,
    ),
    FaultKind(
        "comms_gap", "Nothing heard", "通信断", comms_gap, False, 0.0, ("comms_gap",), lasts_h=12.0,
        deadline_h=3.0,
    ),
    FaultKind(
        "clock_error", "Clock falls behind", "時計ずれ", clock_error, False, 2.0, ("clock_error",), shows=_never,
        params={"minutes": Param("min", 1, 600, 30, "how far behind in the end")},
    ),
    FaultKind(
        "panel_flooded", "Panel under water", "制御盤浸水", panel_flooded, False, 0.0,
        ("power_outage", "comms_gap", "sensor_failed"), lasts_h=24.0, deadline_h=1.0, every_min=1,
        params={"minutes": Param("min", 0, 600, 15, "until silence")},
    ),
)  # fmt: skip
