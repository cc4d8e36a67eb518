"""What arrives over the wire, once it has been read and found sound, or found poisonous."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge


class Lane(StrEnum):
    """Events travel before bulk; each lane counts its own ``seq``."""

    TELEMETRY = "telemetry"
    EVENT = "event"


class Stamp(NamedTuple):
    """Where a message stands in its sender's outbox. (key, epoch, lane, seq) is its identity.

    ``low`` is the lowest seq the sender still holds in this lane; nothing below it will ever come
    (again). None when the sender does not say.
    """

    key: SiteKey
    epoch: str
    lane: Lane
    seq: int
    sent_ms: int
    boot: str = ""
    clock: str = ""
    low: int | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A batch of samples. ``unknown`` holds signals outside the nomenclature, kept beside."""

    stamp: Stamp
    chunk: Chunk
    unknown: Mapping[str, list[float | None]] = field(default_factory=dict)
    out_of_range: int = 0
    """Values outside their signal's bounds, turned to NaN and counted."""


@dataclass(frozen=True, slots=True)
class EdgeEvent:
    """One edge, sent at once. An edge of a signal outside the nomenclature has ``known`` False."""

    stamp: Stamp
    edge: Edge
    known: bool = True


@dataclass(frozen=True, slots=True)
class Birth:
    """The retained status of an agent; a will says ``online`` False."""

    key: SiteKey
    online: bool
    boot: str = ""
    agent: str = ""
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    period_s: float | None = None
    outbox: int = 0


class PoisonReason(StrEnum):
    """Why a payload was set aside. The value is what people see and what counters are named."""

    TOPIC = "topic"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    JSON = "json"
    SCHEMA = "schema"
    NOT_FINITE = "not_finite"
    TIME = "time"
    """Before anything of the kind existed."""
    FUTURE = "future"
    """Ahead of the hub's clock: either of the two clocks is wrong."""
    MISMATCH = "mismatch"
    """Topic and payload disagree about the site."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A payload that cannot be used, with one line that says why and what to do.

    ``stamp`` is there when it could still be read, so that the watermark can cover it.
    """

    topic: str
    payload: bytes
    reason: PoisonReason
    detail: str
    key: SiteKey | None = None
    stamp: Stamp | None = None


Message = Telemetry | EdgeEvent | Birth


class Arrival(NamedTuple):
    """A payload as the network delivered it. ``token`` is what its acknowledgement needs."""

    topic: str
    payload: bytes
    received_ms: int
    token: Hashable = None


@dataclass(frozen=True, slots=True)
class Watermark:
    """What the hub has on disk of one sender's outbox: every seq up to these, per lane."""

    key: SiteKey
    epoch: str
    telemetry: int
    event: int
