"""What goes wrong with floats, panel and set-points, and what people leave behind."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, Param
from pumpwatch.simulator.spec import StationSpec


def float_hangup(c: Condition, at: Acting) -> None:
    """Grease or a tangle: a float lets go late, at another height each time.

    Under float control the starts spread upward; else it is the alarm float that hangs, and rises no more.
    """
    if at.spec.site.control == "float":
        c.hang_m += 0.45 * at.severity
    elif at.severity > 0.5:
        c.float_stuck = at.params["up"] >= 0.5


def alternation(c: Condition, at: Acting) -> None:
    """The duty no longer passes on: one pump does all the work, its partner answers only as lag."""
    c.fixed_duty = at.pump


def stuck_on(c: Condition, at: Acting) -> None:
    """Stops are missed more and more often: the pump empties the well and draws air for minutes."""
    pump = at.of(c)
    pump.over_p, pump.over_s = 0.95 * at.severity, 900.0


def short_cycling(c: Condition, at: Acting) -> None:
    """The stop electrode is fouled or moved: the band shrinks, starts per hour multiply."""
    band = float(at.spec.site.start_level_m or 0) - float(at.spec.site.stop_level_m or 0)
    c.stop_shift_m += 0.72 * at.severity * band


def left_in_manual(c: Condition, at: Acting) -> None:
    """After a visit the selector of one pump still stands on off."""
    at.of(c).forced = False
    c.door = at.hours < 1.0


def fouling(c: Condition, at: Acting) -> None:
    """Grease and grit take up the well: less water between the set-points, for both pumps."""
    c.fouling = min(c.fouling + 0.4 * at.severity, 0.8)


def _float_told(spec: StationSpec, params: Mapping[str, float]) -> bool:
    """An alarm float that hangs down is like one that has nothing to report."""
    return spec.site.control == "float" or params["up"] >= 0.5


KINDS = (
    FaultKind(
        "float_hangup", "Float hangs", "フロート固着", float_hangup, False, 8.0,
        ("float_hangup",), self_clears=True, shows=_float_told,
        params={"up": Param("", 0, 1, 0, "an alarm float hangs down (0) or up (1)")},
    ),
    FaultKind(
        "alternation_failure", "Pumps no longer alternate", "交互運転不良", alternation, True, 0.0,
        ("alternation_failure", "pump_out_of_service"), deadline_h=72.0,
    ),
    FaultKind("stuck_on", "Pump does not stop", "停止不良", stuck_on, True, 3.0, ("stuck_on",)),
    FaultKind(
        "short_cycling", "Band shrinks, starts multiply", "頻繁起動", short_cycling, False, 4.0,
        ("short_cycling",),
    ),
    FaultKind(
        "left_in_manual", "Selector left on off", "手動・切のまま", left_in_manual, True, 0.0,
        ("left_in_manual", "pump_out_of_service"), deadline_h=48.0,
    ),
    FaultKind(
        "well_fouling", "Grease and grit in the well", "スカム・堆積", fouling, False, 60.0,
        ("unusual", "short_cycling", "sensor_drift"),
    ),
)  # fmt: skip
