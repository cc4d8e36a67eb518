"""The simulated fleet with its agents in a process of its own, so that it never slows the hub.

The demo's hub talks to it over a pipe: one question, any number of progress reports, one answer. When
the hub is gone the pipe closes and the fleet ends.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pumpwatch.app import logs
from pumpwatch.app.agents import make_agent
from pumpwatch.domain import errors
from pumpwatch.domain.clock import DAY_MS, ScaledClock, WallClock
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.keys import DEMO_TENANT, SiteKey
from pumpwatch.domain.ports import ActiveFault
from pumpwatch.simulator.faults import FAULTS
from pumpwatch.simulator.fleet import demo_fleet, demo_ragging
from pumpwatch.simulator.simulation import Simulation, make_history
from pumpwatch.simulator.station import SimulatedStation
from pumpwatch_edge.runner import AgentRunner

STOP_S = 15.0
STARTED_FAULT_GROWTH_H = 12.0
"""A visitor's fault comes on fast: nobody waits a week in front of a page."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What the fleet is and where it stands when time begins to run."""

    stations: int
    seed: int
    now_ms: int
    history_days: int
    ragging: bool
    outboxes: Path
    broker: tuple[str, int]


class FleetProcess:
    """The hub's end of the pipe. Safe to use from any thread."""

    def __init__(self, plan: FleetPlan) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._lock = threading.Lock()
        self._process = context.Process(target=_main, args=(theirs, plan), daemon=True)
        self._process.start()
        theirs.close()

    def make_history(self, progress: Callable[[float], None]) -> None:
        self._ask("make_history", progress=progress)

    def start_agents(self) -> None:
        self._ask("start_agents")

    def run_clock(self, origin_ms: int, wall_ms: int, factor: float) -> None:
        """Time stands at ``origin_ms`` when the wall says ``wall_ms``, and runs ``factor`` times it."""
        self._ask("run_clock", origin_ms, wall_ms, factor)

    def problems(self) -> list[str]:
        """Why agents ended before their time; empty while all is well."""
        found: list[str] = self._ask("problems")
        return found

    def targets(self, site: str) -> list[str]:
        found: list[str] = self._ask("targets", site)
        return found

    def start_fault(self, site: str, fault: str, target: str | None) -> ActiveFault:
        started: ActiveFault = self._ask("start_fault", site, fault, target)
        return started

    def clear_fault(self, site: str, fault: str, target: str | None) -> None:
        self._ask("clear_fault", site, fault, target)

    def active_faults(self) -> list[ActiveFault]:
        found: list[ActiveFault] = self._ask("active_faults")
        return found

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> None:
        self._pipe.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, what: str, *args: Any, progress: Callable[[float], None] | None = None) -> Any:
        with self._lock:
            try:
                self._pipe.send((what, args))
                while True:
                    kind, value = self._pipe.recv()
                    if kind != "progress":
                        break
                    if progress is not None:
                        progress(value)
            except (EOFError, OSError):
                raise PumpwatchError("the simulated fleet has ended", "start it again") from None
        if kind == "error":
            name, fields = value
            raise getattr(errors, name)(**fields)
        return value


def fault_codes() -> list[str]:
    """The faults that can be acted out."""
    return list(FAULTS)


# -- the other end of the pipe -----------------------------------------------------------------


def _main(pipe: Connection, plan: FleetPlan) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the hub's to answer
    logs.configure(least=logging.ERROR)  # a demo's visitor is not the agents' operator
    fleet = _Fleet(plan, lambda share: pipe.send(("progress", share)))
    try:
        while True:
            what, args = pipe.recv()
            pipe.send(_answer(fleet, what, args))
    except (EOFError, OSError):
        fleet.stop()


def _answer(fleet: _Fleet, what: str, args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "answer", getattr(fleet, what)(*args)
    except InvalidInput as error:
        problem = error.problem.removeprefix(f"{error.field}: ")
        fields = {"field": error.field, "problem": problem, "remedy": error.remedy}
        return "error", ("InvalidInput", fields)
    except PumpwatchError as error:
        name = type(error).__name__
        return "error", (name, {"problem": error.problem, "remedy": error.remedy})


class _Fleet:
    """The fleet itself: one simulation, one ordinary agent a station."""

    def __init__(self, plan: FleetPlan, progress: Callable[[float], None]) -> None:
        self._plan, self._progress = plan, progress
        self._clock = ScaledClock(plan.now_ms, 0, WallClock())
        start_ms = plan.now_ms - plan.history_days * DAY_MS
        self._simulation = Simulation(demo_fleet(plan.seed, plan.stations), plan.seed, start_ms)
        if plan.ragging:
            demo_ragging(self._simulation, plan.now_ms)
        self._runners: list[AgentRunner] = []

    def make_history(self) -> None:
        make_history(self._simulation, self._plan.history_days, self._progress)

    def start_agents(self) -> None:
        for spec in self._simulation.specs:
            site = spec.site.site
            runner = make_agent(
                SiteKey(DEMO_TENANT, site),
                SimulatedStation(self._simulation, site),
                self._plan.outboxes,
                self._plan.broker,
                lambda: self._clock.now_ms(),
                batch_age_s=60,
            )
            runner.start()
            self._runners.append(runner)

    def run_clock(self, origin_ms: int, wall_ms: int, factor: float) -> None:
        self._clock = ScaledClock.at(origin_ms, wall_ms, factor, WallClock())

    def problems(self) -> list[str]:
        return [r.error for r in self._runners if r.error]

    def targets(self, site: str) -> list[str]:
        return self._simulation.targets(site)

    def start_fault(self, site: str, fault: str, target: str | None) -> ActiveFault:
        begun = self._simulation.inject(site, fault, target, growth_h=STARTED_FAULT_GROWTH_H)
        return ActiveFault(site, fault, target, begun.onset_ms)

    def clear_fault(self, site: str, fault: str, target: str | None) -> None:
        self._simulation.clear(site, fault, target)

    def active_faults(self) -> list[ActiveFault]:
        return self._simulation.active()

    def stop(self) -> None:
        for runner in self._runners:
            runner.stop(3)
