"""The consumer that judges: inbox → assessors → alerts, with checkpoints in one transaction."""

from __future__ import annotations

import sys
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock

import msgspec
import numpy as np
import structlog

from pumpwatch.alerting.lifecycle import apply
from pumpwatch.alerting.policy import Policy
from pumpwatch.alerting.weather import WITHIN_MS, hold_ms, may_wait
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.tuned import TunedAssessor
from pumpwatch.domain.alerts import Alert, Finding
from pumpwatch.domain.clock import MINUTE_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import EdgeEvent, Message, Poison, Telemetry
from pumpwatch.domain.ports import AlertBook, AlertChange, Checkpoint, Inbox, InboxRow, SiteBook
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services.joining import Joiner
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.ordering import Resequencer, Sequenced
from pumpwatch.services.pace import Pace

log = structlog.get_logger()

Decode = Callable[[str, bytes, int], Message | Poison]
MakeAssessor = Callable[[SiteKey, Site, Sequence[LogEntry], bytes | None], SiteAssessor]

BATCH_MESSAGES = 2_000
LATE_MESSAGES = 200
"""So many rows of sites that are brought up beside the others are read in one step."""
FAIR_MESSAGES = 100
FAIR_TIMES = 4
"""A site with more than so many messages of a full batch, and so many times what the others have of it
on average, is brought up beside them: nobody's alert waits behind its storm or backlog."""
SAVE_MS = 5 * MINUTE_MS
"""A site's state is written down this often: it is some 60 kB, and a crash costs only that the
messages since are judged again."""
SAVED_AT_ONCE = 200
"""So many states at most go into one transaction, so that nobody waits long for the ledger."""
QUIET_MS = 10 * MINUTE_MS
"""A site is asked about its silence only when nothing of it has arrived for this long: while a
backlog is coming in, its last sample is old but the site is not silent."""
UNPOWERED_QUIET_MS = MINUTE_MS
"""The same for a site whose last word was that its power is lost: nothing more may ever come."""
BEHIND = 2_000
"""A site that is silent while others sent so many messages gets a new checkpoint all the same: the
inbox can only forget what every checkpoint has passed."""

_TRIES = 5
_SEARCHED = 1_000
"""So many alerts of a site are looked through for an earlier one of the same cause."""
AHEAD_MS = 5 * MINUTE_MS
"""An edge this little ahead of the newest row is judged at once; one further ahead belongs to a
backlog, in which all edges arrive before the first row, and waits for the rows of its time."""

_EMPTY = Chunk(np.empty(0, np.int64), {})


def _edge_ms(edge: Edge) -> int:
    return edge.t_ms


def _saved_ms(run: _Run) -> int:
    return run.saved_ms


def _loud(rows: Sequence[InboxRow]) -> set[SiteKey]:
    """The sites with far more of these rows than the others."""
    counts = Counter(row.stamp.key for row in rows)
    others = max(1, len(counts) - 1)
    return {
        key
        for key, n in counts.items()
        if len(counts) > 1 and n > max(FAIR_MESSAGES, FAIR_TIMES * (len(rows) - n) / others)
    }


def _of_cause(cause: str, alerts: Iterable[Alert]) -> Alert | None:
    return next((alert for alert in alerts if alert.cause == cause), None)


def _last_row(chunk: Chunk) -> tuple[int, dict[str, float]]:
    values = {name: float(column[-1]) for name, column in chunk.signals.items()}
    return int(chunk.t_ms[-1]), {n: v for n, v in values.items() if not np.isnan(v)}


class _State(msgspec.Struct):
    """What a checkpoint holds beside its position."""

    assessor: bytes
    expected: dict[str, int]
    row_ms: int = 0
    edges: list[tuple[int, str, float]] = []
    power: tuple[int, float] = (0, 1.0)
    missed: dict[str, list[int]] = {}


def diagnosis_state(checkpoint: Checkpoint) -> bytes | None:
    """What the site's diagnosis remembered then; None where it cannot be read."""
    try:
        return msgspec.msgpack.decode(checkpoint.state, type=_State).assessor
    except msgspec.MsgspecError:
        return None


@dataclass
class _Run:
    """One site under assessment."""

    site: Site
    assessor: TunedAssessor
    order: Resequencer
    log: set[LogEntry]
    position: int
    arrived_ms: int
    row_ms: int = 0
    """Event time of the newest row that was judged."""
    edges: list[Edge] = field(default_factory=list)
    """Edges of a backlog, in time order: they travel before the rows of their time and wait here."""
    power: tuple[int, float] = (0, 1.0)
    """When ``power_ok`` was last told, and what it was."""
    dirty: bool = False
    saved_ms: int = 0
    """When its last checkpoint was written."""
    judged_ms: int | None = None
    """When it was last judged."""
    pace: Pace = field(default_factory=Pace)
    ready: list[Sequenced] = field(default_factory=list)
    """Messages in order that are judged at the end of the step."""
    joins: bool = True
    """Whether messages may be judged as one; not after that failed."""
    failed: str = ""
    """Why this site is set aside until the hub starts again; its checkpoint stays where it was."""
    cycles: list[CycleRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


class AssessService:
    """Reads the inbox behind a cursor per site and keeps alerts, cycles and checkpoints true.

    ``step`` does a bounded piece of work and returns how many inbox rows it read; ``tick`` asks what
    is found by absence. After a crash every site goes on from its own checkpoint, so the result is
    the same as without the crash. ``alert_lock`` is shared with whoever else changes alerts.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        alerts: AlertBook,
        sites: SiteBook,
        decode: Decode,
        make_assessor: MakeAssessor,
        policy: Policy,
        alert_lock: RLock,
        feed: LiveFeed,
        now_ms: int,
    ) -> None:
        self._inbox, self._alerts, self._sites = inbox, alerts, sites
        self._decode, self._make_assessor = decode, make_assessor
        self._policy, self._alert_lock, self._feed = policy, alert_lock, feed
        self._runs: dict[SiteKey, _Run] = {}
        self._position = 0
        self._late: set[SiteKey] = set()
        """Sites that were taken in while others were judged: they are brought up by and by."""
        self._late_position = 0
        self._caught_up = False
        self._changes_seen = 0
        self._tunings: dict[SiteKey, list[TuningVersion]] = {}
        self._newest: dict[SiteKey, Chunk] = {}
        self.last_assess_ms: int | None = None
        self.counters = {"held": 0, "findings": 0, "failed_sites": 0, "checkpoints_lost": 0}
        self._admit(now_ms)

    # -- the work ------------------------------------------------------------------------------

    def step(self, now_ms: int) -> int:
        """Judge the next batch of the inbox; what was found is committed before this returns."""
        rows = self._inbox.read(self._position, BATCH_MESSAGES)
        self._caught_up = len(rows) < BATCH_MESSAGES
        if not self._caught_up:
            self._bring_up_beside(_loud(rows) & self._runs.keys(), self._position)
        self._take_all([row for row in rows if row.stamp.key not in self._late], now_ms)
        reached = rows[-1].id if rows else self._position
        read = len(rows) + self._catch_up(reached, now_ms)
        self._show()
        self._commit_findings(now_ms)
        self._position = reached
        if read:
            self.last_assess_ms = now_ms
        return read

    def tick(self, now_ms: int, listening_since_ms: int | None = 0) -> None:
        """Ask each live site that has gone quiet what its silence means.

        A site is quiet only while somebody listens: ``listening_since_ms`` says since when the hub
        has heard the broker, None that it does not. What is silent then is the hub's own line.
        """
        if not self._caught_up or listening_since_ms is None:
            return
        for key, run in list(self._runs.items()):
            if key in self._late:
                continue
            quiet_ms = QUIET_MS if run.power[1] else UNPOWERED_QUIET_MS
            live = run.site.mode is not SiteMode.RECORDING
            run.arrived_ms = min(run.arrived_ms, now_ms)  # the clock may have been set back
            heard_ms = max(run.arrived_ms, min(listening_since_ms, now_ms))
            if live and not run.failed and now_ms - heard_ms >= quiet_ms:
                run.ready += run.order.give_up(now_ms)
                self._judge(key, now_ms)
                if not run.failed and self._runs[key] is run:
                    with self._minding(run):
                        self._absorb(run, run.assessor.tick(now_ms))
        self._commit_findings(now_ms)

    def ages(self) -> dict[SiteKey, tuple[int, int, int | None]]:
        """Site → event time of its newest judged row, when its last message was written to the inbox, and
        when it was last judged [ms]; 0 and None before the first."""
        return {
            key: (run.row_ms, run.arrived_ms, run.judged_ms)
            for key, run in list(self._runs.items())
            if run.site.mode is not SiteMode.RECORDING
        }

    def checkpoint(self, now_ms: int) -> None:
        """Write down the cycles of all sites, and how far those have come whose turn it is."""
        self._move_up(BEHIND)
        due = [
            run
            for run in self._runs.values()
            if run.dirty and not 0 <= now_ms - run.saved_ms < SAVE_MS
        ]
        self._commit(sorted(due, key=_saved_ms)[:SAVED_AT_ONCE], now_ms)

    def settle(self, now_ms: int) -> None:
        """Write everything down, also of sites of which nothing came lately: before a stop."""
        self._move_up(0)
        for run in self._runs.values():
            run.dirty = True
        self._commit(self._runs.values(), now_ms)

    def refresh(self, now_ms: int) -> None:
        """Take up sites that were approved, changed, tuned or retired, and new entries of the site logs."""
        self._admit(now_ms)

    def install(self, key: SiteKey, model: object, effective_ms: int) -> None:
        """Hand a model that was fitted elsewhere to its site."""
        run = self._runs.get(key)
        if run is not None:
            with self._minding(run):
                run.assessor.install(model, effective_ms)  # type: ignore[arg-type]
            run.dirty = True

    @property
    def failed(self) -> dict[SiteKey, str]:
        """Sites that are set aside, and why."""
        return {key: run.failed for key, run in list(self._runs.items()) if run.failed}

    @property
    def storms(self) -> list[SiteKey]:
        """Sites that send far more messages than their readings need."""
        return [key for key, run in list(self._runs.items()) if run.pace.is_storm]

    @property
    def late(self) -> tuple[set[SiteKey], int]:
        """The sites that are brought up beside the others, and how many rows they are behind."""
        late = self._late
        return late, self._position - self._late_position if late else 0

    @property
    def position(self) -> int:
        """Rows up to here have been read for every site."""
        return min(self._position, self._late_position) if self._late else self._position

    def safe_position(self) -> int:
        """Rows up to here are in the checkpoint of every site: the inbox may forget them."""
        positions = self._alerts.positions()
        return min((positions.get(key, 0) for key in self._sites.sites()), default=0)

    def settled(self) -> tuple[int, dict[SiteKey, int]]:
        """The same without the sites that are set aside, and how far their checkpoints have come."""
        positions, failed = self._alerts.positions(), self.failed
        own = {key: positions.get(key, 0) for key in self._sites.sites()}
        aside = {key: own.pop(key) for key in failed if key in own}
        return min(own.values(), default=self._position), aside

    # -- inside --------------------------------------------------------------------------------

    def _admit(self, now_ms: int) -> None:
        newest, changed = self._sites.changed_since(self._changes_seen)
        if not changed:
            return
        sites, self._tunings = self._sites.sites(), self._sites.tunings()
        gone = self._runs.keys() - sites.keys()
        self._commit([self._runs[key] for key in gone], now_ms)
        for key in gone:
            del self._runs[key]
        self._late = self._late - gone
        for key in changed & self._runs.keys():
            entries = self._sites.log(key)
            with self._minding(self._runs[key]):
                self._renew(self._runs[key], sites[key], entries)
        self._take_in({key: sites[key] for key in sites if key not in self._runs}, now_ms)
        self._changes_seen = newest

    def _take_in(self, sites: Mapping[SiteKey, Site], now_ms: int) -> None:
        """Begin with these sites, each from its checkpoint.

        At the start of the hub the cursor of all begins at the lowest one; a site that is approved
        later is read from there on beside the others, so that nobody's alert waits for it.
        """
        if not sites:
            return
        new = {key: self._start(key, site, now_ms) for key, site in sites.items()}
        lowest = min(run.position for run in new.values())
        if not self._runs:
            self._position = lowest
        elif lowest < self._position:
            self._bring_up_beside(new.keys(), lowest)
        self._runs |= new

    def _bring_up_beside(self, keys: Set[SiteKey], position: int) -> None:
        """Read these sites from ``position`` on, some rows a step, beside the others."""
        if keys:
            self._late_position = min(self._late_position, position) if self._late else position
            self._late = self._late | keys

    def _renew(self, run: _Run, site: Site, entries: Sequence[LogEntry]) -> None:
        """Let the assessor know what people changed of its site."""
        if site != run.site:
            key, state = run.assessor.key, run.assessor.snapshot()
            run.assessor = self._assessor(key, site, entries, state)
            run.site, run.log, run.dirty = site, set(entries), True
        run.assessor.tune(self._tunings.get(run.assessor.key, ()))
        for entry in entries:
            if entry not in run.log:
                run.log.add(entry)
                run.assessor.add_log(entry)
                run.dirty = True

    def _assessor(
        self, key: SiteKey, site: Site, entries: Sequence[LogEntry], state: bytes | None
    ) -> TunedAssessor:
        made = self._make_assessor(key, site, entries, state)
        return TunedAssessor(made, self._tunings.get(key, ()))

    def _start(self, key: SiteKey, site: Site, now_ms: int) -> _Run:
        entries, checkpoint = self._sites.log(key), self._alerts.checkpoint(key)
        if checkpoint is not None:
            try:
                return self._go_on(site, entries, checkpoint, now_ms)
            except msgspec.MsgspecError as error:
                log.error("checkpoint cannot be read, judging anew from the inbox",
                          site=str(key), error=str(error))  # fmt: skip
                self.counters["checkpoints_lost"] += 1
        assessor = self._assessor(key, site, entries, None)
        return _Run(site, assessor, Resequencer(), set(entries), 0, now_ms)

    def _go_on(
        self, site: Site, entries: Sequence[LogEntry], checkpoint: Checkpoint, now_ms: int
    ) -> _Run:
        state = msgspec.msgpack.decode(checkpoint.state, type=_State)
        return _Run(
            site,
            self._assessor(checkpoint.key, site, entries, state.assessor),
            Resequencer(state.expected, state.missed),
            set(entries),
            checkpoint.position,
            now_ms,
            state.row_ms,
            [Edge(*edge) for edge in state.edges],
            state.power,
        )

    def _move_up(self, behind: int) -> None:
        """Sites that lag so far behind only because nothing came from them stand where all stand."""
        for key, run in self._runs.items():
            waits = run.failed or key in self._late or run.order.oldest_held_id() is not None
            if not waits and self._position - run.position > behind:
                run.position, run.dirty = self._position, True

    @contextmanager
    def _minding(self, run: _Run) -> Iterator[None]:
        """A site whose assessor fails is set aside; the others go on."""
        try:
            yield
        except Exception as error:
            self._set_aside(run, error)

    def _set_aside(self, run: _Run, error: Exception) -> None:
        log.exception("assessment of a site failed", site=str(run.assessor.key))
        run.failed = f"{type(error).__name__}: {error}"
        self.counters["failed_sites"] += 1

    def _catch_up(self, reached: int, now_ms: int) -> int:
        """The next batch for the late sites, up to row ``reached``. Returns how many rows were read."""
        if not self._late:
            return 0
        most = BATCH_MESSAGES if self._caught_up else LATE_MESSAGES
        rows = self._inbox.read(self._late_position, most)
        rows = [row for row in rows if row.id <= reached]
        self._late_position = rows[-1].id if rows else reached
        self._take_all([row for row in rows if row.stamp.key in self._late], now_ms)
        if self._late_position >= reached:
            self._late = set()
        return len(rows)

    def _take_all(self, rows: Sequence[InboxRow], now_ms: int) -> None:
        for row in rows:
            self._take(row)
        for key in {row.stamp.key for row in rows}:
            self._judge(key, now_ms)

    def _take(self, row: InboxRow) -> None:
        run = self._runs.get(row.stamp.key)
        if run is None:
            self.counters["held"] += 1
            return
        if row.id <= run.position or run.failed:
            return
        run.position = row.id
        run.arrived_ms = max(run.arrived_ms, row.received_ms)
        message = self._decode(row.topic, row.payload, row.received_ms)
        if not isinstance(message, Telemetry | EdgeEvent):
            return
        run.ready += run.order.take(row.id, row.received_ms, message)

    def _judge(self, key: SiteKey, now_ms: int) -> None:
        """Judge the messages that are ready, many as one where that changes nothing.

        When that fails, the site is judged anew from its checkpoint, message by message: so what it
        found before the one that fails is told, and then it is set aside.
        """
        run = self._runs.get(key)
        if run is None or run.failed or not run.ready:
            return
        run.dirty, run.judged_ms = True, now_ms
        ready, run.ready = run.ready, []
        try:
            for chunk, edges in self._feeds(run, ready):
                self._absorb(run, run.assessor.feed(chunk, edges))
        except Exception as error:
            if not run.joins:
                self._set_aside(run, error)
                return
            again = self._start(key, run.site, now_ms)
            again.joins = False
            self._runs[key] = again
            self._bring_up_beside({key}, again.position)

    def _feeds(
        self, run: _Run, ready: Iterable[Sequenced]
    ) -> Iterator[tuple[Chunk, Sequence[Edge]]]:
        """What the assessor is to be fed with. An edge is given with the rows that came before it, as
        if these were the newest, so the rows of a message with which edges fall due stand alone."""
        joiner = Joiner()
        for message in ready:
            chunk = self._note(run, message)
            n = bisect_right(run.edges, run.row_ms + AHEAD_MS, key=_edge_ms)
            due, run.edges[:n] = run.edges[:n], []
            if due or not run.joins:
                for before in joiner.take():
                    yield before, ()
                if due or len(chunk):
                    yield chunk, due
            elif len(chunk):
                for before in joiner.add(chunk):
                    yield before, ()
        for before in joiner.take():
            yield before, ()

    def _note(self, run: _Run, message: Sequenced) -> Chunk:
        """Keep in mind what a message says beside its rows, which are returned."""
        if isinstance(message, EdgeEvent):
            edge = message.edge
            run.pace.take(edge.t_ms, run.site.sample_s)
            if message.known:
                insort(run.edges, edge, key=_edge_ms)
            if edge.signal == "power_ok":
                run.power = max(run.power, (edge.t_ms, edge.value))
            return _EMPTY
        chunk = message.chunk
        if len(chunk):
            newest_ms = int(chunk.t_ms.max())
            run.pace.take(newest_ms, run.site.sample_s)
            run.row_ms = max(run.row_ms, newest_ms)
            self._newest[message.stamp.key] = chunk
            if "power_ok" in chunk.signals and not np.isnan(chunk.signals["power_ok"][-1]):
                told = int(chunk.t_ms[-1]), float(chunk.signals["power_ok"][-1])
                run.power = max(run.power, told)
        return chunk

    def _absorb(self, run: _Run, assessment: Assessment) -> None:
        if assessment.findings or assessment.cycles:
            run.dirty = True
        run.findings += assessment.findings
        run.cycles += assessment.cycles
        self.counters["findings"] += len(assessment.findings)

    def _commit_findings(self, now_ms: int) -> None:
        found = [run for run in self._runs.values() if run.findings]
        if found:
            self._commit(found, now_ms)

    def _commit(self, due: Iterable[_Run], now_ms: int) -> None:
        """Write in one transaction the findings and the checkpoints of the sites that are ``due``,
        and the cycles of all.

        What a site found before it was set aside is told; its checkpoint stays where it was.
        """
        dirty = [run for run in due if run.dirty]
        cycled = [run for run in self._runs.values() if run.cycles]
        if not dirty and not cycled:
            return
        try:
            self._write(dirty, cycled, now_ms)
        except StoreUnavailable:
            raise
        except Exception:
            self._write_apart({id(run): run for run in [*dirty, *cycled]}.values(), now_ms)

    def _write_apart(self, runs: Iterable[_Run], now_ms: int) -> None:
        """Something of one site cannot be written: it is set aside, and the others are told.

        Raises the last `Conflict`: that site is tried again.
        """
        conflict: Conflict | None = None
        for run in runs:
            try:
                self._write([run], [run], now_ms)
            except StoreUnavailable:
                raise
            except Conflict as error:
                conflict = error
            except Exception as error:
                self._set_aside(run, error)
                run.findings, run.cycles, run.dirty = [], [], False
        if conflict is not None:
            raise conflict

    def _write(self, runs: Sequence[_Run], cycled: Sequence[_Run], now_ms: int) -> None:
        """One transaction; again when a person wrote in between."""
        checkpoints = self._checkpoints_of(runs)
        cycles = [(run.assessor.key, cycle) for run in cycled for cycle in run.cycles]
        for left in reversed(range(_TRIES)):
            try:
                with self._alert_lock:
                    changes: list[AlertChange] = []
                    for run in runs:
                        self._change(run, changes, now_ms)
                    sys.audit("pumpwatch.reached", "assess.judged")
                    self._alerts.commit_assessment(checkpoints, changes, cycles)
                break
            except Conflict:
                if not left:
                    raise
        sys.audit("pumpwatch.reached", "assess.committed")
        for run in runs:
            run.findings, run.dirty, run.saved_ms = [], False, now_ms
        for run in cycled:
            run.cycles = []
        self._tell(changes)

    def _checkpoints_of(self, runs: Iterable[_Run]) -> list[Checkpoint]:
        made = []
        for run in runs:
            if not run.failed:
                with self._minding(run):
                    made.append(self._checkpoint(run))
        return made

    def _change(self, run: _Run, changes: list[AlertChange], now_ms: int) -> None:
        """Add to ``changes`` what the run's findings make of what the ledger holds now."""
        latest: dict[str, tuple[Alert | None, int]] = {}
        for finding in run.findings:
            alert, n = latest.get(finding.cause) or self._in_ledger(finding)
            change = apply(finding, alert, n, self._policy, now_ms,
                           mode=run.site.mode, hold_ms=self._hold_ms(finding, changes))  # fmt: skip
            if change is not None:
                latest[finding.cause] = change.alert, change.transitions[-1].n
                changes.append(change)

    def _hold_ms(self, finding: Finding, changes: Sequence[AlertChange]) -> int:
        """How long notices wait because many stations say the same, in the ledger or at this moment."""
        if not may_wait(finding):
            return 0
        tenant, since_ms = finding.key.tenant, finding.t_ms - WITHIN_MS
        told = self._alerts.alerts(tenant, since_ms=since_ms, limit=_SEARCHED)
        now = [change.alert for change in changes if change.alert.key.tenant == tenant]
        return hold_ms(finding, [*told, *now], sum(key.tenant == tenant for key in self._runs))

    def _in_ledger(self, finding: Finding) -> tuple[Alert | None, int]:
        """The open alert of the finding's cause, else the newest one, open or not."""
        key, cause = finding.key, finding.cause
        alert = _of_cause(cause, self._alerts.open_alerts(key)) or _of_cause(
            cause, self._alerts.alerts(*key, limit=_SEARCHED)
        )
        return alert, len(self._alerts.transitions(alert.id)) if alert else 0

    def _show(self) -> None:
        """Tell the pages the newest row of every site that got one in this step."""
        for key, chunk in self._newest.items():
            t_ms, values = _last_row(chunk)
            data = {"tenant": key.tenant, "site": key.site, "t_ms": t_ms, "values": values}
            self._feed.publish("sample", data)
        self._newest.clear()

    def _tell(self, changes: Sequence[AlertChange]) -> None:
        for change in changes:
            alert, step = change.alert, change.transitions[-1].step
            data = {"id": alert.id, "step": str(step), **alert.key._asdict()}
            self._feed.publish("alert", data)

    @staticmethod
    def _checkpoint(run: _Run) -> Checkpoint:
        held = run.order.oldest_held_id()
        position = run.position if held is None else min(run.position, held - 1)
        edges = [(e.t_ms, e.signal, e.value) for e in run.edges]
        state = _State(
            run.assessor.snapshot(),
            run.order.expected(),
            run.row_ms,
            edges,
            run.power,
            run.order.missed(),
        )
        return Checkpoint(run.assessor.key, position, msgspec.msgpack.encode(state))
