"""The nomenclature: every signal a panel may send, its unit, its bounds and its names.

Most sites have seven of them; nothing may assume more than the level and the run signals.
Inside the house everything is SI; ``level_m`` is metres above the well's bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_PUMPS = 4


class SignalKind(StrEnum):
    ANALOG = "analog"
    STATE = "state"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Signal:
    """One canonical signal. A value outside [low, high] is bad input, not a reading."""

    name: str
    unit: str
    kind: SignalKind
    low: float
    high: float
    en: str
    ja: str


def _pump_signals(n: int) -> list[Signal]:
    state = [
        ("run", f"Pump {n} running", f"{n}号ポンプ運転"),
        ("fault", f"Pump {n} fault", f"{n}号ポンプ故障"),
        ("overload", f"Pump {n} overload", f"{n}号ポンプ過負荷"),
        ("leakage", f"Pump {n} earth leakage", f"{n}号ポンプ漏電"),
        ("thermal", f"Pump {n} thermal trip", f"{n}号ポンプサーマルトリップ"),
        ("seal", f"Pump {n} seal water", f"{n}号ポンプ浸水"),
    ]
    return [
        *(Signal(f"pump{n}_{s}", "", SignalKind.STATE, 0, 1, en, ja) for s, en, ja in state),
        Signal(f"pump{n}_current_a", "A", SignalKind.ANALOG, 0, 1_000,
               f"Pump {n} current", f"{n}号ポンプ電流"),
        Signal(f"pump{n}_hours_h", "h", SignalKind.COUNTER, 0, 1e6,
               f"Pump {n} run hours", f"{n}号ポンプ運転時間"),
        Signal(f"pump{n}_starts", "", SignalKind.COUNTER, 0, 1e9,
               f"Pump {n} starts", f"{n}号ポンプ起動回数"),
    ]  # fmt: skip


_STATION = [
    Signal("level_m", "m", SignalKind.ANALOG, -2, 50, "Water level", "水位"),
    Signal("high_level", "", SignalKind.STATE, 0, 1, "High-level float", "異常高水位"),
    Signal("power_ok", "", SignalKind.STATE, 0, 1, "Mains power", "受電"),
    Signal("mode_auto", "", SignalKind.STATE, 0, 1, "Automatic mode", "自動"),
    Signal("door_open", "", SignalKind.STATE, 0, 1, "Panel door open", "扉開"),
    Signal("battery_v", "V", SignalKind.ANALOG, 0, 100, "Battery", "バッテリー電圧"),
    Signal("rain_mm_h", "mm/h", SignalKind.ANALOG, 0, 500, "Rain", "雨量"),
]

SIGNALS: dict[str, Signal] = {
    s.name: s for s in [*_STATION, *(s for n in range(1, MAX_PUMPS + 1) for s in _pump_signals(n))]
}


def run_signal(pump: int) -> str:
    """Name of the run signal of pump ``pump`` (1-based)."""
    return f"pump{pump}_run"


def current_signal(pump: int) -> str:
    """Name of the motor current signal of pump ``pump`` (1-based)."""
    return f"pump{pump}_current_a"
