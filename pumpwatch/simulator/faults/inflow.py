"""What changes in the sewers above the station."""

from __future__ import annotations

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, Param


def infiltration(c: Condition, at: Acting) -> None:
    """Ground water finds more cracks: a steady flow, seen best at night."""
    c.inflow_add_m3s += at.params["share"] * at.severity * at.capacity_m3s


def upstream_blockage(c: Condition, at: Acting) -> None:
    """The sewer above is closing: little arrives, and it spills upstream."""
    c.inflow_factor *= 1 - 0.93 * at.severity


def new_inflow(c: Condition, at: Acting) -> None:
    """A car wash, a factory, new houses: an additional flow at the same hours of every day."""
    if at.params["from_h"] <= at.local_h < at.params["to_h"]:
        c.inflow_add_m3s += at.params["share"] * at.capacity_m3s


KINDS = (
    FaultKind(
        "infiltration_growth", "Ground water infiltrates", "常時浸入地下水増加", infiltration, False, 25.0,
        ("infiltration_growth",), params={"share": Param("of nameplate", 0.01, 0.6, 0.16, "flow at breakdown")},
    ),
    FaultKind(
        "upstream_blockage", "Sewer above blocked", "上流管閉塞", upstream_blockage, False, 2.0,
        ("upstream_blockage",),
    ),
    FaultKind(
        "inflow_change", "New inflow", "流入量変化", new_inflow, False, 0.0,
        ("inflow_change", "infiltration_growth"), deadline_h=240.0,
        params={
            "share": Param("of nameplate", 0.01, 0.7, 0.2, "additional flow"),
            "from_h": Param("h", 0, 24, 9, "hour of the day it begins"),
            "to_h": Param("h", 0, 24, 17, "hour of the day it ends"),
        },
    ),
)  # fmt: skip
