"""A station's own settings of diagnosis, as the ledger keeps them: numbered, reasoned, never rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pumpwatch.domain.actors import Actor


@dataclass(frozen=True, slots=True)
class TuningVersion:
    """Version ``n`` (from 1) of a station's settings: all that differs from everybody's, as JSON.

    Samples from ``effective_ms`` on (event time) are judged by it; it was written down at ``made_ms``.
    ``restores`` is the version whose settings it brings back (0: everybody's), None where it is a new one.
    """

    n: int
    effective_ms: int
    made_ms: int
    actor: Actor
    reason: str
    settings: Mapping[str, Any]
    restores: int | None = None


def in_force(versions: Sequence[TuningVersion], t_ms: int) -> TuningVersion | None:
    """The version that samples of ``t_ms`` are judged by: the newest that has taken effect by then.

    ``versions`` are in order of ``n``. None: the station is judged like every other.
    """
    return next((v for v in reversed(versions) if v.effective_ms <= t_ms), None)
