"""One simulated station as a panel that the ordinary edge agent reads."""

from __future__ import annotations

from collections.abc import Mapping

from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.spec import STEP_S
from pumpwatch_edge import source


class SimulatedStation:
    """A `pumpwatch_edge.source.Source`. Stations of one simulation may be polled by many threads."""

    finished = False

    def __init__(self, simulation: Simulation, site: str) -> None:
        self._simulation = simulation
        self._site = site
        self.signals: Mapping[str, Mapping[str, object]] = simulation.signals(site)
        self.period_s = float(simulation.spec(site).site.sample_s or STEP_S)

    def poll(self, now_ms: int, limit: int) -> list[source.Reading | source.Edge]:
        """What the station said up to ``now_ms``, oldest first, at most ``limit``.

        Steps the whole fleet up to ``now_ms`` first, unless another station's poll already did.
        """
        self._simulation.advance(now_ms)
        return self._simulation.next(self._site, now_ms, limit)

    def close(self) -> None:
        """Nothing is held open."""
