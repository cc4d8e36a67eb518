"""A simulated fleet that publishes at the pace of life, for a hub that runs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pumpwatch.app.agents import edge_errors, make_agent
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.station import SimulatedStation


class LiveFleet:
    """One ordinary edge agent a station, all under one sky, from now on."""

    def __init__(
        self,
        specs: Sequence[StationSpec],
        seed: int,
        tenant: str,
        outboxes: Path,
        host: str,
        port: int,
    ) -> None:
        clock = WallClock()
        simulation = Simulation(specs, seed, clock.now_ms())
        with edge_errors():
            self._runners = [
                make_agent(
                    SiteKey(tenant, spec.site.site),
                    SimulatedStation(simulation, spec.site.site),
                    outboxes,
                    (host, port),
                    clock.now_ms,
                )
                for spec in specs
            ]

    def start(self) -> None:
        for runner in self._runners:
            runner.start()

    def stop(self) -> None:
        for runner in self._runners:
            runner.stop(5)
