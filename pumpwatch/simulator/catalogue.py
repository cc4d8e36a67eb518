"""What can happen to a simulated station: faults that should be told, harmless events that should not."""

from __future__ import annotations

from pumpwatch.simulator.faults import EVERY_FAULT, HARMLESS
from pumpwatch.simulator.faults.base import FaultKind, Param

FAULTS: dict[str, FaultKind] = EVERY_FAULT
"""Faults by code."""


def kind_of(code: str) -> FaultKind | None:
    """The kind of a code of either table."""
    return FAULTS.get(code) or HARMLESS.get(code)


__all__ = ["FAULTS", "HARMLESS", "FaultKind", "Param", "kind_of"]
