"""What goes wrong with a pump and its motor."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, saw_tooth
from pumpwatch.simulator.spec import StationSpec

LOCKED_ROTOR = 5.0
"""Current of a motor that cannot turn, over that of one that turns without flow."""
_UNTIL_REPAIR_S = 1e9


def wear(c: Condition, at: Acting) -> None:
    """Worn impeller and ring: flow and head fall slowly and smoothly, and the current with them."""
    pump = at.of(c)
    pump.flow *= 1 - 0.5 * at.severity
    pump.head *= 1 - 0.15 * at.severity


def ragging(c: Condition, at: Acting) -> None:
    """At breakdown the pump has lost about half of its flow and labours at a fifth more current."""
    pump = at.of(c)
    pump.flow *= 1 - 0.52 * at.severity
    pump.head *= 1 - 0.12 * at.severity
    pump.current *= 1 + 0.55 * at.severity
    pump.scatter += 0.05 * at.severity


def blocked(c: Condition, at: Acting) -> None:
    """A towel or a stone holds the impeller: the motor hums at locked-rotor current until it trips."""
    pump = at.of(c)
    pump.no_flow = True
    pump.current *= LOCKED_ROTOR
    pump.trip_p, pump.trip_s, pump.reset_s = 1.0, 25.0, _UNTIL_REPAIR_S
    pump.overload = True


def air_lock(c: Condition, at: Acting) -> None:
    """Some runs, in the end all, turn in air: no flow, low current; the level goes on to the lag pump."""
    at.of(c).air_p = 0.9 * at.severity


def start_failure(c: Condition, at: Acting) -> None:
    """The motor does not come up and is dropped after seconds; the panel tries again or takes the other."""
    at.of(c).fail_p = 0.95 * at.severity


def motor_degradation(c: Condition, at: Acting) -> None:
    """Bearing or winding: more current and ripple at the same flow, at last thermal trips."""
    pump = at.of(c)
    pump.current *= 1 + 0.32 * at.severity
    pump.scatter += 0.012 * at.severity
    if at.severity >= 1:
        pump.trip_p, pump.trip_s = 0.5, 240.0


def out_of_service(c: Condition, at: Acting) -> None:
    """A dead standby: breaker out or motor seized. Called, it does not come; nobody is told."""
    at.of(c).available = False


def trip(c: Condition, at: Acting) -> None:
    """Overload or heat stops it in mid-run; it resets itself after half an hour."""
    pump = at.of(c)
    pump.trip_p, pump.trip_s, pump.reset_s = 0.85 * at.severity, 120.0, 1800.0
    pump.overload = at.severity > 0.1
    pump.current *= 1 + 0.15 * at.severity


def insulation(c: Condition, at: Acting) -> None:
    """Water in the motor or its cable: the earth-leakage relay trips it, in rain first."""
    wet = min(at.rain_mm() / 10.0, 1.0)
    pump = at.of(c)
    pump.trip_p = at.severity * (0.15 * at.severity + 0.8 * wet)
    pump.trip_s, pump.reset_s = 60.0, 3600.0
    pump.leakage = pump.trip_p > 0.3


def seal_leak(c: Condition, at: Acting) -> None:
    """Water behind the shaft seal closes the seal contact, now and then at first; nothing hydraulic."""
    at.of(c).seal = at.severity >= 1 or at.chance() < 1.5 * (at.severity - 0.2)


def contactor(c: Condition, at: Acting) -> None:
    """Worn contacts: the start chatters, off and on several times within seconds."""
    at.of(c).chatter_p = 0.9 * at.severity


def welded(c: Condition, at: Acting) -> None:
    """The contactor has welded: the pump runs on below the stop level until it draws air."""
    at.of(c).welded = True


def _by_current(spec: StationSpec, params: Mapping[str, float]) -> bool:
    return spec.site.has_current is not False


def _by_contact(spec: StationSpec, params: Mapping[str, float]) -> bool:
    return spec.contacts


def _by_rows(spec: StationSpec, params: Mapping[str, float]) -> bool:
    """A chatter of some four seconds falls between rows that are further apart."""
    return spec.sample_ms <= 2_000


KINDS = (
    FaultKind("pump_wear", "Worn impeller and wear ring", "羽根車摩耗", wear, True, 60.0, ("pump_wear",)),
    FaultKind(
        "pump_ragging", "Rags on the impeller", "異物絡まり", ragging, True, 7.0, ("pump_ragging",),
        self_clears=True, course=saw_tooth,
    ),
    FaultKind(
        "pump_blocked", "Impeller locked", "閉塞・ロック", blocked, True, 0.0,
        ("pump_blocked", "pump_trip", "pump_out_of_service"), deadline_h=6.0,
    ),
    FaultKind("air_lock", "Air lock", "エアロック", air_lock, True, 5.0, ("air_lock",), self_clears=True),
    FaultKind(
        "start_failure", "Motor fails to start", "起動不良", start_failure, True, 6.0,
        ("start_failure", "contactor_fault"), self_clears=True,
    ),
    FaultKind(
        "motor_degradation", "Bearing or winding degrades", "軸受・巻線劣化", motor_degradation, True, 20.0,
        ("motor_degradation",), shows=_by_current,
    ),
    FaultKind(
        "pump_out_of_service", "Standby pump dead", "予備機不動作", out_of_service, True, 0.0,
        ("pump_out_of_service",), deadline_h=48.0,
    ),
    FaultKind(
        "pump_trip", "Overload or thermal trips", "過負荷・サーマルトリップ", trip, True, 2.0,
        ("pump_trip", "start_failure"), self_clears=True,
    ),
    FaultKind(
        "insulation_drop", "Insulation drops, trips in rain", "絶縁低下・漏電", insulation, True, 20.0,
        ("pump_trip", "start_failure"), self_clears=True,
    ),
    FaultKind(
        "seal_leak", "Water behind the shaft seal", "軸封浸水", seal_leak, True, 20.0, ("seal_leak",),
        self_clears=True, shows=_by_contact,
    ),
    FaultKind(
        "contactor_fault", "Contactor chatters", "電磁接触器不良", contactor, True, 4.0,
        ("contactor_fault",), shows=_by_rows,
    ),
    FaultKind(
        "contactor_welded", "Contactor welded", "電磁接触器溶着", welded, True, 0.0,
        ("stuck_on", "contactor_fault"), deadline_h=6.0,
    ),
)  # fmt: skip
