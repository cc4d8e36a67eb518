"""The pumps of one station compared with each other: the only part that does so, turned off by one setting.

Everything else compares a pump with its own reference. Patents touch the comparison of a pair of manhole
pumps, so a deployer may do without: `DiagnosisSettings.partner_comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState


def pair_ratios(values: dict[str, Value], s: DiagnosisSettings) -> dict[str, tuple[float, float]]:
    """Pump → (log ratio of its capacity index to the others', its strength in sigmas)."""
    capacities = {k: v for k, v in values.items() if k.startswith("capacity")}
    if not s.partner_comparison or len(capacities) < 2:
        return {}
    out = {}
    for key, value in capacities.items():
        others = [v.residual for k, v in capacities.items() if k != key]
        ratio = value.residual - sum(others) / len(others)
        out[key.partition(":")[2]] = (ratio, ratio / (1.4 * value.sigma))
    return out


def others_weak(pump: int, state: AssessorState, s: DiagnosisSettings) -> bool | None:
    """Whether other pumps' recent cycles fall short too; None where nobody compares."""
    levels = [
        chart.level
        for key, chart in state.fast.items()
        if key.startswith("capacity") and key != f"capacity:pump{pump}"
    ]
    return min(levels) < -1.0 if levels and s.partner_comparison else None


def others_gain(pump: int, state: AssessorState, s: DiagnosisSettings) -> list[float]:
    """What other pumps' recent cycles gained [sigmas]; nothing where nobody compares."""
    own = f"gain:pump{pump}"
    gains = [v.level for k, v in state.fast.items() if k.startswith("gain") and k != own]
    return gains if s.partner_comparison else []


ALIKE = 0.7
"""Pumps that gained so much of each other's gain gained it from the main behind them."""


def others_stronger_too(
    key: str, state: AssessorState, s: DiagnosisSettings, share: float = 0.5
) -> bool:
    """Whether the others gained at least ``share`` of what the pump of ``key`` gained."""
    own = state.values[key].residual
    others = [v.residual for k, v in state.values.items() if k.startswith("capacity") and k != key]
    return s.partner_comparison and any(r >= share * own for r in others)


def moved_alike(key: str, shift: float, state: AssessorState, s: DiagnosisSettings) -> bool:
    """Whether all other pumps' ``key`` feature moved the same way in the same half-days."""
    name = key.partition(":")[0]
    moves = [
        past[-1] - past[0]
        for k, past in state.history.items()
        if k.startswith(name) and k != key and len(past) >= 3
    ]
    alike = all(d * shift > 0 and abs(d) > 0.4 * abs(shift) for d in moves)
    return s.partner_comparison and bool(moves) and alike


class Stand(NamedTuple):
    """A pump's log capacity as a line over log inflow, with the spread and standard error of its value."""

    value: float
    slope: float
    middle: float
    sigma: float
    error: float

    def at(self, log_inflow: float) -> float:
        return self.value + self.slope * (log_inflow - self.middle)


def best_beside(
    own: Stand, others: Sequence[Stand], s: DiagnosisSettings
) -> tuple[float, float] | None:
    """What a pump would move if it were as good as the best of the others at equal inflow (log), and the
    standard error of that; None where nobody compares."""
    if not s.partner_comparison or not others:
        return None
    inflows = [(own.middle + v.middle) / 2 for v in others]
    gap, error = max(
        (v.at(x) - own.at(x), math.hypot(own.error, v.error))
        for x, v in zip(inflows, others, strict=True)
    )
    return own.value + gap, error


def moved_alone(
    own: Mapping[str, float], others: Sequence[Mapping[str, float]], s: DiagnosisSettings
) -> bool | None:
    """Whether no other pump's feature moved half as far to the same side; None where nobody compares.
    Feature → how far it moved."""
    if not s.partner_comparison or not others:
        return None
    return not any(other.get(name, 0.0) / by > 0.5 for name, by in own.items() for other in others)
