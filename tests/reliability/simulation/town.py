"""A town from a seed: drawn, run through its faults, healed, and held to what was promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import SiteMode
from pumpwatch_edge.agent import Agent, Limits
from pumpwatch_edge.message import Ack, Lane, Record

from . import faults
from .broker import Broker, Line, Packet, Weather
from .checker import Checker
from .disks import HubDisk
from .hub import CREW, HubProcess, Parts, Provider
from .plant import draw_plant
from .station import EdgeHabits, Station
from .timeline import DAY, HOUR, MINUTE, SECOND, Fuse, Timeline

BEGIN = 1_763_600_000_000
TENANT = "default"


@dataclass(frozen=True)
class Scale:
    """How large a town is drawn: sites, days, and how often its agents and its hub turn round."""

    sites: tuple[int, int]
    days: tuple[float, float]
    habits: tuple[tuple[int, int], ...]
    """Seconds between rows, and age of a batch: always shorter than the silence that is told."""
    pulse: int
    whole_diagnosis: bool


CLOSE = Scale((2, 4), (3, 8), ((60, 30), (60, 600), (300, 1800)), 5 * MINUTE, True)
"""A few stations looked at closely, with all of diagnosis."""
WIDE = Scale((8, 20), (20, 60), ((900, 7200),), 30 * MINUTE, False)
"""Many stations over weeks, judged by the rules of present facts."""


@dataclass
class Result:
    """What a seed came to. ``counts`` holds faults by kind, kills by label and what was moved."""

    seed: int
    digest: int
    site_days: float
    counts: dict[str, int]
    violations: list[str] = field(default_factory=list)


class Stranger:
    """Somebody at the broker who is no station and no hub."""

    def accepted(self) -> None: ...
    def ended(self, line: Line) -> None: ...
    def took(self, handle: int) -> None: ...
    def arrived(self, packet: Packet, mid: int) -> None: ...


class Town:
    def __init__(
        self,
        seed: int,
        scale: Scale | None = None,
        *,
        parts: Parts | None = None,
        agent: type[Agent] = Agent,
        knows: frozenset[str] | None = None,
    ) -> None:
        self.time = Timeline(seed, BEGIN)
        self.chance = self.time.chance("town")
        self._scale = scale or (CLOSE if seed % 3 == 0 else WIDE)
        parts = parts or Parts()
        parts.whole_diagnosis = self._scale.whole_diagnosis
        self._agent, self._told = agent, knows
        self.broker = self._draw_broker()
        self.checker = Checker(self)
        self.hub = HubProcess(
            self.time, self.broker, self._draw_providers, parts=parts, pulse=self._scale.pulse,
            published=self.checker.published, committed=self.checker.committed,
        )  # fmt: skip
        self.stations = self._draw_stations()
        self.knows = self._draw_faults()
        self.archive: HubDisk | None = None

    # -- drawing -----------------------------------------------------------------------------------

    def _draw_broker(self) -> Broker:
        chance = self.chance
        weather = Weather(delay=chance.choice((0, 30, 500, 10_000)))
        for name in ("drop", "twice", "garble"):
            if chance.random() < 0.4 and self._told is None:
                setattr(weather, name, chance.choice((0.001, 0.02, 0.1)))
        weather.reorder = chance.random() < 0.3
        return Broker(
            self.time, weather=weather, max_queued=chance.choice((20, 1000, 100_000)),
            max_inflight=chance.choice((1, 20, 1000)),
        )  # fmt: skip

    def _draw_providers(self, fuse: Fuse) -> list[Provider]:
        names = ("pager", "mail")[: self.chance.randint(1, 2)]
        return [Provider(self.time, name, fuse) for name in names]

    def _draw_stations(self) -> dict[str, Station]:
        chance, scale = self.chance, self._scale
        self.days = chance.uniform(*scale.days)
        stations = {}
        for n in range(chance.randint(*scale.sites)):
            key = SiteKey(TENANT, f"mh{n:04}")
            mode = SiteMode.RECORDING if chance.random() < 0.1 else SiteMode.LIVE
            period_s, age_s = chance.choice(scale.habits)
            plant_chance = self.time.chance(f"plant {n}")
            plant = draw_plant(plant_chance, key, BEGIN + HOUR, self.days, period_s * SECOND, mode)
            habits = EdgeHabits(
                batch_age_s=age_s,
                wake=min(max(10 * MINUTE, age_s * SECOND), HOUR),
                max_bytes=chance.choice((60_000, 10**6, 10**8)),
                limits=Limits(window=chance.choice((5, 100))),
                agent=self._agent,
            )
            stations[key.site] = Station(
                self.time, self.broker, plant, habits, self.checker.trimmed
            )
        return stations

    def _draw_faults(self) -> set[str]:
        """A swarm: half of all faults; often none at the edge, so that alerts can be held against the truth."""
        if self._told is not None:
            return set(self._told)
        known = {name for name in faults.FAULTS if self.chance.random() < 0.5}
        if self.chance.random() < 0.5:
            known -= faults.DISTURBING
        return known

    # -- running -----------------------------------------------------------------------------------

    def run(self) -> Result:
        self._begin()
        end = BEGIN + HOUR + int(self.days * DAY)
        self.time.run_until(end)
        self._heal()
        self._drain(end + 6 * DAY)
        self.checker.finish(end)
        days = self.days * len(self.stations)
        return Result(
            self.time.seed, self.time.digest, days, dict(self.time.counts), self.time.violations
        )

    def _begin(self) -> None:
        for station in self.stations.values():
            late = self.chance.random() < 0.15
            when = int(self.chance.uniform(0, self.days * DAY / 2)) if late else 0
            self.time.after(when, self._approve, station)
            self.time.after(HOUR, self.boot, station, 0)
        self.time.after(MINUTE, self.hub.start)
        for name in sorted(self.knows):
            self._expect(name)

    def _approve(self, station: Station) -> None:
        plant = station.plant
        self.hub.disk.ledger.put_site(plant.key, plant.site(), CREW, self.time.now)
        if self.archive is not None:  # people approve again what an older archive does not know
            self.archive.ledger.put_site(plant.key, plant.site(), CREW, self.time.now)

    def _expect(self, name: str) -> None:
        wait = self.chance.expovariate(1 / (faults.EVERY_H[name] * HOUR))
        self.time.after(wait, self._strike, name)

    def _strike(self, name: str) -> None:
        if name in self.knows:
            self.time.counts[f"fault {name}"] += 1
            self.time.note(name)
            faults.FAULTS[name](self)
            self._expect(name)

    def _heal(self) -> None:
        """Everything is repaired; what was promised must now come true."""
        self.knows.clear()
        self.broker.weather = Weather(delay=30)
        self.broker.unreachable.clear()
        self.broker.start()
        self.hub.trouble.clear()
        self.hub.slow.clear()
        self.hub.clock.offset = 0
        self.hub.fuse.left = None
        for provider in self.hub.providers:
            provider.mode = "ok"
        for station in self.stations.values():
            station.fuse.left = None
            station.disk.is_full = False
            station.set_clock(0)
            if station.agent is None:
                station.boot()
        self.hub.start()

    def _drain(self, deadline: int) -> None:
        while self.time.now < deadline:
            self.time.run_until(self.time.now + HOUR)
            if self.hub.is_idle and not any(_held(s) for s in self.stations.values()):
                return
        held = {s.name: _held(s) for s in self.stations.values() if _held(s)}
        self.time.violate(f"not drained: outboxes {held}, hub idle {self.hub.is_idle}")

    # -- what faults ask ---------------------------------------------------------------------------

    def some_station(self) -> Station:
        return self.stations[self.chance.choice(sorted(self.stations))]

    def somebody(self) -> str:
        """A station's name, or ``hub``."""
        return self.chance.choice([*sorted(self.stations), "hub"])

    def boot(self, station: Station, wrong_clock_for: int) -> None:
        if station.agent is None:
            station.boot(wrong_clock_for=wrong_clock_for)

    def shout(self, packet: Packet) -> None:
        line = self.broker.connect("stranger", Stranger())
        if line is not None:
            self.broker.publish(line, packet, 0)

    def take_backup(self) -> None:
        self.archive = self.hub.disk.copied()

    def restore(self, takes: int) -> None:
        if self.archive is None:
            self.time.counts["fault restore"] -= 1
            return
        self.hub.die("disk lost")
        self.checker.disk_lost()
        archive = self.archive

        def put_in_place() -> None:
            self.hub.die("restore")
            self.checker.restored(self.hub.disk, archive)
            self.hub.disk, self.hub.disk_is_lost = archive.copied(), False
            self.hub.start()

        self.hub.disk_is_lost = True
        self.time.after(takes, put_in_place)


def _held(station: Station) -> int:
    agent = station.agent
    return 1 if agent is None else agent.backlog + agent.pending


def run(seed: int, scale: Scale | None = None, **kwargs: Any) -> Result:
    """One town, from its seed alone."""
    return Town(seed, scale, **kwargs).run()


Check = Callable[[Station, str, Lane, list[Record]], None]
__all__ = ["Ack", "Check", "Result", "Scale", "Town", "run"]
