"""Where readings come from: a panel, a simulated panel, a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable


class Reading(NamedTuple):
    """All signals at one moment. None is a value that is missing."""

    t_ms: int
    values: dict[str, float | None]


class Edge(NamedTuple):
    """A change of one signal, stamped on site at the moment it happened."""

    t_ms: int
    signal: str
    value: float


class Source(Protocol):
    """Something that yields readings and edges.

    ``signals`` describes each signal (``unit``; perhaps ``kind`` 'state', ``min``, ``max``),
    ``period_s`` is its usual distance between readings, ``finished`` says nothing more will come.
    """

    @property
    def signals(self) -> Mapping[str, Mapping[str, object]]: ...

    @property
    def period_s(self) -> float: ...

    @property
    def finished(self) -> bool: ...

    def poll(self, now_ms: int, limit: int) -> list[Reading | Edge]:
        """Everything new up to ``now_ms``, oldest first, at most ``limit``: the caller sets the pace.

        Raises `SourceError` when the source cannot be read any further.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Resumable(Protocol):
    """A source that begins anew at every start, as a file does, and can be told where to go on."""

    def resume(self, rows: int) -> None:
        """Leave out the first ``rows`` readings."""
        ...


UNITS = {
    "level_m": "m",
    "battery_v": "V",
    "rain_mm_h": "mm/h",
    "current_a": "A",
    "hours_h": "h",
    "starts": "",
}
_STATES = ("run", "fault", "overload", "leakage", "thermal", "seal")
_STATION_STATES = {"high_level", "power_ok", "mode_auto", "door_open"}


def describe(signal: str) -> dict[str, object]:
    """Unit and kind of a canonical signal, as far as its name says."""
    quantity = signal.split("_", 1)[1] if signal.startswith("pump") and "_" in signal else signal
    if signal in _STATION_STATES or (quantity != signal and quantity in _STATES):
        return {"unit": "", "kind": "state"}
    return {"unit": UNITS[quantity]} if quantity in UNITS else {}
