"""Everything a site's diagnosis remembers between two calls: plain data, encoded by msgspec."""

from __future__ import annotations

from dataclasses import dataclass, field

from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.episodes import Episode
from pumpwatch.diagnosis.events import Turns, Usual
from pumpwatch.diagnosis.gates import WetGate
from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.present import PresentState
from pumpwatch.diagnosis.references import PumpReference, SiteReference
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.strangeness import StrangenessState
from pumpwatch.diagnosis.water import WaterState


@dataclass
class JoiningState:
    """What was told of a station's first days; see `pumpwatch.diagnosis.joining`."""

    told: dict[str, str | None] = field(default_factory=dict)
    """Cause → pump of what is open."""
    over: list[str] = field(default_factory=list)
    """Causes that are not told again."""
    settled: bool = False
    """All references stand: the station has joined."""


@dataclass
class AssessorState:
    """Keys of charts, values, history and offsets are features with their pump: ``capacity:pump1``."""

    cutter: bytes = b""
    present: PresentState = field(default_factory=PresentState)
    first_ms: int | None = None
    half: int = 0
    half_from_ms: int = 0
    half_to_ms: int = 0
    weighed_ms: int = 0
    """When evidence was last weighed: every three hours, and at the end of a half-day."""
    cycles: list[tuple[Seen, float, bool]] = field(default_factory=list)
    """Of the half-day under way: the cycle, its local hour, whether it was wet."""
    learning: list[tuple[int, float, Seen]] = field(default_factory=list)
    """While references are learnt: half-day, local hour, cycle."""
    joining: JoiningState = field(default_factory=JoiningState)
    pumps: dict[int, PumpReference] = field(default_factory=dict)
    site: SiteReference | None = None
    formerly: SiteReference | None = None
    """The well's reference before a new set-point: of it only the switching levels are learnt anew."""
    gate: WetGate = field(default_factory=WetGate)
    turns: Turns = field(default_factory=Turns)
    usual: Usual = field(default_factory=Usual)
    charts: dict[str, Chart] = field(default_factory=dict)
    """By half-days."""
    fast: dict[str, Chart] = field(default_factory=dict)
    """By single cycles."""
    counts: dict[str, CountChart] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    measured_ms: dict[str, int] = field(default_factory=dict)
    """The end of the half-day, or of the cycle, that last gave each of them."""
    history: dict[str, list[float]] = field(default_factory=dict)
    """The last half-day residuals from the reference as it was learnt."""
    offsets: dict[str, float] = field(default_factory=dict)
    """Accepted changes since, all together."""
    stepped: dict[str, int] = field(default_factory=dict)
    logged: list[list[int | str]] = field(default_factory=list)
    """Site-log entries already applied."""
    blind: set[str] = field(default_factory=set)
    """Open facts that make the level unbelievable."""
    strangeness: StrangenessState = field(default_factory=StrangenessState)
    water: WaterState = field(default_factory=WaterState)
    nights: int = 0
    episodes: list[Episode] = field(default_factory=list)

    def forget(self, tail: str) -> None:
        """Drop what was known of features whose key ends so."""
        for book in (
            self.charts,
            self.fast,
            self.counts,
            self.values,
            self.measured_ms,
            self.history,
            self.offsets,
        ):
            for key in [k for k in book if k.endswith(tail)]:
                del book[key]
