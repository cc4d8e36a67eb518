"""What a cycle says of its pump and its well, with the inflow taken out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.cutter import REASONS, Cycles
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.hydraulics import flows

MEASURE = np.dtype(
    [
        ("inflow", "f8"),
        ("capacity", "f8"),
        ("late_capacity", "f8"),
        ("backflow", "f8"),
        ("fill_inflow", "f8"),
    ]
)
"""Flows of one cycle, in m3/s where the well's area is known, else in m/s of level. ``inflow`` is that
of the run's middle, ``late_capacity`` the pump's over the second half of its run."""

Measures = NDArray[np.void]


def measure(cycles: Cycles, area_m2: float | None) -> Measures:
    """Flows of each cycle. Without an area the level's rates stand for them, which compares as well."""
    area = 1.0 if area_m2 is None else area_m2
    out = np.zeros(len(cycles), MEASURE)
    before = flows.inflow(area, cycles["fill_slope"])
    after = flows.inflow(area, cycles["rest_near"])
    out["fill_inflow"] = before
    out["inflow"] = np.maximum(
        flows.inflow_during_run(before, after, cycles["fill_gap_s"], cycles["rest_gap_s"]), 0.0
    )
    out["capacity"] = flows.capacity(area, cycles["run_slope"], out["inflow"])
    out["late_capacity"] = flows.capacity(area, cycles["run_late"], out["inflow"])
    out["backflow"] = flows.backflow(area, cycles["rest_early"], after)
    return out


def cycle_rows(cycles: Cycles, measures: Measures, area_m2: float | None) -> list[CycleRow]:
    """Cycles as the ledger keeps them; what could not be known is left out."""
    rows = []
    columns = {name: cycles[name].tolist() for name in _PLAIN.values()}
    derived = {name: measures[name].tolist() for name in _FLOWS.values()} if area_m2 else {}
    names = ("start_ms", "end_ms", "pump", "parallel", "reason")
    keys = zip(*(cycles[name].tolist() for name in names), strict=True)
    for k, (start, end, pump, parallel, reason) in enumerate(keys):
        values = {name: columns[column][k] for name, column in _PLAIN.items()}
        if derived:
            values |= {name: derived[column][k] for name, column in _FLOWS.items()}
        rows.append(
            CycleRow(
                start_ms=start,
                end_ms=end,
                pump="both" if parallel else f"pump{pump}",
                reason=REASONS[reason],
                features={n: significant(v) for n, v in values.items() if math.isfinite(v)},
            )
        )
    return rows


_PLAIN = {
    "run_s": "run_s",
    "fill_s": "fill_s",
    "start_level_m": "start_level_m",
    "stop_level_m": "stop_level_m",
    "current_a": "current_a",
    "current_scatter_a": "scatter_a",
}
_FLOWS = {"capacity_m3s": "capacity", "inflow_m3s": "inflow", "backflow_m3s": "backflow"}


def significant(value: float, digits: int = 4) -> float:
    """``value`` rounded to ``digits`` significant digits."""
    return float(f"{value:.{digits}g}")
