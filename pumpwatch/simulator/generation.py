"""A fleet's history in parts of a day, with the truth beside what was published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.simulator.events import Event, check_events
from pumpwatch.simulator.fleet import Fleet
from pumpwatch.simulator.simulation import Injection, Minutes, Simulation
from pumpwatch.simulator.spec import STEP_S
from pumpwatch.simulator.weather import Sky

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EventTruth:
    """One event as it will go, known from the beginning.

    ``breakdown_ms`` is when severity reaches 1 (the onset itself for an abrupt one); ``repair_ms`` is
    None for what stays to the end. ``hourly`` is the severity at every full hour after onset up to
    breakdown, (hours + 1,), between 0 and 1.
    """

    event: Event
    onset_ms: int
    breakdown_ms: int
    repair_ms: int | None
    hourly: Floats

    def severity(self, t_ms: int) -> float:
        """Severity at a moment, 0 before onset and after repair."""
        if t_ms < self.onset_ms or (self.repair_ms is not None and t_ms >= self.repair_ms):
            return 0.0
        at_h = (t_ms - self.onset_ms) / HOUR_MS
        return float(np.interp(at_h, np.arange(len(self.hourly)), self.hourly))


@dataclass(frozen=True, slots=True)
class StationPart:
    """One station in one part: what it published, and what was true.

    ``samples`` and ``edges`` are as on the wire (rounded), ``truth`` as it was minute by minute.
    """

    samples: Chunk
    edges: list[Edge]
    truth: Minutes


@dataclass(frozen=True, slots=True)
class Part:
    """All stations from ``start_ms`` to ``end_ms`` (one UTC day, or what of it was asked for)."""

    start_ms: int
    end_ms: int
    stations: Mapping[str, StationPart]
    events: tuple[EventTruth, ...]
    """Every event of the whole run, the same in each part."""


def generate(
    fleet: Fleet,
    weather: Sky,
    events: Sequence[Event],
    start_ms: int,
    end_ms: int,
    step_s: int = STEP_S,
) -> Iterator[Part]:
    """Step the fleet from ``start_ms`` to ``end_ms`` and yield a `Part` for each UTC day.

    Equal arguments give equal parts to the last bit. A station that samples faster than ``step_s``
    is stepped at its own pace. Raises `InvalidInput` before the first part.
    """
    check_events(events, fleet.stations)
    simulation = Simulation(fleet.stations, fleet.seed, start_ms, sky=weather)
    injections = [simulation.happen(event) for event in events]
    truths = tuple(map(_truth, events, injections))
    return _parts(simulation, truths, end_ms)


def _truth(event: Event, injection: Injection) -> EventTruth:
    return EventTruth(
        event, injection.onset_ms, injection.breakdown_ms, injection.until_ms, injection.course
    )


def _parts(simulation: Simulation, truths: tuple[EventTruth, ...], end_ms: int) -> Iterator[Part]:
    while simulation.now_ms < end_ms:
        begin_ms = simulation.now_ms
        simulation.advance(min(end_ms, (begin_ms // DAY_MS + 1) * DAY_MS))
        if simulation.now_ms == begin_ms:
            return
        stations = {
            spec.site.site: StationPart(
                *simulation.take(spec.site.site), simulation.truth(spec.site.site, begin_ms)
            )
            for spec in simulation.specs
        }
        yield Part(begin_ms, simulation.now_ms, stations, truths)
