"""The hub's process on modelled disks: assembled as `pumpwatch.app.hub.Hub` is, stepped by virtual time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from random import Random
from threading import RLock
from typing import Any, cast

import msgspec

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.present import PresentFacts, PresentState
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.errors import Conflict, DeliveryError, NotFound, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival
from pumpwatch.domain.ports import DoorOutcome, Inbox, Notice
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.assess import AssessService
from pumpwatch.services.ingest import Door
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.notify import NotifyMachine
from pumpwatch.services.record import Recorder
from pumpwatch.transports.mqtt import IngestLoop
from pumpwatch.transports.wire import decode, inspect
from pumpwatch_edge.message import Ack, decode_ack

from .broker import Broker, Line, Packet
from .disks import HubDisk, OnDisk
from .timeline import MINUTE, SECOND, Crash, Fuse, Timeline

CREW = Actor("crew", "local")
TR = translator("en")


class Provider:
    """A channel to people. What it accepted it has accepted, whatever its sender hears of that."""

    MODES = ("5xx", "429", "timeout", "took it, then hung up")

    def __init__(self, timeline: Timeline, name: str, fuse: Fuse) -> None:
        self.name, self.mode = name, "ok"
        self.accepted: dict[str, list[int]] = {}
        self.notices: list[tuple[int, Notice]] = []
        self._time, self._fuse = timeline, fuse

    def send(self, notice: Notice) -> None:
        self._fuse.burn("before notifier.send")
        if self.mode in ("ok", "took it, then hung up"):
            self.accepted.setdefault(notice.idempotency_key, []).append(self._time.now)
            self.notices.append((self._time.now, notice))
            self._time.note("told", self.name, notice.idempotency_key)
            self._fuse.burn("after notifier.send")
        if self.mode != "ok":
            self._time.counts["provider_refusals"] += 1
            raise DeliveryError(self.mode, retry_after_s=600 if self.mode == "429" else None)


class HubLink:
    """The hub's side of its line, as `HubClient` is for the writer."""

    def __init__(self, hub: HubProcess, broker: Broker) -> None:
        self._hub, self._broker = hub, broker
        self._arrivals: deque[Arrival] = deque()
        self._connection = 0
        self.line: Line | None = None

    # what the writer asks
    @property
    def connections(self) -> int:
        return self._connection

    @property
    def waiting(self) -> int:
        return len(self._arrivals)

    def tend(self) -> None:
        pass

    def drain(self, limit: int) -> list[Arrival]:
        return [self._arrivals.popleft() for _ in range(min(limit, len(self._arrivals)))]

    def ack(self, tokens: Sequence[Hashable]) -> None:
        self._hub.fuse.burn("before hub.ack")
        mids = [t[1] for t in tokens if isinstance(t, tuple) and t[0] == self._connection and t[1]]
        if self.line is not None and mids:
            self._broker.ack(self.line, mids)
        self._hub.fuse.burn("after hub.ack")

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self._hub.fuse.burn("before hub.publish")
        self._hub.published(topic, decode_ack(payload))
        if self.line is not None:
            self._broker.publish(self.line, Packet(topic, payload, retain), 0)

    # what the line says
    def accepted(self) -> None:
        self._connection += 1
        assert self.line is not None
        self._broker.subscribe_hub(self.line)
        self._hub.has_mail()

    def ended(self, line: Line) -> None:
        if line is self.line:
            self.line = None
            self._hub.lost_line()

    def took(self, handle: int) -> None:
        pass

    def arrived(self, packet: Packet, mid: int) -> None:
        now = self._hub.clock.now_ms()
        self._arrivals.append(Arrival(packet.topic, packet.payload, now, (self._connection, mid)))
        self._hub.has_mail()


class HubClock:
    """The hub's wall clock; people and NTP may set it wrong."""

    def __init__(self, timeline: Timeline) -> None:
        self._time, self.offset = timeline, 0

    def now_ms(self) -> int:
        return self._time.now + self.offset


class FactsAssessor:
    """The rules of present facts alone, as quick as they are: for towns that live long."""

    def __init__(self, key: SiteKey, site: Site, state: bytes | None) -> None:
        self.key = key
        kept = msgspec.msgpack.decode(state, type=PresentState) if state else None
        self._facts = PresentFacts(key, site, None, kept)

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        return Assessment(self._facts.feed(chunk, edges), [])

    def tick(self, now_ms: int) -> Assessment:
        return Assessment(self._facts.tick(now_ms), [])

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._facts.state)

    def add_log(self, entry: LogEntry) -> None:
        pass


class Parts:
    """The classes a hub is built of; a mutant puts a broken one in the place of a sound one."""

    door: type[Door] = Door
    whole_diagnosis = True
    notify: type[NotifyMachine] = NotifyMachine

    def inbox(self, inbox: Any, process: HubProcess) -> Inbox:
        found: Inbox = inbox
        return found

    def series(self, series: Any) -> Any:
        return series

    def ledger(self, ledger: Any) -> Any:
        return ledger


class HubProcess:
    """Starts from a disk, works until it is ended. Consumers take turns at random moments."""

    def __init__(
        self,
        timeline: Timeline,
        broker: Broker,
        providers: Callable[[Fuse], list[Provider]],
        *,
        parts: Parts,
        pulse: int,
        published: Callable[[str, Ack], None],
        committed: Callable[[], None],
    ) -> None:
        self.time, self.broker, self.parts, self._pulse_every = timeline, broker, parts, pulse
        self.disk, self.fuse, self.clock = HubDisk(), Fuse(), HubClock(timeline)
        self.providers = providers(self.fuse)
        self.policy = Policy(tuple(Route(p.name) for p in self.providers))
        self.trouble: set[str] = set()
        """Stores that are out of order."""
        self.slow: dict[str, int] = {}
        """Consumer → how long it rests between its turns [ms]."""
        self.published, self._committed = published, committed
        self.is_up = False
        self.disk_is_lost = False
        self._chance: Random = timeline.chance("hub")
        self._life = 0

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """As after power on: everything is read from the disk."""
        if self.is_up or self.disk_is_lost:
            return
        self._life += 1
        self.is_up = True
        self._outcomes: deque[DoorOutcome] = deque()
        self._scheduled: set[str] = set()
        self._turn(self._assemble)
        if self.is_up:
            self._dial(self._life)
            self._pulse(self._life)

    def _assemble(self) -> None:
        fuse, trouble, disk = self.fuse, self.trouble, self.disk
        disk.inbox.continue_after(
            max([disk.series.position(), *disk.ledger.positions().values()], default=0)
        )
        inbox = self.parts.inbox(OnDisk(disk.inbox, "inbox", fuse, trouble), self)
        ledger = self.parts.ledger(OnDisk(disk.ledger, "ledger", fuse, trouble))
        series = self.parts.series(OnDisk(disk.series, "series", fuse, trouble))
        lock = RLock()
        now = self.clock.now_ms()
        self._inbox = inbox
        self._known = frozenset(disk.ledger.sites())
        self.door = self.parts.door(inbox, inspect, lambda: self._known)
        self.link = HubLink(self, self.broker)
        self.ingest = IngestLoop(self.link, self.door, self.clock, self._hear)
        self.recorder = Recorder(inbox=inbox, sites=ledger, store=series, decode=decode)
        self.assess = AssessService(
            inbox=inbox, alerts=ledger, sites=ledger, decode=decode,
            make_assessor=self._make_assessor, policy=self.policy, alert_lock=lock, feed=LiveFeed(),
            now_ms=now,
        )  # fmt: skip
        self.alerts = AlertService(ledger, ledger, self.clock, self.policy, lock)
        self.notify = self.parts.notify(
            owed=ledger, alerts=ledger, sites=ledger, notifiers=self.providers,
            policy=self.policy, tr=TR, random=self._chance,
        )  # fmt: skip

    def die(self, why: str = "") -> None:
        if not self.is_up:
            return
        self._life += 1
        self.is_up = False
        self.fuse.left = None
        self.broker.hang_up("hub", tell=False)
        self.time.note("hub died", why)

    def leave(self) -> None:
        """A clean stop: what was received is judged and written down."""
        if not self.is_up:
            return
        self._turn(self._work_ingest)
        self._turn(self._tend)
        self._turn(lambda: self.assess.settle(self.clock.now_ms()))
        self.die("clean stop")

    def _turn(self, step: Callable[[], Any], *, started: bool = True) -> None:
        """A step of the process: it may be its last, and a store out of order ends only the step."""
        if not self.is_up:
            return
        try:
            step()
        except StoreUnavailable:
            self.time.counts["stores_refused"] += 1
            if step == self._assemble:
                self.die("cannot start")
                self.time.after(MINUTE, self.start)
        except Crash as crash:
            self.time.counts[f"killed {crash.label}"] += 1
            self.time.counts["hub_kills"] += 1
            self.die(crash.label)
            self.time.after(self._chance.choice((2, 20, 600, 7200)) * SECOND, self.start)

    # -- the line ----------------------------------------------------------------------------------

    def _dial(self, life: int) -> None:
        if life != self._life or self.link.line is not None:
            return
        self.link.line = self.broker.connect("hub", self.link)
        if self.link.line is None:
            self.time.after(self._chance.uniform(1, 15) * SECOND, self._dial, life)

    def lost_line(self) -> None:
        self.time.after(self._chance.uniform(0.1, 5) * SECOND, self._dial, self._life)

    # -- the workers -------------------------------------------------------------------------------

    def has_mail(self) -> None:
        self._soon("ingest", 20)

    def _soon(self, worker: str, wait: float) -> None:
        if worker not in self._scheduled:
            self._scheduled.add(worker)
            self.time.after(wait, self._work, worker, self._life)

    def _work(self, worker: str, life: int) -> None:
        if life != self._life:
            return
        self._scheduled.discard(worker)
        self._turn({
            "ingest": self._work_ingest,
            "assess": self._work_assess,
            "record": self._work_record,
            "notify": self._work_notify,
        }[worker])  # fmt: skip

    def _work_ingest(self) -> None:
        before = self.ingest.counters["commits"]
        self.ingest.step(self.time.now / 1000)
        self._committed()
        if self.ingest.problem:
            self._soon("ingest", 5 * SECOND)
        elif self.ingest.counters["commits"] > before or self.link.waiting:
            self._soon("ingest", 250)
            for worker in ("assess", "record"):
                wait = self.slow.get(worker, 0) or self._chance.choice((30, 200, 2_000))
                self._soon(worker, wait)

    def _work_assess(self) -> None:
        now = self.clock.now_ms()
        while self.assess.step(now):
            pass
        if self._chance.random() < 0.1:
            self.assess.checkpoint(now)
        self._soon("notify", self._chance.choice((10, 200, 5_000)))

    def _work_record(self) -> None:
        while self.recorder.step(self.clock.now_ms()):
            pass

    def _work_notify(self) -> None:
        due = self.notify.step(self.clock.now_ms())
        if due is not None:
            self._soon("notify", max(1_000, due - self.clock.now_ms()))

    def _pulse(self, life: int) -> None:
        """What the threads do every few seconds, less often."""
        if life != self._life:
            return
        now = self.clock.now_ms()
        self._turn(lambda: self.assess.refresh(now))
        self._turn(lambda: self.assess.checkpoint(now))
        if "assess" not in self.slow:
            self._turn(self._work_assess)
            self._turn(lambda: self.assess.tick(now))
        if "record" not in self.slow:
            self._turn(self._work_record)
        self._turn(self._work_notify)
        self._turn(self._work_ingest)
        self._turn(self._tend)
        if life == self._life:
            self.time.after(self._pulse_every, self._pulse, life)

    def _tend(self) -> None:
        ledger, now = (
            OnDisk(self.disk.ledger, "ledger", self.fuse, self.trouble),
            self.clock.now_ms(),
        )
        self._known = frozenset(ledger.sites())
        held: Counter[SiteKey] = Counter()
        while self._outcomes:
            outcome = self._outcomes.popleft()
            for birth in outcome.births:
                ledger.put_birth(birth, now)
            held.update(outcome.held)
        for key in sorted(held):
            ledger.hold(key, now, held[key], None)
        if self._chance.random() < 0.05:
            safe = min(self.recorder.safe_position(), self.assess.safe_position())
            self._inbox.prune(safe)

    def _hear(self, outcome: DoorOutcome) -> None:
        if outcome.births or outcome.held:
            self._outcomes.append(outcome)

    # -- people ------------------------------------------------------------------------------------

    def acknowledge_one(self, chance: Random) -> None:
        def answer() -> None:
            unanswered = [a for a in self.alerts.open_alerts() if a.acknowledged_ms is None]
            if unanswered:
                try:
                    self.alerts.acknowledge(chance.choice(unanswered).id, CREW)
                    self.time.counts["answers"] += 1
                except (Conflict, NotFound):
                    pass

        self._turn(answer)

    @property
    def is_idle(self) -> bool:
        """Everything in the inbox is judged and recorded, and nobody is owed anything."""
        last = self.disk.inbox.last_id()
        return (
            self.is_up
            and not self.link.waiting
            and self.assess.position >= last
            and self.disk.series.position() >= last
            and not self.disk.ledger.owed_counts().get("owed")
        )

    def _make_assessor(
        self, key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None
    ) -> SiteAssessor:
        if self.parts.whole_diagnosis:
            return SiteAssessor(key, site, fit=lambda _: None, log=log, state=state)
        return cast("SiteAssessor", FactsAssessor(key, site, state))
