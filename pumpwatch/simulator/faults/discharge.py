"""What goes wrong between the pumps and the far end of the rising main."""

from __future__ import annotations

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind


def valve_leak(c: Condition, at: Acting) -> None:
    """The flap no longer seats: the partner's flow circulates, the main runs back after a stop.

    The target is the pump whose valve leaks; its partner is the one that looks weak.
    """
    at.of(c).valve_leak += 0.5 * at.severity


def valve_open(c: Condition, at: Acting) -> None:
    """The flap stands open: the main empties into the well after every stop."""
    at.of(c).valve_leak += 0.85


def gate_closed(c: Condition, at: Acting) -> None:
    """Gate valve or flap shut: the pump runs at no flow and low current."""
    at.of(c).no_flow = True


def coupling_leak(c: Condition, at: Acting) -> None:
    """Gasket, elbow or a hole in the riser: part of the flow falls back while this pump runs."""
    at.of(c).coupling_leak += 0.6 * at.severity


def blockage(c: Condition, at: Acting) -> None:
    """Grease, grit or air in the main: more friction for every pump."""
    c.friction *= 1 + 14.0 * at.severity**1.5
    c.lift *= 1 + 0.12 * at.severity


def burst(c: Condition, at: Acting) -> None:
    """The main has broken: little friction and lift are left, and nothing arrives downstream."""
    c.friction *= 0.35
    c.lift *= 0.55
    c.lost = 1.0


KINDS = (
    FaultKind(
        "check_valve_leak", "Check valve does not seat", "逆止弁漏れ", valve_leak, True, 14.0,
        ("check_valve_leak",),
    ),
    FaultKind(
        "check_valve_open", "Check valve stuck open", "逆止弁固着(開)", valve_open, True, 0.0,
        ("check_valve_leak", "short_cycling"), deadline_h=24.0,
    ),
    FaultKind(
        "gate_closed", "Gate or check valve shut", "吐出弁閉止", gate_closed, True, 0.0,
        ("pump_blocked", "air_lock", "pump_out_of_service"), deadline_h=24.0,
    ),
    FaultKind(
        "coupling_leak", "Coupling or riser leaks", "着脱部・吐出管漏れ", coupling_leak, True, 20.0,
        ("coupling_leak", "pump_wear"),
    ),
    FaultKind(
        "discharge_blockage", "Rising main narrows", "圧送管閉塞", blockage, False, 12.0,
        ("discharge_blockage",),
    ),
    FaultKind(
        "rising_main_burst", "Rising main burst", "圧送管破損", burst, False, 0.0,
        ("rising_main_burst",), deadline_h=24.0,
    ),
)  # fmt: skip
