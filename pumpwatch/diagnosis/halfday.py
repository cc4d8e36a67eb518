"""Half-days: the robust values of each feature over some twelve hours, as residuals from the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.references import PumpReference, SiteReference, night_inflow
from pumpwatch.diagnosis.seen import NAN, Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings


class Value(NamedTuple):
    """A feature of one half-day: how far from normal, the spread of that, and the plain numbers."""

    residual: float
    sigma: float
    now: float
    normal: float


def summarise(
    cycles: Sequence[tuple[Seen, float, bool]],
    site: SiteReference,
    pumps: dict[int, PumpReference],
    s: DiagnosisSettings,
) -> dict[str, Value]:
    """Feature → value from (cycle, local hour, wet) of one half-day; too few cycles leave it out."""
    out: dict[str, Value] = {}
    for k, ref in pumps.items():
        own = [c for c, _, wet in cycles if c.valid and c.pump == k and _in_range(c, ref, wet)]
        if len(own) >= s.min_cycles:
            out |= _pump(f":pump{k}", own, ref)
    valid = [c for c, _, _ in cycles if c.valid]
    if len(valid) >= s.min_cycles:
        out |= _levels(valid, site)
    night = night_inflow([(c, hour) for c, hour, wet in cycles if c.valid and not wet])
    if not math.isnan(night) and site.night.known:
        out["night_inflow"] = Value(
            night - site.night.value,
            site.night.half_sigma,
            math.exp(night),
            math.exp(site.night.value),
        )
    return out


def _in_range(c: Seen, ref: PumpReference, wet: bool) -> bool:
    return not wet or c.log_inflow <= ref.capacity.high + 0.1


def _pump(tail: str, own: Sequence[Seen], ref: PumpReference) -> dict[str, Value]:
    out = {}
    n = math.sqrt(len(own))
    line = ref.capacity
    rest = [c.log_capacity - line.expect(c.log_inflow) for c in own]
    if not math.isnan(value := robust.median(rest)):
        sigma = max(line.half_sigma, 1.3 * line.cycle_sigma / n)
        normal = math.exp(line.value)
        out["capacity" + tail] = Value(value, sigma, normal * math.exp(value), normal)
        spread = robust.sigma(rest) / line.cycle_sigma
        out["scatter" + tail] = Value(math.log(max(spread, 0.05)), max(0.35, 1.2 / n), spread, 1.0)
    line = ref.current
    if line.known:
        rest = [c.log_current - line.expect(c.log_inflow) for c in own]
        if not math.isnan(value := robust.median(rest)):
            sigma = max(line.half_sigma, 1.3 * line.cycle_sigma / n)
            normal = math.exp(line.value)
            out["current" + tail] = Value(value, sigma, normal * math.exp(value), normal)
    size = math.exp(ref.capacity.value)
    back = robust.median([c.backflow / size for c in own])
    if not math.isnan(back):
        line = ref.backflow
        sigma = max(line.half_sigma, 1.3 * line.cycle_sigma / n)
        out["backflow" + tail] = Value(back - line.value, sigma, back * size, line.value * size)
    return out


def _levels(valid: Sequence[Seen], site: SiteReference) -> dict[str, Value]:
    out = {}
    start = np.array([c.start_m for c in valid])
    stop = np.array([c.stop_m for c in valid])
    for name, values, normal, sigma, spread in (
        ("start_level", start, site.start_m, site.start_sigma, site.start_spread),
        ("stop_level", stop, site.stop_m, site.stop_sigma, site.stop_spread),
    ):
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        middle = float(np.median(values))
        out[name] = Value(middle - normal, sigma, middle, normal)
        wide = _width(values)
        out[name.replace("level", "spread")] = Value(
            math.log(max(wide, 0.2 * spread) / spread),
            max(0.4, 1.5 / math.sqrt(len(values))),
            wide,
            spread,
        )
    return out


def _width(values: np.ndarray) -> float:
    """Spread from the 10 and 90 % points, on the scale of a standard deviation: sees tails, unlike MAD."""
    if len(values) < 5:
        return robust.sigma(values)
    low, high = np.quantile(values, [0.1, 0.9])
    return float((high - low) / 2.563)


__all__ = ["NAN", "Value", "summarise"]
