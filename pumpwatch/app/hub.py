"""The hub, assembled: the one place where stores, transports and services are chosen and joined."""

from __future__ import annotations

import gc
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

import structlog

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.app.datadir import DataDir, write_whole
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.series import open_series
from pumpwatch.app.settings import LedgerSettings, SeriesSettings, Settings
from pumpwatch.app.tls import broker_tls
from pumpwatch.app.upkeep import REST_S as UPKEEP_REST_S
from pumpwatch.app.upkeep import Upkeep
from pumpwatch.app.worker import Worker
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.clock import DAY_MS, Clock, ScaledClock
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import DoorOutcome, HubStatus, Notifier, SiteAge, StageAge
from pumpwatch.domain.sites import LogEntry, Site, SiteMode
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.assess import AssessService, diagnosis_state
from pumpwatch.services.health import outages, reasons, site_ages, waiting_ms
from pumpwatch.services.hold import Hold, HoldLimits
from pumpwatch.services.ingest import Door
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.models import ModelService
from pumpwatch.services.notify import NotifyMachine
from pumpwatch.services.outages import OutageWatch
from pumpwatch.services.proofs import LevelAudit
from pumpwatch.services.queries import QUIET_REAL_MS, Queries, quiet_limit_ms
from pumpwatch.services.record import Recorder
from pumpwatch.services.retrain import Retraining
from pumpwatch.services.train import Trainer
from pumpwatch.services.tuning import TuningService, run_apart
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.shelf import FileShelf
from pumpwatch.transports.mqtt import HubClient, IngestLoop
from pumpwatch.transports.wire import decode, inspect

log = structlog.get_logger()

REST_S = 0.05
TICK_S = 1.0
TEND_S = 2.0
CHECKPOINT_S = 5.0
PRUNE_S = 600.0
LOUD_SHARE = 10
"""A part of the backlog that is allowed: what sites that are read beside the others may be behind."""
UPKEEP_LAG = 10_000
"""Messages that wait to be recorded above which nothing else is done with samples."""
GC_THRESHOLDS = (50_000, 20, 50)
"""A burst of messages makes many short-lived objects and no cycles: the collector need not look at
each few hundred of them (1 us of 8 a message)."""


@dataclass
class Stores:
    """The files of one data directory, open."""

    inbox: SqliteInbox
    ledger: SqlLedger
    series: RolledSeries
    shelf: FileShelf
    challengers: FileShelf

    def close(self) -> None:
        self.inbox.close()
        self.series.close()
        self.ledger.close()


def open_stores(
    directory: DataDir,
    series: SeriesSettings | None = None,
    ledger: LedgerSettings | None = None,
) -> Stores:
    """Open, and where it is new create, everything a hub keeps.

    Samples are where ``series`` says and the ledger where ``ledger`` says, without them in the
    directory itself. An inbox that was lost and made anew counts on behind what its consumers have
    seen.
    """
    stores = Stores(
        SqliteInbox(directory.inbox),
        open_ledger(directory, ledger),
        RolledSeries(open_series(directory, series), directory.rollups, directory.parquet),
        FileShelf(directory.models),
        FileShelf(directory.challengers),
    )
    seen = stores.ledger.positions().values()
    stores.inbox.continue_after(max([stores.series.position(), *seen]))
    return stores


class Hub:
    """One process that receives, keeps, judges and tells. `start` begins all threads, `stop` ends them.

    ``clock`` is the time of everything the hub says; delays of threads run on the machine's own.
    ``tenants`` are those it listens to (all by default). ``beat`` is called now and then while all is
    well.
    """

    def __init__(
        self,
        settings: Settings,
        directory: DataDir,
        clock: Clock,
        notifiers: Sequence[Notifier],
        *,
        broker_host: str | None = None,
        broker_port: int | None = None,
        tenants: Sequence[str] = ("+",),
        beat: Callable[[], None] | None = None,
    ) -> None:
        self.clock, self.settings, self._path = clock, settings, directory.path
        self.stores = open_stores(directory, settings.series, settings.ledger)
        self.stores.ledger.claim()
        self.feed = LiveFeed()
        self._started_ms = clock.now_ms()
        self._alert_lock = RLock()
        self._diagnosis = DiagnosisSettings(
            partner_comparison=settings.diagnosis.partner_comparison
        )
        policy = Policy(tuple(Route(n.name) for n in notifiers))
        ledger, inbox = self.stores.ledger, self.stores.inbox

        self._decided: deque[SiteKey] = deque()
        """Sites about which something was decided: perhaps which model judges them."""
        self._installed: dict[SiteKey, dict[int, Any]] = {}
        """Site → model by when it takes effect → when that was decided (None: by itself)."""
        self._no_room = ""
        """Why telemetry is left with the agents for now."""
        self._told_to_wait: frozenset[SiteKey] = frozenset()
        """Sites so loud that their telemetry is left with their agents."""
        self.door = Door(inbox, inspect, self._known_sites, self._has_room)
        self.hold = Hold(inbox, _hold_limits(settings))
        self._changes_seen, _ = ledger.changed_since(0)
        self._known: frozenset[SiteKey] = frozenset()
        self._expects = False
        self._quiet_ms: dict[SiteKey, int] = {}
        self._online = {key: birth.online for key, (_, birth) in ledger.births().items()}
        """Whether any live station should be heard."""
        self._list_sites()
        broker = settings.broker
        self.client = HubClient(
            broker_host or broker.host,
            broker_port or broker.port,
            install_id=_install_id(directory.path),
            clock=clock,
            tenants=tenants,
            username=broker.username,
            password=broker.password.get_secret_value() if broker.password else None,
            tls=broker_tls(broker),
        )
        self.ingest = IngestLoop(self.client, self.door, clock, self._hear)
        self.trainer = Trainer(self.stores.shelf, workers=settings.training.workers)
        self.recorder = Recorder(inbox=inbox, sites=ledger, store=self.stores.series, decode=decode)
        self.assess = AssessService(
            inbox=inbox,
            alerts=ledger,
            sites=ledger,
            decode=decode,
            make_assessor=self._make_assessor,
            policy=policy,
            alert_lock=self._alert_lock,
            feed=self.feed,
            now_ms=self._started_ms,
        )
        self.alerts = AlertService(ledger, ledger, clock, policy, self._alert_lock)
        self.notify = NotifyMachine(
            owed=ledger,
            alerts=ledger,
            sites=ledger,
            notifiers=notifiers,
            policy=policy,
            tr=translator(settings.notify.language),
            random=Random(),  # noqa: S311 - spreads retries, guards nothing
            url=self._alert_url,
        )
        proof_days = settings.diagnosis.proof_days
        self.queries = Queries(ledger, ledger, self.stores.series, clock, self, proof_days)
        self.audit = LevelAudit(ledger, ledger, ledger, self.stores.series, clock)
        self.tuning = TuningService(
            ledger, ledger, self.stores.series, clock, self._diagnosis, run_apart
        )
        self._watch = OutageWatch(ledger, policy, self._alert_lock, 60 * settings.health.alert_min)
        self._beat = beat
        self.upkeep = Upkeep(self.stores.series, ledger, settings.retention)
        self.models = model_service(self.stores, clock, self._diagnosis)
        self.retraining = Retraining(
            self.models, ledger, clock,
            challenger_days=settings.training.challenger_days,
            promote_unchanged=settings.training.promote_unchanged,
        )  # fmt: skip
        self._workers = [
            Worker("assess", self._assess),
            Worker("record", self._record),
            Worker("notify", self._notify),
            Worker("tend", self._tend),
            Worker("upkeep", self._upkeep),
            Worker("retrain", self.retraining.step),
            Worker("audit", self.audit.step),
        ]
        if beat is not None:
            self._workers.append(Worker("heartbeat", self._heartbeat))
        self.telling = True
        """Whether what is owed is sent; the demo tells nobody of its history before its page is open."""
        self._outcomes: deque[DoorOutcome] = deque()
        self._births: dict[SiteKey, Birth] = {}
        self._held: Counter[SiteKey] = Counter()
        self._due_ms: int | None = None
        """When the first of what is owed is due."""
        self._refresh_at_s = 0.0
        self._checkpoint_at_s = 0.0
        self._tick_at_s = 0.0
        self._prune_at_s = time.monotonic() + PRUNE_S

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        gc.set_threshold(*GC_THRESHOLDS)
        self.client.start()
        self.ingest.start()
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End in the order of the street, so that what was received is judged and written down."""
        self.ingest.stop()
        self.client.stop()
        ended = {worker.name: worker.stop() for worker in self._workers}
        try:  # what a worker still has in hand is its own; the inbox has it all
            if ended["tend"]:
                self._settle_births()
            if ended["assess"]:
                self.assess.settle(self.clock.now_ms())
        except StoreUnavailable as error:
            log.warning("stopped without a last checkpoint, judging goes on from the one before it",
                        error=str(error))  # fmt: skip
        finally:
            self.trainer.close()
            self.retraining.close()
            self.feed.close()
            self.stores.close()

    def caught_up(self) -> bool:
        """Whether every consumer has seen all that is in the inbox."""
        last = self.stores.inbox.last_id()
        return self.assess.position >= last and self.stores.series.position() >= last

    # -- what pages ask ------------------------------------------------------------------------

    def status(self) -> HubStatus:
        """Health as ages, and one line for everything that is wrong now."""
        health = self.door.health()
        last = self.stores.inbox.last_id()
        stages, sites = self._stages(self.clock.now_ms()), self._site_ages(self.clock.now_ms())
        return HubStatus(
            now_ms=self.clock.now_ms(),
            started_ms=self._started_ms,
            broker_connected=self.client.connected,
            last_message_ms=health.last_message_ms,
            last_commit_ms=health.last_commit_ms,
            last_assess_ms=self.assess.last_assess_ms,
            last_series_write_ms=self.recorder.last_write_ms,
            last_notification_ms=self.notify.last_notification_ms,
            last_upkeep_ms=self.upkeep.last_done_ms,
            inbox_lag={
                "assess": max(0, last - self.assess.position),
                "series": self.recorder.lag(),
            },
            counters={
                **health.counters,
                **self.client.counters,
                **self.ingest.counters,
                **self.recorder.values,
                **self.stores.series.counters,
                "samples_forgotten": self.upkeep.forgotten,
                **{n: v for n, v in self.assess.counters.items() if n != "held"},
                "models_fitted": self.trainer.counters.fitted,
                "models_failed": self.trainer.counters.failed,
            },
            problems=[*self._problems(), *reasons(stages)],
            stages=stages,
            sites=sites,
        )

    def _site_ages(self, now_ms: int) -> list[SiteAge]:
        """While the hub hears no broker, nothing is said of stations: it is the hub's own line."""
        since_ms = self.client.listening_since_ms
        ages = {} if since_ms is None else self.assess.ages()
        rate = max(1.0, self.clock.factor) if isinstance(self.clock, ScaledClock) else 1.0
        road_ms = round(QUIET_REAL_MS * rate)
        heard = {k: (row, max(at, since_ms or 0), judged) for k, (row, at, judged) in ages.items()}
        quiet_ms = {key: max(limit_ms, road_ms) for key, limit_ms in self._quiet_ms.items()}
        return site_ages(heard, self._online, quiet_ms, now_ms)

    def _stages(self, now_ms: int) -> list[StageAge]:
        bounds, door, inbox = self.settings.health, self.door.health(), self.stores.inbox
        rate = max(1.0, self.clock.factor) if isinstance(self.clock, ScaledClock) else 1.0

        def age(stage: str, done_ms: int | None, waiting_ms: int, bound_s: float) -> StageAge:
            return StageAge(stage, done_ms, max(0, waiting_ms), round(1000 * rate * bound_s))

        heard_ms = max(door.last_message_ms or 0, self._started_ms)
        in_hand_ms, untold_ms = self.ingest.waiting_since_ms, self._untold_since_ms()
        assess_ms = waiting_ms(inbox, self.assess.position, now_ms)
        series_ms = waiting_ms(inbox, self.recorder.position, now_ms)
        return [
            age("message", door.last_message_ms, now_ms - heard_ms if self._expects else 0,
                60 * bounds.message_min),
            age("commit", door.last_commit_ms, now_ms - in_hand_ms if in_hand_ms else 0,
                bounds.commit_s),
            age("assess", self.assess.last_assess_ms, assess_ms, 60 * bounds.assess_min),
            age("series", self.recorder.last_write_ms, series_ms, 60 * bounds.series_min),
            age("notification", self.notify.last_notification_ms,
                now_ms - untold_ms if untold_ms else 0, 60 * bounds.notify_min),
        ]  # fmt: skip

    def _untold_since_ms(self) -> int | None:
        """Since when a channel takes nothing, or something is due that nobody tries; None if neither."""
        failing_ms, due_ms = self.notify.failing_since_ms, self._due_ms
        untold_ms = None if due_ms is None else max(due_ms, self._started_ms)
        return min([ms for ms in (failing_ms, untold_ms) if ms is not None], default=None)

    def _outages(self) -> frozenset[str]:
        """What is wrong with the installation now; nothing while no live station depends on it."""
        stages = self._stages(self.clock.now_ms())
        found = outages(self.client.subscribed, bool(self._no_room), stages)
        return found if self._expects else frozenset()

    def _problems(self) -> list[str]:
        lines = [self.client.problem, self.ingest.problem, self.recorder.last_error]
        lines += [self.retraining.problem, self.upkeep.problem, *self.stores.series.damage()]
        lines += [f"{w.name}: {w.failing}" for w in self._workers if w.failing]
        lines += [
            f"{key} is not being judged ({why}): restart the hub; if it comes again, report it"
            for key, why in self.assess.failed.items()
        ]
        lines += [self._no_room, *self.hold.problems()]
        lines += [
            f"{key} sends many times the messages its readings need: see its agent"
            for key in self.assess.storms
        ]
        lines += [self.door.clock_problem, *self.door.rivals(self.clock.now_ms())]
        return [line for line in lines if line]

    # -- the workers' steps --------------------------------------------------------------------

    def _assess(self) -> float:
        now_ms, mono_s = self.clock.now_ms(), time.monotonic()
        if mono_s >= self._refresh_at_s:
            self.assess.refresh(now_ms)
            self._refresh_at_s = mono_s + TEND_S
        if mono_s >= self._checkpoint_at_s:
            self.assess.checkpoint(now_ms)
            self._checkpoint_at_s = mono_s + CHECKPOINT_S
        for key, model, effective_ms in self.trainer.collect():
            self.assess.install(key, model, effective_ms)
        while self._decided:
            self._install_decided(self._decided.popleft())
        if self.assess.step(now_ms):
            return 0
        if mono_s >= self._tick_at_s:
            self.assess.tick(now_ms, self.client.listening_since_ms)
            self._tick_at_s = mono_s + TICK_S
        return REST_S

    def _record(self) -> float:
        return 0 if self.recorder.step(self.clock.now_ms()) else REST_S

    def _notify(self) -> float:
        if self.telling:
            self.notify.step(self.clock.now_ms())
        return REST_S * 4

    def _tend(self) -> float:
        """What is due now and then: births and unknown sites, news of sites, forgetting the inbox."""
        self._look_for_room()
        self._settle_births()
        ledger = self.stores.ledger
        newest, changed = ledger.changed_since(self._changes_seen)
        if changed:
            self._list_sites()
            self._changes_seen = newest
        for key in changed:
            self._decided.append(key)
            self.feed.publish("site", key._asdict())
        if time.monotonic() >= self._prune_at_s:
            self._prune_at_s = time.monotonic() + PRUNE_S
            self._tidy_inbox()
        self._due_ms = ledger.next_due_ms()
        for change in self._watch.step(self._outages(), self.clock.now_ms(), time.monotonic()):
            data = {"id": change.alert.id, "step": str(change.transitions[-1].step)}
            self.feed.publish("alert", {**data, **change.alert.key._asdict()})
        return TEND_S

    def _list_sites(self) -> None:
        sites = self.stores.ledger.sites()
        self._known = frozenset(sites)
        self._expects = any(site.mode is SiteMode.LIVE for site in sites.values())
        self._quiet_ms = {key: quiet_limit_ms(site) for key, site in sites.items()}

    def _tidy_inbox(self) -> None:
        """Position first: what the recorder has passed over by then is among those that wait."""
        recorded, (judged, aside) = self.recorder.position, self.assess.settled()
        keep = aside | dict.fromkeys(self.recorder.waiting(), 0)
        self.hold.tidy(min(recorded, judged), keep, self.clock.now_ms())

    def _look_for_room(self) -> None:
        """Telemetry stays with the agents while the disk is nearly full or too much is unread."""
        limits = self.settings.inbox
        slack = 0.8 if self._no_room else 1.0
        behind = self.stores.inbox.last_id() - min(self.assess.position, self.recorder.position)
        free_mb = shutil.disk_usage(self._path).free / 1e6
        if behind > slack * limits.backlog_messages:
            why = f"{behind} messages wait to be judged or recorded; see what slows the hub down"
        elif slack * free_mb < limits.reserve_mb:
            why = f"only {free_mb:.0f} MB of the disk are free; make room"
        else:
            why = ""
        self._no_room = why and f"telemetry is left with the agents, events are taken: {why}"
        loud, behind = self.assess.late
        share = slack * limits.backlog_messages / LOUD_SHARE
        self._told_to_wait = frozenset(loud) if behind > share else frozenset()

    def _upkeep(self) -> float:
        """Not while much waits to be recorded."""
        busy = self.recorder.lag() > UPKEEP_LAG
        return UPKEEP_REST_S if busy else self.upkeep.step(self.clock.now_ms())

    def _heartbeat(self) -> float:
        """A sign of life, unless something is wrong that an outside service should call for."""
        if self._beat is None or self.unwell():
            return TEND_S
        self._beat()
        return 60 * self.settings.health.heartbeat_min

    def unwell(self) -> list[str]:
        """What keeps the hub from its work now, by name; with a silent town, too. Raises
        `StoreUnavailable` while the ledger is away."""
        self.stores.ledger.next_due_ms()
        others = [worker for worker in self._workers if worker.name != "heartbeat"]
        wrong = {worker.name for worker in others if worker.failing or not worker.alive}
        wrong |= {age.stage for age in self._stages(self.clock.now_ms()) if age.is_late}
        if not self.client.subscribed:
            wrong.add("broker")
        return sorted(wrong | self._outages())

    # -- inside --------------------------------------------------------------------------------

    def _alert_url(self, alert_id: str) -> str:
        base = self.settings.notify.base_url.rstrip("/")
        return f"{base}/alerts/{alert_id}" if base else ""

    def _has_room(self, key: SiteKey) -> bool:
        return not self._no_room and key not in self._told_to_wait

    def _known_sites(self) -> frozenset[SiteKey]:
        return self._known

    def _hear(self, outcome: DoorOutcome) -> None:
        """In the writer's thread: the ledger is not made to wait there, only what matters is kept."""
        if outcome.births or outcome.held:
            self._outcomes.append(outcome)

    def _settle_births(self) -> None:
        """Write down who was born and which unknown sites wait; what the ledger does not take now is
        kept for the next time."""
        while self._outcomes:
            outcome = self._outcomes.popleft()
            self._births.update({birth.key: birth for birth in outcome.births})
            self._held.update(outcome.held)
        ledger, now_ms = self.stores.ledger, self.clock.now_ms()
        for key in list(self._births.keys() | self._held.keys()):
            birth, messages = self._births.get(key), self._held[key]
            if key not in self._known:
                # a will announces nothing: what was announced before it stays
                ledger.hold(key, now_ms, messages, birth if birth and birth.online else None)
                self.feed.publish("site", key._asdict())
            del self._held[key]
            if birth is not None:
                ledger.put_birth(birth, now_ms)
                self._online[key] = birth.online
                del self._births[key]

    def _make_assessor(
        self, key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None
    ) -> SiteAssessor:
        waits = site.mode is not SiteMode.LIVE
        assessor = SiteAssessor(
            key,
            site,
            fit=self.trainer.fit_now if waits else self._fit_later,
            settings=self._diagnosis,
            log=log,
            state=state,
        )
        cards = self.stores.shelf.cards(key)
        decided = {at_ms for _, at_ms, card in cards if card.get("placed")}
        # judged anew from nothing, its first model comes by itself at the same midnight; decisions do not
        for _, at_ms, _ in cards if state is not None or decided else ():
            loaded = self.trainer.load(key, at_ms)
            if loaded is not None:
                assessor.install(*loaded)
        self._installed[key] = {at_ms: card.get("placed_at") for _, at_ms, card in cards}
        return assessor

    def _install_decided(self, key: SiteKey) -> None:
        """Hand a site the models that were promoted or taken back since it was last given any."""
        installed = self._installed.setdefault(key, {})
        for _, at_ms, card in self.stores.shelf.cards(key):
            placed_at = card.get("placed_at")
            if placed_at is not None and installed.get(at_ms) != placed_at:
                loaded = self.trainer.load(key, at_ms)
                if loaded is not None:
                    self.assess.install(key, *loaded)
                installed[at_ms] = placed_at

    def _fit_later(self, request: FitRequest) -> SiteModel | None:
        self.trainer.submit(request)
        return None


def model_service(stores: Stores, clock: Clock, settings: DiagnosisSettings) -> ModelService:
    """The models of what is kept in these stores."""
    ledger = stores.ledger
    return ModelService(
        shelf=stores.shelf,
        waiting=stores.challengers,
        sites=ledger,
        alerts=ledger,
        audit=ledger,
        series=stores.series,
        clock=clock,
        state_of=states_in(ledger),
        settings=settings,
    )


def states_in(ledger: SqlLedger) -> Callable[[SiteKey], bytes | None]:
    """A site → what its diagnosis remembered at its last checkpoint."""

    def state_of(key: SiteKey) -> bytes | None:
        checkpoint = ledger.checkpoint(key)
        return None if checkpoint is None else diagnosis_state(checkpoint)

    return state_of


def _hold_limits(settings: Settings) -> HoldLimits:
    inbox, mb = settings.inbox, 1_000_000
    return HoldLimits(inbox.held_site_mb * mb, inbox.held_mb * mb, inbox.held_days * DAY_MS)


def _install_id(path: Path) -> str:
    """A name for this installation: two hubs with one MQTT client id throw each other out."""
    file = path / "install_id"
    if not file.is_file():
        write_whole(file, uuid.uuid4().hex[:12] + "\n")
    return file.read_text().strip()
