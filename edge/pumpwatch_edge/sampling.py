"""From what a source reads to what is published: thinning, edges of state signals, batches."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real

from pumpwatch_edge.message import MAX_TIME_MS, Plan
from pumpwatch_edge.source import Edge, Reading


@dataclass(slots=True)
class Sampled:
    """What is to be published: readings, one list per message, and edges."""

    batches: list[list[Reading]] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


class Sampler:
    """Applies a `Plan`. Time is handed in; nothing is lost but what the plan leaves out.

    With ``derive_edges`` a change of a state signal between two readings becomes an edge stamped
    with the later one, until the source yields an edge of its own.
    """

    def __init__(
        self, plan: Plan, signals: Mapping[str, Mapping[str, object]], *, derive_edges: bool = False
    ) -> None:
        self.plan = plan
        self._states = [name for name, about in signals.items() if about.get("kind") == "state"]
        self._derive = derive_edges
        self._rows: list[Reading] = []
        self._since_ms = 0
        self._before: dict[str, float] = {}
        self._kept: Reading | None = None
        self._kept_slot: int | None = None

    @property
    def pending(self) -> int:
        """Readings in the open batch."""
        return len(self._rows)

    def replan(self, plan: Plan) -> None:
        self.plan = plan

    def take(self, items: Iterable[Reading | Edge], now_ms: int) -> Sampled:
        """What of ``items`` is ready to be published now."""
        edges: list[Edge] = []
        readings: list[Reading] = []
        for item in items:
            if type(item) is Edge:
                edges.append(item)
            else:
                readings.append(item)  # type: ignore[arg-type]
        if edges:
            self._derive = False
        if self.thins:
            readings = [reading for reading in readings if self._keep(reading, edges)]
        if readings and not self._rows:
            self._since_ms = now_ms
        self._rows += readings
        return self._close(now_ms, edges)

    def due(self, now_ms: int) -> Sampled:
        """The open batch, once it is old enough."""
        return self._close(now_ms, [])

    def flush(self) -> Sampled:
        """Everything, now."""
        rows, self._rows = self._rows, []
        size = self.plan.batch_samples
        return Sampled([rows[i : i + size] for i in range(0, len(rows), size)])

    def _close(self, now_ms: int, edges: list[Edge]) -> Sampled:
        # A clock that was set back must not hold a batch: its age counts in both directions.
        aged = abs(now_ms - self._since_ms) >= self.plan.batch_age_s * 1000
        if aged or any(edge.signal == "power_ok" for edge in edges):
            done = self.flush()
        else:
            size = self.plan.batch_samples
            whole = len(self._rows) // size * size
            done = Sampled([self._rows[i : i + size] for i in range(0, whole, size)])
            if whole:
                self._rows, self._since_ms = self._rows[whole:], now_ms
        done.edges = edges
        return done

    @property
    def thins(self) -> bool:
        """Whether fewer readings are published than come in."""
        return self._derive or bool(self.plan.dead_band) or self.plan.period_s is not None

    def _keep(self, reading: Reading, edges: list[Edge]) -> bool:
        changed = self._note_states(reading)
        if self._derive:
            edges.extend(Edge(reading.t_ms, name, reading.values[name] or 0) for name in changed)
        slot = None
        if self.plan.period_s is not None:
            slot = reading.t_ms // max(1, round(self.plan.period_s * 1000))
        news = changed or ((slot is None or slot != self._kept_slot) and self._has_news(reading))
        if news:
            self._kept, self._kept_slot = reading, slot
        return bool(news)

    def _note_states(self, reading: Reading) -> list[str]:
        changed = []
        for name in self._states:
            value = reading.values.get(name)
            if value is None:
                continue
            if self._before.get(name, value) != value:
                changed.append(name)
            self._before[name] = value
        return changed

    def _has_news(self, reading: Reading) -> bool:
        kept = self._kept
        if not self.plan.dead_band or kept is None:
            return True
        if abs(reading.t_ms - kept.t_ms) >= self.plan.heartbeat_s * 1000:
            return True
        if reading.values.keys() != kept.values.keys():
            return True
        return any(
            self._moved(name, kept.values[name], value) for name, value in reading.values.items()
        )

    def _moved(self, name: str, before: float | None, value: float | None) -> bool:
        if before is None or value is None:
            return before is not value
        band = self.plan.dead_band.get(name)
        return value != before if band is None else abs(value - before) > band


def cleaned(reading: Reading) -> tuple[Reading | None, int]:
    """A reading as the wire allows it, and how many of its values had to be made missing.

    None in place of a reading whose time is none.
    """
    try:
        t_ms = operator.index(reading.t_ms)
    except TypeError:
        return None, 0
    if not 0 <= t_ms < MAX_TIME_MS:
        return None, 0
    values = {name: _number(value) for name, value in reading.values.items()}
    lost = sum(values[n] is None and v is not None for n, v in reading.values.items())
    return Reading(t_ms, values), lost


def _number(value: object) -> float | None:
    if not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
