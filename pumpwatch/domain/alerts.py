"""What pumpwatch says: findings of diagnosis, the alerts they become, and how those change."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.keys import SiteKey

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Kind(StrEnum):
    PREDICTIVE = "predictive"
    """Something is going wrong."""
    CONDITION = "condition"
    """A present fact."""
    INFO = "info"


class Severity(StrEnum):
    """Urgency, low to high; `rank` orders them."""

    INFO = "info"
    WARNING = "warning"
    """P3: maintenance work, next working days."""
    ALARM = "alarm"
    """P2: within hours."""
    CRITICAL = "critical"
    """P1: go now."""

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Phase(StrEnum):
    """What a finding says about its episode."""

    OPENED = "opened"
    WORSENED = "worsened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of diagnosis about one episode, at event time ``t_ms``.

    ``cause`` names the episode within its site (for example ``capacity:pump1``): it stays the same
    while the ranking of ``fault`` may change. ``fault`` holds codes, most likely first. ``score``
    is between 0 and 1, high is worse. ``evidence`` is JSON: ``since`` (ISO 8601, UTC), ``signs`` (list of
    {feature, target, now, normal, deviation}) with the deviation in robust sigmas, ``causes``
    (list of {fault, p, for, against}), and named numbers such as ``capacity_index``.
    """

    key: SiteKey
    t_ms: int
    phase: Phase
    cause: str
    kind: Kind
    severity: Severity
    fault: tuple[str, ...]
    target: str | None
    score: float
    evidence: Mapping[str, Json] = field(default_factory=dict)

    def to_line(self) -> dict[str, Any]:
        """The alert as it travels in a file (design 7), one JSON object a line."""
        return {
            "site": self.key.site,
            "ts": iso_utc(self.t_ms),
            "kind": str(self.kind),
            "severity": str(self.severity),
            "fault": list(self.fault),
            "target": self.target,
            "score": self.score,
            "evidence": dict(self.evidence),
            "cause": self.cause,
            "phase": str(self.phase),
        }


class Step(StrEnum):
    """What happened to an alert."""

    OPENED = "opened"
    WORSENED = "worsened"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Transition:
    """One stored change of an alert: what, when it was true, when it was written, who and why."""

    n: int
    step: Step
    t_ms: int
    recorded_ms: int
    actor: Actor
    severity: Severity
    fault: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An episode as people see it. One is open per site and cause."""

    id: str
    key: SiteKey
    cause: str
    kind: Kind
    severity: Severity
    fault: tuple[str, ...]
    target: str | None
    score: float
    evidence: Mapping[str, Json]
    opened_ms: int
    changed_ms: int
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None
    resolved_ms: int | None = None

    @property
    def open(self) -> bool:
        return self.resolved_ms is None


def alert_id(key: SiteKey, cause: str, opened_ms: int) -> str:
    """The same episode has the same id however often it is derived: a replay repeats nothing."""
    name = f"{key.tenant}/{key.site}/{cause}/{opened_ms}"
    return uuid.uuid5(uuid.NAMESPACE_URL, f"pumpwatch:{name}").hex


class OwedState(StrEnum):
    OWED = "owed"
    SENT = "sent"
    GIVEN_UP = "given_up"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Owed:
    """A notification that is owed: written with the transition, before anything is sent.

    (alert_id, transition_n, notifier) is its identity and the idempotency key of the send.
    """

    alert_id: str
    transition_n: int
    notifier: str
    due_ms: int
    state: OwedState = OwedState.OWED
    attempts: int = 0
    last_error: str = ""


def iso_utc(t_ms: int) -> str:
    """``2024-05-01T03:00:00Z``, with milliseconds only where there are any."""
    moment = datetime.fromtimestamp(t_ms / 1000, UTC)
    spec = "milliseconds" if t_ms % 1000 else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def ms_from_iso(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 moment; one without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
