"""What a challenger of a site's model is fitted and tried with: the references in force, and nothing else
of what the site's diagnosis remembers.

References are frozen. A challenger does not learn them anew, or slow wear would be learnt as normal a
little at a time; only the forest is fitted again, on residuals from the same references. What people and
benign steps have made of the references is told by `references_in`.
"""

from __future__ import annotations

import math

import msgspec

from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.references import ReferenceValue

_LOGS = {"capacity": "capacity_m3s", "current": "current_a"}


def same_references(state: bytes) -> bytes | None:
    """A state with the references and accepted changes of ``state`` and no other memory; None while they
    are not learnt. Raises `msgspec.MsgspecError` for what is no state."""
    s = msgspec.msgpack.decode(state, type=AssessorState)
    if s.site is None or not s.pumps:
        return None
    fresh = AssessorState(site=s.site, pumps=s.pumps, offsets=s.offsets, logged=s.logged)
    return msgspec.msgpack.encode(fresh)


def references_in(state: bytes) -> list[ReferenceValue]:
    """The normals in force with their accepted changes: capacity [m3/s] and current [A] of each pump,
    start and stop level [m] and night inflow [m3/s] of the station.

    Raises `msgspec.MsgspecError` for what is no state.
    """
    s = msgspec.msgpack.decode(state, type=AssessorState)
    found = []
    for k, reference in sorted(s.pumps.items()):
        for name, line in (("capacity", reference.capacity), ("current", reference.current)):
            key = f"{name}:pump{k}"
            value = math.exp(line.value + s.offsets.get(key, 0.0)) if line.known else math.nan
            since_ms = max(reference.since_ms, s.stepped.get(key, 0))
            found.append(ReferenceValue(_LOGS[name], f"pump{k}", since_ms, value))
    if s.site is not None:
        levels = {"start_level": s.site.start_m, "stop_level": s.site.stop_m}
        for name, level_m in levels.items():
            since_ms = max(s.site.since_ms, s.stepped.get(name, 0))
            value = level_m + s.offsets.get(name, 0.0)
            found.append(ReferenceValue(f"{name}_m", None, since_ms, value))
        night = math.exp(s.site.night.value) if s.site.night.known else math.nan
        found.append(ReferenceValue("night_inflow_m3s", None, s.site.since_ms, night))
    return [value for value in found if math.isfinite(value.value)]


def references_since_ms(state: bytes) -> int:
    """When the youngest of the references in force was set."""
    return max((value.since_ms for value in references_in(state)), default=0)
