"""Pretends to be panels: weather, inflow, plant, faults, and a fleet of stations to try things on."""

from pumpwatch.simulator.faults import FAULTS
from pumpwatch.simulator.fleet import DEMO_CLIMATE, demo_fleet, demo_ragging
from pumpwatch.simulator.simulation import Simulation, make_history
from pumpwatch.simulator.spec import PumpSpec, Sensors, StationSpec
from pumpwatch.simulator.station import SimulatedStation

__all__ = [
    "DEMO_CLIMATE", "FAULTS", "PumpSpec", "Sensors", "SimulatedStation", "Simulation",
    "StationSpec", "demo_fleet", "demo_ragging", "make_history",
]  # fmt: skip
