"""The state of a station as faults, weather and people have left it; the default is a healthy one.

An event changes a `Condition` and nothing else; `rows` turns it into numbers for the plant, and
`readings` reads from it what befalls instruments and telemetry.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PumpCondition:
    """One pump with its motor, valve and relays.

    ``flow`` and ``head`` scale the pump's curve along its axes, ``current`` the motor current at a given
    flow; ``scatter`` is added to the spread of flow and current. ``valve_leak`` and ``coupling_leak``
    are the flows [share of nameplate] let back at the duty head, through the idle pump's check valve and
    from the running pump's riser. Chances (``…_p``) are per run, 0 to 1.
    """

    flow: float = 1.0
    head: float = 1.0
    current: float = 1.0
    scatter: float = 0.0
    valve_leak: float = 0.0
    coupling_leak: float = 0.0
    no_flow: bool = False
    """Gate or check valve shut, or the impeller stuck: it turns or hums, and nothing leaves."""
    air_p: float = 0.0
    fail_p: float = 0.0
    """Chance that the motor does not come up and is dropped after seconds."""
    trip_p: float = 0.0
    trip_s: float = 60.0
    """Longest time a run lasts that trips."""
    reset_s: float = 1800.0
    available: bool = True
    """Breaker in, motor whole. One that is not lies still when called."""
    forced: bool | None = None
    """Selector on manual (True) or off (False)."""
    welded: bool = False
    chatter_p: float = 0.0
    over_p: float = 0.0
    over_s: float = 0.0
    """Chance that a stop is missed, and for how long at most."""
    seal: bool = False
    leakage: bool = False
    overload: bool = False


@dataclass(slots=True)
class Condition:
    """A whole station."""

    pumps: list[PumpCondition] = field(default_factory=lambda: [PumpCondition() for _ in range(2)])
    power: bool = True
    phases: bool = True
    auto: bool = True
    door: bool = False
    fixed_duty: int | None = None
    float_stuck: bool | None = None
    hang_m: float = 0.0
    """How much too high a float may let go."""
    stop_shift_m: float = 0.0
    start_shift_m: float = 0.0
    """How far the set-points stand from the ledger's; the lag level follows the start level."""
    inflow_factor: float = 1.0
    inflow_add_m3s: float = 0.0
    rain_factor: float = 1.0
    friction: float = 1.0
    lift: float = 1.0
    lost: float = 0.0
    """Share of what leaves the main that never arrives downstream."""
    fouling: float = 0.0
    """Share of the well's area taken by grease and grit below the high level."""
    # the transmitter
    gain: float = 1.0
    offset_m: float = 0.0
    lag_s: float = 0.0
    frozen: bool = False
    loop_ma: float | None = None
    """What the loop carries when the transmitter is broken; None where it works."""
    noise: float = 1.0
    spike_p: float = 0.0
    # telemetry
    telemetry: bool = True
    clock_ms: int = 0
    """How far the panel's clock is off; negative is slow."""
    blank_p: float = 0.0
    drop_p: float = 0.0
    repeat_p: float = 0.0
    flooded: bool = False
    """Water between the terminals: every contact seems closed."""


def healthy(pumps: int) -> Condition:
    """A station of that many pumps with nothing wrong."""
    return Condition([PumpCondition() for _ in range(pumps)])
