"""What goes wrong with the level transmitter. Under level control the panel follows what it shows."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, Param
from pumpwatch.simulator.spec import StationSpec


def drift(c: Condition, at: Acting) -> None:
    """The zero wanders off."""
    c.offset_m += at.params["metres"] * at.severity


def span_drift(c: Condition, at: Acting) -> None:
    """The gain wanders off: the true band widens or narrows, for both pumps alike."""
    c.gain *= 1 + at.params["share"] * at.severity


def scale_error(c: Condition, at: Acting) -> None:
    """A wrong range was entered after work: a step in level and in volume at once."""
    c.gain *= at.params["gain"]


def slow(c: Condition, at: Acting) -> None:
    """Grease on the diaphragm: the reading follows late, starts overshoot and stops undershoot."""
    c.lag_s += 90.0 * at.severity


def frozen(c: Condition, at: Acting) -> None:
    """The reading stands still, for spells that grow until it stays."""
    c.frozen = at.severity >= 1 or at.chance() < 0.5 * at.severity


def broken(c: Condition, at: Acting) -> None:
    """Open or shorted loop: a current below 3.6 or above 21 mA."""
    c.loop_ma = at.params["ma"]


def _by_floats(spec: StationSpec, params: Mapping[str, float]) -> bool:
    """Where the panel follows the transmitter, its readings at start and stop stay what they were."""
    return spec.site.control == "float"


KINDS = (
    FaultKind(
        "sensor_drift", "Transmitter's zero drifts", "水位計ドリフト", drift, False, 18.0,
        ("sensor_drift",), shows=_by_floats,
        params={"metres": Param("m", -0.6, 0.6, 0.22, "error of the zero at breakdown")},
    ),
    FaultKind(
        "span_drift", "Transmitter's span drifts", "水位計スパンずれ", span_drift, False, 18.0,
        ("sensor_drift",), params={"share": Param("", -0.4, 0.4, -0.25, "error of the gain at breakdown")},
    ),
    FaultKind(
        "scale_error", "Wrong range entered after work", "水位計レンジ誤設定", scale_error, False, 0.0,
        ("sensor_drift", "unusual"), deadline_h=72.0,
        params={"gain": Param("", 0.5, 1.5, 0.8, "shown over true change of level")},
    ),
    FaultKind(
        "slow_transmitter", "Transmitter fouled and slow", "水位計応答遅れ", slow, False, 5.0,
        ("sensor_drift", "frozen_level", "unusual"),
    ),
    FaultKind(
        "frozen_level", "Level reading stands still", "水位計固着", frozen, False, 2.5,
        ("frozen_level", "sensor_failed"), self_clears=True,
    ),
    FaultKind(
        "sensor_failed", "Transmitter loop broken", "水位計断線・短絡", broken, False, 0.0,
        ("sensor_failed", "frozen_level"), deadline_h=1.0,
        params={"ma": Param("mA", 0.0, 23.0, 0.0, "what the loop carries")},
    ),
)  # fmt: skip
