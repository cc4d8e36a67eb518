"""The seams of the house: what services need of the outside, in their own words.

Adapters live in `stores` and `transports`; a memory fake of each ships beside the real ones and one
contract suite runs over both.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Owed, Transition
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label
from pumpwatch.domain.messages import Arrival, Birth, Lane, Poison, Stamp, Watermark
from pumpwatch.domain.proofs import Proof
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOTHING: Mapping[Any, Any] = MappingProxyType({})

# -- inbox -------------------------------------------------------------------------------------


class InboxRow(NamedTuple):
    """A sound message as it was received. ``id`` orders the inbox and is what cursors count."""

    stamp: Stamp
    topic: str
    payload: bytes
    received_ms: int
    id: int = 0


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """What one durable commit did. ``watermarks`` are the lanes that moved, with their new value."""

    stored: int
    duplicates: int
    watermarks: Mapping[tuple[SiteKey, str, Lane], int] = field(default_factory=dict)


class WaitingRow(NamedTuple):
    """What a message in the inbox costs while it waits for somebody's decision."""

    id: int
    key: SiteKey
    lane: Lane
    bytes: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    id: int
    topic: str
    payload: bytes
    reason: str
    detail: str
    first_ms: int
    last_ms: int
    count: int


class Inbox(Protocol):
    """Everything accepted, in order, on disk before anybody is told so."""

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        """Write rows and quarantine in one durable transaction. Repeated rows change nothing."""
        ...

    def read(self, after_id: int, limit: int) -> list[InboxRow]: ...

    def last_id(self) -> int:
        """The highest id ever given, 0 before the first."""
        ...

    def continue_after(self, inbox_id: int) -> None:
        """Give no id up to ``inbox_id`` any more: consumers have counted that far in an inbox that
        was lost, and would never see what comes below it."""
        ...

    def watermarks(self, key: SiteKey, epoch: str | None = None) -> dict[tuple[str, Lane], int]:
        """(epoch, lane) → highest seq up to which everything is on disk or in quarantine; of one
        outbox, or of all."""
        ...

    def standing(self) -> list[Watermark]:
        """Of every site, the watermarks of the outbox that began last."""
        ...

    def prune(self, up_to_id: int, keep: Mapping[SiteKey, int] = NOTHING) -> int:
        """Forget rows with id <= ``up_to_id``, but of a site in ``keep`` only those up to its id.
        Returns how many there were."""
        ...

    def waiting(self, after_id: int, up_to_id: int, limit: int) -> list[WaitingRow]:
        """Rows with after_id < id <= up_to_id, without their content."""
        ...

    def forget(self, ids: Iterable[int]) -> None:
        """Forget these rows, whoever has not seen them."""
        ...

    def passed_over(self) -> set[SiteKey]:
        """Sites of which the recorder left rows in the inbox, because nobody had approved them."""
        ...

    def pass_over(self, keys: Collection[SiteKey]) -> None:
        """Note it on disk, before the recorder's own position says that it has been there."""
        ...

    def take_up(self, keys: Collection[SiteKey]) -> None:
        """Their rows have been recorded after all."""
        ...

    def quarantine(self, limit: int = 100) -> list[QuarantineRow]: ...

    def quarantine_counts(self) -> dict[str, int]: ...

    def close(self) -> None: ...


# -- door --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DoorOutcome:
    """What one batch came to, once it is on disk.

    ``tokens`` may be acknowledged to the broker, in this order; then ``watermarks`` may be
    published. ``held`` counts messages per site that nobody approved.
    """

    tokens: Sequence[Hashable]
    watermarks: Sequence[Watermark]
    births: Sequence[Birth]
    held: Mapping[SiteKey, int]
    receipt: CommitReceipt


class IngestDoor(Protocol):
    """Where everything that arrives comes in. Only ever called by the one writer."""

    def take(self, batch: Sequence[Arrival], now_ms: int) -> DoorOutcome:
        """Make the batch durable. Raises `StoreUnavailable` when it could not: nothing was taken,
        nothing may be acknowledged, the same batch may be offered again."""
        ...

    def standing(self) -> list[Watermark]:
        """What is on disk of every site. Raises `StoreUnavailable`."""
        ...


# -- time series -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """Rows of one write: new ones, those already there, those the store would not take."""

    stored: int
    duplicates: int
    rejected: int = 0
    by_site: Mapping[SiteKey, WriteReceipt] = field(default_factory=dict)
    """The same, site by site, for those that had rows in the write."""


class TimeSeriesStore(Protocol):
    """Samples by (tenant, site, t). Writing the same row again changes nothing.

    Values come back with eleven significant digits at least; not every engine keeps more.
    """

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        """Store the rows and remember ``position`` (an inbox id) with them; it never goes back.

        Signals outside the nomenclature are kept beside: `read_raw` returns them when they are
        asked for by name. Raises `StoreUnavailable` when trying again may help.
        """
        ...

    def position(self) -> int:
        """The inbox id up to which everything is stored."""
        ...

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        """Rows with start_ms <= t < end_ms in time order; all signals the site has by default."""
        ...

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        """At most ``points`` buckets: signals ``min``, ``mean`` and ``max``, t the bucket's start.

        Where they begin and how wide they are says `bucket_grid`. A bucket without any value is absent.
        """
        ...

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        """Time and values of each site's newest row; a site without rows is absent."""
        ...

    def count(self, key: SiteKey) -> int: ...

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        """Remove the rows with start_ms <= t < end_ms; returns how many. They may be written again."""
        ...

    def apply_retention(self, before_ms: int) -> int:
        """Forget rows older than ``before_ms``; returns how many. They are rejected when they come
        again: what a late replay brings of them would look like data with holes."""
        ...

    def upkeep(self, now_ms: int) -> bool:
        """Do a short piece of what the store has to do now and then; False when nothing is left."""
        ...

    def damage(self) -> list[str]:
        """A line for each thing that was found damaged and set aside, with the remedy."""
        ...

    def close(self) -> None: ...


# -- ledger ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldSite:
    """A site nobody approved: its messages wait in the inbox, counted, until somebody does."""

    key: SiteKey
    first_ms: int
    last_ms: int
    messages: int
    birth: Birth | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a site's assessment stands: all inbox rows up to ``position`` are in ``state``."""

    key: SiteKey
    position: int
    state: bytes


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A new version of an alert with the transitions and notifications that belong to it, and what a
    person who closes it has found."""

    alert: Alert
    transitions: Sequence[Transition]
    owed: Sequence[Owed] = ()
    label: Label | None = None


class SiteBook(Protocol):
    """Sites, their log, their own settings of diagnosis, and those that wait for approval."""

    def sites(self, tenant: str | None = None) -> dict[SiteKey, Site]: ...

    def site(self, key: SiteKey) -> Site | None: ...

    def put_site(self, key: SiteKey, site: Site, actor: Actor, now_ms: int) -> None:
        """Approve, add or change a site; the change is audited."""
        ...

    def retire_site(self, key: SiteKey, actor: Actor, now_ms: int) -> None: ...

    def hold(self, key: SiteKey, now_ms: int, messages: int, birth: Birth | None) -> None: ...

    def held(self) -> list[HeldSite]: ...

    def put_birth(self, birth: Birth, now_ms: int) -> None: ...

    def births(self) -> dict[SiteKey, tuple[int, Birth]]: ...

    def add_log(self, key: SiteKey, entry: LogEntry, actor: Actor, now_ms: int) -> None:
        """Add to the site log; the same entry again changes nothing."""
        ...

    def log(self, key: SiteKey) -> list[LogEntry]: ...

    def tunings(self, key: SiteKey | None = None) -> dict[SiteKey, list[TuningVersion]]:
        """The versions of each site's own settings, oldest first; a site without any is absent."""
        ...

    def add_tuning(self, key: SiteKey, version: TuningVersion) -> None:
        """Add a version; the change is audited. Raises `Conflict` when its number is taken: none is ever
        rewritten."""
        ...

    def changed_since(self, number: int) -> tuple[int, set[SiteKey]]:
        """The number of the newest change (put, retired, log or tuning added), and the sites that changed
        after change ``number``; 0 is before the first."""
        ...


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change a person or the hub made: who, when, what, and how it was before and after."""

    at_ms: int
    actor: Actor
    action: str
    key: SiteKey | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


class AuditBook(Protocol):
    """Who changed what. `SiteBook` writes here by itself."""

    def audit(
        self, limit: int = 100, key: SiteKey | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        """Newest first; only of one site, only of one kind."""
        ...

    def add_audit(self, entry: AuditEntry) -> None: ...


class AlertBook(Protocol):
    """Alerts with their transitions, and the checkpoints written in the same transaction."""

    def commit_assessment(
        self,
        checkpoints: Sequence[Checkpoint],
        changes: Sequence[AlertChange],
        cycles: Sequence[tuple[SiteKey, CycleRow]],
    ) -> None:
        """One durable transaction. Repeated transitions, cycles and owed rows change nothing."""
        ...

    def checkpoint(self, key: SiteKey) -> Checkpoint | None: ...

    def positions(self) -> dict[SiteKey, int]:
        """The position of every checkpoint; the states, large together, are not read."""
        ...

    def open_alerts(self, key: SiteKey | None = None) -> list[Alert]: ...

    def alerts(
        self,
        tenant: str | None = None,
        site: str | None = None,
        since_ms: int | None = None,
        include_resolved: bool = True,
        limit: int = 200,
    ) -> list[Alert]:
        """Newest change first."""
        ...

    def alert(self, alert_id: str) -> Alert | None: ...

    def transitions(self, alert_id: str) -> list[Transition]: ...

    def change_alert(self, change: AlertChange) -> None:
        """A person's change (acknowledge, note). Raises `Conflict` when its n is already taken."""
        ...

    def cycles(self, key: SiteKey, start_ms: int, end_ms: int) -> list[CycleRow]: ...


class LabelBook(Protocol):
    """What people found. Answers are added, never changed; those who judge have no part in it."""

    def add_label(self, label: Label) -> None:
        """Raises `Conflict` when the subject has an answer of that number already."""
        ...

    def labels(
        self, tenant: str | None = None, site: str | None = None, subject: str | None = None
    ) -> list[Label]:
        """All answers, by subject and number."""
        ...


class AnsweredBook(AlertBook, LabelBook, Protocol):
    """Alerts, and what was found of them: an alert is closed and answered in one transaction."""


class ProofBook(Protocol):
    """When things that are seldom asked last showed that they work. Draw-downs of pumps are noted by
    `AlertBook.commit_assessment` with the cycles that show them."""

    def proofs(self, key: SiteKey | None = None) -> dict[SiteKey, list[Proof]]:
        """By site, in order of their subjects; a site without any is absent."""
        ...

    def add_proofs(self, key: SiteKey, proofs: Sequence[Proof]) -> None:
        """Join them with what is known (`Proof.after`): repeats and late ones change nothing."""
        ...


class LookBook(AnsweredBook, ProofBook, Protocol):
    """What pages ask of the ledger beside the sites."""


class OwedBook(Protocol):
    """What is owed to whom; the notifier's memory."""

    def due(self, now_ms: int, limit: int = 100) -> list[Owed]: ...

    def next_due_ms(self) -> int | None: ...

    def attempt(self, owed: Owed, now_ms: int) -> bool:
        """Write down, before sending, that this one is tried now. False: somebody else was first."""
        ...

    def settle(self, owed: Owed, now_ms: int) -> None:
        """Write down how the attempt ended (state, next due time, error)."""
        ...

    def owed_counts(self) -> dict[str, int]: ...

    def owed_for(self, alert_id: str) -> list[Owed]: ...


# -- models ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A fitted model as flat arrays with its card. The card is JSON and says what it was made of."""

    key: SiteKey
    effective_ms: int
    card: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.generic]]


class ModelShelf(Protocol):
    """Models by site and the moment they take effect. Never pickled; put in place by rename."""

    def put(self, model: StoredModel) -> None: ...

    def effective(self, key: SiteKey, at_ms: int) -> StoredModel | None:
        """The newest model whose ``effective_ms`` <= ``at_ms``. A damaged one is passed over."""
        ...

    def cards(self, key: SiteKey | None = None) -> list[tuple[SiteKey, int, Mapping[str, Any]]]: ...


# -- the running hub, as pages see it ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageAge:
    """When a stage of the street last did its work (None: never since the start), how long the oldest
    piece of work has waited for it (0: none waits), and how long it may."""

    stage: str
    done_ms: int | None
    waiting_ms: int
    bound_ms: int

    @property
    def is_late(self) -> bool:
        return self.waiting_ms > self.bound_ms


class Contact(StrEnum):
    """How a station is heard. All but ``HEARD`` are worth a look."""

    HEARD = "heard"
    MUTE = "mute"
    """Connected but silent: its agent's session stands and no samples come."""
    OFFLINE = "offline"
    """The broker lost its agent, or never had it."""


@dataclass(frozen=True, slots=True)
class SiteAge:
    """One station's part of the street: when each thing last happened (None: not yet).

    ``sample_ms`` is the time of its newest judged sample, ``received_ms`` when its last message was
    written to the inbox (or the hub started, if that was later), ``assessed_ms`` when it was last judged.
    """

    key: SiteKey
    contact: Contact
    sample_ms: int | None
    received_ms: int
    assessed_ms: int | None


@dataclass(frozen=True, slots=True)
class HubStatus:
    """Health as ages: when each thing last happened (None: never), and what was counted."""

    now_ms: int
    started_ms: int
    broker_connected: bool
    last_message_ms: int | None = None
    last_commit_ms: int | None = None
    last_assess_ms: int | None = None
    last_series_write_ms: int | None = None
    last_notification_ms: int | None = None
    inbox_lag: Mapping[str, int] = field(default_factory=dict)
    """Consumer → messages it has not seen yet."""
    counters: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    last_upkeep_ms: int | None = None
    """When the last sample that was to be sealed, added up or forgotten had been."""
    stages: Sequence[StageAge] = ()
    sites: Sequence[SiteAge] = ()
    """Every live station, the longest unheard first."""


class StatusSource(Protocol):
    def status(self) -> HubStatus: ...


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that the simulator is acting out."""

    site: str
    fault: str
    target: str | None
    since_ms: int


class DemoControls(Protocol):
    """What a visitor may do to the simulated fleet. Absent wherever data are real."""

    def speed(self) -> float: ...

    def set_speed(self, factor: float) -> None: ...

    def fault_codes(self) -> list[str]: ...

    def targets(self, site: str) -> list[str]: ...

    def start_fault(self, site: str, fault: str, target: str | None) -> ActiveFault:
        """Raises `InvalidInput` naming the field when site, fault or target do not exist."""
        ...

    def clear_fault(self, site: str, fault: str, target: str | None) -> None: ...

    def active_faults(self) -> list[ActiveFault]: ...


# -- people ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people, worded already. ``idempotency_key`` stays the same when sent again."""

    idempotency_key: str
    title: str
    body: str
    alert: Alert
    step: str
    site_name: str = ""
    url: str = ""


class Notifier(Protocol):
    """One channel. ``send`` returns when the other side took it, else raises `DeliveryError`."""

    name: str

    def send(self, notice: Notice) -> None: ...


__all__ = [
    "ActiveFault", "AlertBook", "AlertChange", "AnsweredBook", "AuditBook", "AuditEntry", "Checkpoint", "CommitReceipt", "Contact", "DemoControls", "DoorOutcome", "HeldSite", "HubStatus", "Inbox", "InboxRow", "IngestDoor", "LabelBook", "LookBook",
    "ModelShelf", "Notice", "Notifier", "OwedBook", "ProofBook", "QuarantineRow", "SiteAge", "SiteBook", "SiteMode", "StatusSource",
    "StoredModel", "TimeSeriesStore", "WriteReceipt",
]  # fmt: skip
