"""What people found: the answer to an alert, or a failure nobody was told of.

Labels measure how right the alerts are. Nothing that judges reads them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Kind
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

NOTHING_FOUND = "nothing_found"
OTHER = "other"
FOUND_CAUSES = (*FAULT_GROUP, NOTHING_FOUND, OTHER)
MAX_NOTE = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """What somebody says was found. ``at_ms`` is when (None: now), ``target`` which pump (None: the
    station)."""

    cause: str
    target: str | None = None
    note: str = ""
    at_ms: int | None = None

    def checked(self, site: Site, now_ms: int) -> Found:
        """The same with its words trimmed. Raises `InvalidInput` for what cannot be meant."""
        if self.cause not in FOUND_CAUSES:
            raise InvalidInput(
                "cause", f"{self.cause!r} is no fault", f"use one of: {', '.join(FOUND_CAUSES)}"
            )
        note = self.note.strip()
        if self.cause == OTHER and not note:
            raise InvalidInput("note", "is empty", "say in words what was found")
        if len(note) > MAX_NOTE:
            raise InvalidInput("note", f"is longer than {MAX_NOTE} letters", "shorten it")
        pumps = [f"pump{n}" for n in range(1, site.pumps + 1)]
        if self.target is not None and self.target not in pumps:
            raise InvalidInput(
                "target", f"{self.target!r} is no pump here", f"use one of: {', '.join(pumps)}"
            )
        if self.at_ms is not None and not 0 <= self.at_ms <= now_ms:
            raise InvalidInput("at", "lies in the future", "say when it was found")
        return Found(self.cause, self.target, note, now_ms if self.at_ms is None else self.at_ms)


@dataclass(frozen=True, slots=True)
class Said:
    """What an alert said when it was answered: `kind`, its first fault and pump, since when."""

    kind: Kind
    fault: str
    target: str | None
    opened_ms: int


@dataclass(frozen=True, slots=True)
class Label:
    """One answer to "what was found?". A correction is the next answer to the same ``subject``: the
    newest counts, all are kept.

    ``subject`` is the alert's id, or that of a failure nobody was told of (``said`` is None then).
    ``n`` counts the answers to it from 1. ``found_ms`` is when it was found, or when it failed.
    """

    subject: str
    n: int
    key: SiteKey
    cause: str
    target: str | None
    note: str
    found_ms: int
    recorded_ms: int
    actor: Actor
    said: Said | None = None

    @property
    def confirms(self) -> bool:
        """Something was wrong."""
        return self.cause != NOTHING_FOUND

    @property
    def named(self) -> bool:
        """The alert had named it first, and the pump where one is told."""
        said = self.said
        right_pump = said is not None and (
            self.target is None or said.target in (None, self.target)
        )
        return said is not None and self.cause == said.fault and right_pump


def answer_to(alert: Alert, found: Found, actor: Actor, now_ms: int) -> Label:
    """The first answer to an alert; ``found`` is `Found.checked`."""
    said = Said(
        alert.kind, alert.fault[0] if alert.fault else "unusual", alert.target, alert.opened_ms
    )
    return _label(alert.id, 1, alert.key, found, actor, now_ms, said)


def missed_failure(key: SiteKey, found: Found, actor: Actor, now_ms: int) -> Label:
    """A failure nobody was told of; the same one told again has the same subject."""
    name = f"{key.tenant}/{key.site}/{found.cause}/{found.target or ''}/{found.at_ms}"
    subject = uuid.uuid5(uuid.NAMESPACE_URL, f"pumpwatch:missed:{name}").hex
    return _label(subject, 1, key, found, actor, now_ms, None)


def correction_of(label: Label, found: Found, actor: Actor, now_ms: int) -> Label:
    """The next answer to the same question."""
    return _label(label.subject, label.n + 1, label.key, found, actor, now_ms, label.said)


def _label(
    subject: str, n: int, key: SiteKey, found: Found, actor: Actor, now_ms: int, said: Said | None
) -> Label:
    at_ms = now_ms if found.at_ms is None else found.at_ms
    return Label(subject, n, key, found.cause, found.target, found.note, at_ms, now_ms, actor, said)


def newest(labels: Iterable[Label]) -> list[Label]:
    """The answer that counts of each subject, the latest found first."""
    last: dict[str, Label] = {}
    for label in labels:
        if label.subject not in last or label.n > last[label.subject].n:
            last[label.subject] = label
    return sorted(last.values(), key=lambda label: (-label.found_ms, label.subject))
