"""What happens to whom and when, checked against the fleet before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.simulator.catalogue import FAULTS, HARMLESS, FaultKind, kind_of
from pumpwatch.simulator.spec import StationSpec


@dataclass(frozen=True, slots=True)
class Event:
    """One fault or harmless event at one station.

    ``target`` is ``pump1`` … where the kind befalls a pump, else None. Without ``breakdown_ms`` the
    kind's own ramp is taken, without ``repair_ms`` its own duration, or it stays to the end.
    ``params`` are those of the kind (`FaultKind.params`).
    """

    station: str
    code: str
    target: str | None
    start_ms: int
    breakdown_ms: int | None = None
    repair_ms: int | None = None
    params: Mapping[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> FaultKind:
        """Raises `InvalidInput` for an unknown code."""
        kind = kind_of(self.code)
        if kind is None:
            raise InvalidInput(
                "code", f"{self.code!r} is not simulated", f"use one of {', '.join([*FAULTS, *HARMLESS])}"
            )  # fmt: skip
        return kind


def check_events(events: Sequence[Event], stations: Sequence[StationSpec]) -> None:
    """Raises `InvalidInput` naming the field of the first event that cannot happen.

    Checked are station, code, target, the order of its times, the bounds of its parameters, and that
    the same fault is not at work twice at once.
    """
    specs = {spec.site.site: spec for spec in stations}
    for event in events:
        _check(event, specs)
    ordered = sorted(events, key=lambda e: (e.station, e.code, e.target or "", e.start_ms))
    for one, other in pairwise(ordered):
        same = (one.station, one.code, one.target) == (other.station, other.code, other.target)
        if same and (one.repair_ms is None or other.start_ms < one.repair_ms):
            raise InvalidInput(
                "start_ms", f"{one.code} is already at work at {one.station}", "repair it first"
            )


def _check(event: Event, specs: Mapping[str, StationSpec]) -> None:
    if event.station not in specs:
        raise InvalidInput(
            "station", f"{event.station!r} is not simulated", f"use one of {', '.join(list(specs)[:6])} …"
        )  # fmt: skip
    kind = event.kind
    targets = kind.targets(len(specs[event.station].pumps))
    if targets and event.target not in targets:
        named = "missing" if event.target is None else f"{event.target!r} is not there"
        raise InvalidInput("target", f"{named} ({event.code})", f"use {' or '.join(targets)}")
    if not targets and event.target is not None:
        raise InvalidInput("target", f"{event.code} befalls the whole station", "leave it out")
    if event.breakdown_ms is not None and event.breakdown_ms < event.start_ms:
        raise InvalidInput("breakdown_ms", "it is before the start", "correct it")
    if event.repair_ms is not None and event.repair_ms <= event.start_ms:
        raise InvalidInput("repair_ms", "it is not after the start", "correct it")
    for name, value in event.params.items():
        param = kind.params.get(name)
        if param is None:
            known = ", ".join(kind.params) or "none"
            raise InvalidInput("params", f"{event.code} has no {name!r}", f"it has {known}")
        if not (math.isfinite(value) and param.low <= value <= param.high):
            raise InvalidInput(
                name, f"{value} is out of bounds", f"use {param.low:g} to {param.high:g} {param.unit}"
            )  # fmt: skip
