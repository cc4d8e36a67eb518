"""What can befall a simulated station: tables of `FaultKind`, one module a part of the plant."""

from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.simulator.faults import control, discharge, harmless, inflow, pumps, sensing, supply
from pumpwatch.simulator.faults.base import FaultKind

_GRAVE = (
    *pumps.KINDS, *discharge.KINDS, *sensing.KINDS, *control.KINDS, *inflow.KINDS, *supply.KINDS,
)  # fmt: skip

EVERY_FAULT: dict[str, FaultKind] = {kind.code: kind for kind in _GRAVE}
"""Every fault by code; some are finer than what an alert can name."""

FAULTS: dict[str, FaultKind] = {c: k for c, k in sorted(EVERY_FAULT.items()) if c in FAULT_GROUP}
"""The faults whose code is also that of the alert they should lead to."""

HARMLESS: dict[str, FaultKind] = {kind.code: kind for kind in harmless.KINDS}
"""Harmless events by code."""

__all__ = ["EVERY_FAULT", "FAULTS", "HARMLESS", "FaultKind"]
