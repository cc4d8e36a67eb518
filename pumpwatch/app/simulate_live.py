"""A scenario played over MQTT: one ordinary edge agent a station, at the pace of life or any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pumpwatch.app.agents import edge_errors, make_agent
from pumpwatch.domain.clock import HOUR_MS, Clock, ScaledClock, WallClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.station import SimulatedStation
from pumpwatch_edge import source
from pumpwatch_edge.runner import AgentRunner

_REST_S = 0.1
_BATCH_S = 30.0
"""Of the station's own time: how long telemetry is gathered before it is sent."""


class _Pace:
    """How far the stations of a scenario may have come by now."""

    def __init__(self, scenario: Scenario, speed: float, clock: Clock) -> None:
        self.end_ms = scenario.end_ms
        self._clock = ScaledClock(scenario.start_ms, speed, clock) if speed else None

    @property
    def waits(self) -> bool:
        return self._clock is not None

    def until_ms(self) -> int:
        return self.end_ms if self._clock is None else min(self._clock.now_ms(), self.end_ms)


class _ScenarioStation(SimulatedStation):
    """One station of a scenario, which ends when the scenario does."""

    def __init__(self, simulation: Simulation, site: str, pace: _Pace) -> None:
        super().__init__(simulation, site)
        self._pace = pace

    def poll(self, now_ms: int, limit: int) -> list[source.Reading | source.Edge]:
        """What the station said up to where the pace stands; ``now_ms`` is another time."""
        until_ms = self._pace.until_ms()
        if self._pace.waits:
            items = super().poll(until_ms, limit)
        else:
            items = self._simulation.next(self._site, until_ms, limit)
            while len(items) < limit and self._simulation.now_ms < until_ms:
                self._simulation.advance(min(self._simulation.now_ms + HOUR_MS, until_ms))
                items += self._simulation.next(self._site, until_ms, limit - len(items))
        over = self._simulation.now_ms >= self._pace.end_ms
        self.finished = over and len(items) < limit
        return items


class LiveScenario:
    """Agents that play a scenario for the broker at ``address``.

    ``speed`` is how much faster than life time runs; 0 is as fast as the hub takes it.
    """

    def __init__(
        self,
        scenario: Scenario,
        tenant: str,
        outboxes: Path,
        address: tuple[str, int],
        speed: float,
    ) -> None:
        simulation = Simulation(
            scenario.fleet.stations, scenario.fleet.seed, scenario.start_ms, sky=scenario.sky
        )
        for event in scenario.events:
            simulation.happen(event)
        wall = WallClock()
        pace = _Pace(scenario, speed, wall)
        with edge_errors():
            self.runners: dict[SiteKey, AgentRunner] = {
                (key := SiteKey(tenant, spec.site.site)): make_agent(
                    key,
                    _ScenarioStation(simulation, spec.site.site, pace),
                    outboxes,
                    address,
                    wall.now_ms,
                    batch_age_s=max(2.0, _BATCH_S / speed) if speed else 2.0,
                )
                for spec in simulation.specs
            }
        self._simulation, self._start_ms, self._end_ms = simulation, scenario.start_ms, pace.end_ms

    def __enter__(self) -> LiveScenario:
        for runner in self.runners.values():
            runner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for runner in self.runners.values():
            runner.stop(5, "scenario ended")

    @property
    def share(self) -> float:
        """How much of the scenario has been played."""
        return (self._simulation.now_ms - self._start_ms) / (self._end_ms - self._start_ms)

    @property
    def over(self) -> bool:
        """Everything has been said and the hub has it on disk, or an agent has ended."""
        return all(r.finished or not r.alive for r in self.runners.values())

    @property
    def problems(self) -> list[str]:
        return [f"{key}: {r.error}" for key, r in self.runners.items() if r.error]

    def wait(self, progress: Callable[[float], None]) -> None:
        while not self.over:
            progress(self.share)
            time.sleep(_REST_S)
        progress(1.0)
