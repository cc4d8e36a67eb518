"""The assessing consumer: every message judged once, in order, whatever stops, fails or changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from threading import RLock
from typing import Any

import msgspec
import numpy as np
import pytest

from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.alerting.weather import HELD
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import LOCAL, SYSTEM, Actor
from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Severity, Step
from pumpwatch.domain.clock import DAY_MS, MINUTE_MS, SECOND_MS, ManualClock
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Found
from pumpwatch.domain.messages import Telemetry
from pumpwatch.domain.ports import AlertChange, Checkpoint, InboxRow
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services import assess
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.assess import AssessService
from pumpwatch.services.live import LiveFeed
from pumpwatch.stores.inbox import MemoryInbox
from pumpwatch.stores.memory import MemoryLedger
from pumpwatch.transports.wire import decode, inspect

NOW = 1_763_607_600_000
A, B = SiteKey("default", "mh-a"), SiteKey("default", "mh-b")


class _Seen(msgspec.Struct):
    rows: list[tuple[int, float]] = []
    edges: list[tuple[int, str, float]] = []
    log: int = 0
    capacity: float = 0.0
    high: bool = False


class FakeAssessor:
    """High level opens and ends an alert; every row is a cycle; a level of 9 breaks it."""

    def __init__(self, key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None):
        self.key, self.site = key, site
        self.s = msgspec.msgpack.decode(state, type=_Seen) if state else _Seen()
        self.s.log = len(log)
        self.settings = DiagnosisSettings()
        self.limits: list[tuple[int, float]] = []
        self.ticks: list[int] = []
        self.installed: list[object] = []

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        found, cycles = [], []
        self.s.edges += [(e.t_ms, e.signal, e.value) for e in edges]
        levels = chunk.signals.get("level_m", np.full(len(chunk), np.nan))
        for t_ms, level in zip(chunk.t_ms.tolist(), levels.tolist(), strict=True):
            if level == 9:
                raise ZeroDivisionError("no water")
            self.s.rows.append((t_ms, level))
            self.limits.append((t_ms, self.settings.limit))
            cycles.append(CycleRow(t_ms, t_ms + 1, "pump1"))
            if (level > 2) != self.s.high:
                self.s.high = level > 2
                found.append(self._finding(t_ms))
            elif level > 3:
                found.append(replace(self._finding(t_ms), phase=Phase.WORSENED, score=level / 10))
        return Assessment(found, cycles)

    def tick(self, now_ms: int) -> Assessment:
        self.ticks.append(now_ms)
        if self.site.name == "broken":
            raise ZeroDivisionError("no silence")
        return Assessment([], [])

    def add_log(self, entry: LogEntry) -> None:
        self.s.log += 1

    def install(self, model: object, effective_ms: int) -> None:
        self.installed.append(model)

    def retune(self, settings: DiagnosisSettings) -> None:
        self.settings = settings

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.s)

    def _finding(self, t_ms: int) -> Finding:
        phase = Phase.OPENED if self.s.high else Phase.RESOLVED
        return Finding(
            self.key, t_ms, phase, "high_level", Kind.CONDITION, Severity.CRITICAL,
            ("high_level",), None, 0.2, {"since": "x"},
        )  # fmt: skip


class World:
    """Stores that outlive the service, and the means to stop it and start it again."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self.inbox, self.ledger = MemoryInbox(), ledger or MemoryLedger()
        self.made: dict[SiteKey, FakeAssessor] = {}
        self.makes = FakeAssessor
        self.now_ms = NOW
        self.seq: dict[tuple[SiteKey, str], int] = {}
        for key in (A, B):
            self.ledger.put_site(key, Site(key.site), SYSTEM, NOW)

    def start(self) -> AssessService:
        self.service = AssessService(
            inbox=self.inbox,
            alerts=self.ledger,
            sites=self.ledger,
            decode=decode,
            make_assessor=self._make,
            policy=Policy((Route("console"),)),
            alert_lock=RLock(),
            feed=LiveFeed(),
            now_ms=self.now_ms,
        )
        return self.service

    def _make(
        self, key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None
    ) -> SiteAssessor:
        self.made[key] = self.makes(key, site, log, state)
        return self.made[key]  # type: ignore[return-value]

    def send(self, key: SiteKey, level: float, t_ms: int | None = None, **more: Any) -> None:
        t_ms = self.now_ms if t_ms is None else t_ms
        signals = {"level_m": [level]} | {
            name: [more.pop(name)] for name in list(more) if name == "power_ok"
        }
        self._put(key, "telemetry", {"t": [t_ms], "signals": signals}, **more)

    def edge(self, key: SiteKey, signal: str, value: float, t_ms: int | None = None) -> None:
        t_ms = self.now_ms if t_ms is None else t_ms
        self._put(key, "event", {"t": t_ms, "signal": signal, "value": value})

    def _put(
        self, key: SiteKey, lane: str, content: dict[str, Any], seq: int | None = None
    ) -> None:
        if seq is None:
            seq = self.seq[key, lane] = self.seq.get((key, lane), 0) + 1
        body = {"schema": 1, "epoch": "e1", "seq": seq, "low": 1, "sent": self.now_ms} | content
        topic, payload = f"pumpwatch/v1/{key}/{lane}", json.dumps(body).encode()
        message = inspect(topic, payload, self.now_ms)
        stamp = getattr(message, "stamp", message)
        self.inbox.commit([InboxRow(stamp, topic, payload, self.now_ms)], [], self.now_ms)
        self.now_ms += SECOND_MS

    def alerts(self) -> list[tuple[str, list[Step]]]:
        return [
            (a.id, [t.step for t in self.ledger.transitions(a.id)])
            for a in sorted(self.ledger.alerts(), key=lambda a: a.id)
        ]

    def levels(self, key: SiteKey) -> list[float]:
        return [level for _, level in self.made[key].s.rows]


def drain(service: AssessService, now_ms: int) -> None:
    while service.step(now_ms):
        pass


@pytest.fixture
def world() -> World:
    return World()


def speak(world: World) -> None:
    """Two sites in turn, with an episode, a message out of order and a repeated one."""
    for n, level in enumerate([1, 2.5, 3.5, 1, 1, 2.6]):
        world.send(A, level)
        world.edge(A, "pump1_run", n % 2)
        world.send(B, 1 + n / 10)
    world.send(A, 1, seq=8)
    world.send(A, 1, seq=7)
    world.send(A, 1, seq=3)


def test_what_people_found_changes_nothing_of_what_is_judged(world: World) -> None:
    straight = World()
    for one in (straight, world):
        one.send(A, 2.5)
        drain(one.start(), NOW)
    people = AlertService(world.ledger, world.ledger, ManualClock(NOW * 2), Policy())
    for alert in world.ledger.alerts():
        people.answer(alert.id, LOCAL, Found("nothing_found"))
    people.missed(A, LOCAL, Found("pump_trip", at_ms=NOW))
    for one in (straight, world):
        one.service.refresh(NOW)
        speak(one)
        drain(one.service, NOW)
        one.service.settle(NOW)
    assert world.ledger.labels()
    assert world.alerts() == straight.alerts()
    assert world.ledger.checkpoint(A) == straight.ledger.checkpoint(A)


# -- tuning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_station_is_judged_by_its_own_settings_from_their_moment_on_and_no_other_is_touched(
    world: World, restarted: bool
) -> None:
    straight = World()
    for one in (straight, world):
        one.send(A, 1, NOW)
        one.send(B, 1, NOW)
        drain(one.start(), NOW)
        one.service.settle(NOW)
    own = TuningVersion(1, NOW + 15_000, NOW, LOCAL, "why", {"set": {"limit": 20}})
    world.ledger.add_tuning(A, own)
    if restarted:
        world.start()
    world.service.refresh(NOW)
    for one in (straight, world):
        for n in (1, 2):
            one.send(A, 1, NOW + n * 10_000)
            one.send(B, 1, NOW + n * 10_000)
        drain(one.service, NOW)
        one.service.settle(NOW)
    plain = DiagnosisSettings().limit
    assert world.made[A].limits[-2:] == [(NOW + 10_000, plain), (NOW + 20_000, 20)]
    assert {limit for _, limit in world.made[B].limits} == {plain}
    assert world.ledger.checkpoint(B) == straight.ledger.checkpoint(B)


# -- restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(1, 21))
@pytest.mark.parametrize("settled", ["checkpoint", "settle", "killed"])
def test_a_restart_at_any_point_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, point: int, settled: str
) -> None:
    monkeypatch.setattr(assess, "BATCH_MESSAGES", 1)
    straight = World()
    speak(straight)
    drain(straight.start(), NOW)
    straight.service.settle(NOW)
    speak(world)
    service = world.start()
    for _ in range(point):
        service.step(NOW)
    if settled != "killed":
        getattr(service, settled)(NOW)
    again = world.start()
    drain(again, NOW)
    again.settle(NOW)
    assert world.alerts() == straight.alerts()
    assert len(world.alerts()) == 2
    for key in (A, B):
        assert world.made[key].s == straight.made[key].s
        assert world.ledger.cycles(key, 0, 2**60) == straight.ledger.cycles(key, 0, 2**60)


def test_a_checkpoint_does_not_pass_what_is_still_held_back(world: World) -> None:
    service = world.start()
    world.send(A, 1.0)
    world.send(A, 1.2, seq=3)
    world.send(B, 1.0)
    drain(service, NOW)
    service.settle(NOW)
    assert service.safe_position() == 1
    world.send(A, 1.1, seq=2)
    service = world.start()
    drain(service, NOW)
    service.settle(NOW)
    assert world.levels(A) == [1.0, 1.1, 1.2]
    assert service.safe_position() == world.inbox.last_id()


def test_a_checkpoint_that_cannot_be_read_is_counted_and_the_site_judged_anew(world: World) -> None:
    speak(world)
    drain(world.start(), NOW)
    world.service.settle(NOW)
    before = world.levels(A)
    world.ledger.commit_assessment([Checkpoint(A, world.inbox.last_id(), b"\xc1 rubbish")], [], [])
    again = world.start()
    drain(again, NOW)
    assert again.counters["checkpoints_lost"] == 1
    assert world.levels(A) == before


# -- one site's trouble --------------------------------------------------------------------------


def test_a_failing_assessor_sets_only_its_site_aside(world: World) -> None:
    service = world.start()
    world.send(A, 2.5)
    world.send(A, 9)
    world.send(A, 1)
    world.send(B, 1)
    world.send(B, 2.5)
    drain(service, NOW)
    assert list(service.failed) == [A]
    assert "ZeroDivisionError: no water" in service.failed[A]
    assert service.counters["failed_sites"] == 1
    assert world.levels(B) == [1, 2.5]
    told = {alert.key for alert in world.ledger.open_alerts()}
    assert told == {A, B}, "what it found before is told too"
    service.settle(NOW)
    assert A not in world.ledger.positions(), "it is tried again from where it stood"
    assert service.safe_position() == 0


def test_a_failing_tick_sets_only_its_site_aside(world: World) -> None:
    world.ledger.put_site(A, Site(A.site, name="broken"), SYSTEM, NOW)
    service = world.start()
    service.step(NOW)
    for minutes in (11, 12):
        service.tick(NOW + minutes * MINUTE_MS)
    assert list(service.failed) == [A]
    assert len(world.made[A].ticks) == 1
    assert len(world.made[B].ticks) == 2


# -- order ---------------------------------------------------------------------------------------


def test_edges_of_a_backlog_wait_for_their_rows(world: World) -> None:
    service = world.start()
    hours = [NOW - n * 60 * MINUTE_MS for n in (3, 2, 1)]
    for t_ms in hours:
        world.edge(A, "pump1_run", 1, t_ms)
    drain(service, NOW)
    assert world.made[A].s.edges == []
    service.checkpoint(NOW)
    service = world.start()
    for n, t_ms in enumerate(hours, start=1):
        world.send(A, 1, t_ms)
        drain(service, NOW)
        assert len(world.made[A].s.edges) == n


def test_an_edge_of_now_is_judged_at_once(world: World) -> None:
    service = world.start()
    world.send(A, 1)
    world.edge(A, "pump1_run", 1)
    drain(service, NOW)
    assert len(world.made[A].s.edges) == 1


# -- sites come, change and go -------------------------------------------------------------------


def test_a_site_approved_late_gets_everything_it_sent(world: World) -> None:
    late = SiteKey("default", "mh-late")
    service = world.start()
    for level in (1, 2.5, 1, 1.5):
        world.send(late, level)
        world.send(A, 1)
    drain(service, NOW)
    assert service.counters["held"] == 4
    service.settle(NOW)
    world.ledger.put_site(late, Site(late.site), SYSTEM, NOW)
    assert service.safe_position() == 0, "the inbox keeps its messages until they were judged"
    service.refresh(NOW)
    world.send(late, 1.7)
    drain(service, NOW)
    assert world.levels(late) == [1, 2.5, 1, 1.5, 1.7]
    assert [a.key for a in world.ledger.alerts()] == [late]
    service.settle(NOW)
    assert service.safe_position() == world.inbox.last_id()
    assert len(world.ledger.cycles(late, 0, 2**60)) == 5
    assert world.levels(A) == [1] * 4


def test_a_retired_site_is_left_alone_and_goes_on_where_it_stood(world: World) -> None:
    service = world.start()
    world.send(A, 1.0)
    world.send(B, 1.0)
    drain(service, NOW)
    service.settle(NOW)
    world.ledger.retire_site(A, SYSTEM, NOW)
    service.refresh(NOW)
    world.send(A, 1.1)
    drain(service, NOW)
    assert world.levels(A) == [1.0]
    service.settle(NOW)
    assert service.safe_position() == world.inbox.last_id(), "it does not hold the inbox up"
    world.inbox.prune(1)
    world.ledger.put_site(A, Site(A.site), SYSTEM, NOW)
    service.refresh(NOW)
    drain(service, NOW)
    assert world.levels(A) == [1.0, 1.1]


def test_changed_settings_reach_a_site_that_is_being_judged(world: World) -> None:
    service = world.start()
    world.send(A, 1.0)
    drain(service, NOW)
    world.ledger.put_site(A, Site(A.site, start_level_m=1.4), SYSTEM, NOW)
    service.refresh(NOW)
    assert world.made[A].site.start_level_m == 1.4
    world.send(A, 1.1)
    drain(service, NOW)
    assert world.levels(A) == [1.0, 1.1]


def test_an_entry_of_the_site_log_is_handed_on_once(world: World) -> None:
    service = world.start()
    entry = LogEntry(NOW, LogKind.OVERHAUL, "pump1")
    world.ledger.add_log(A, entry, SYSTEM, NOW)
    service.refresh(NOW)
    service.refresh(NOW)
    assert (world.made[A].s.log, world.made[B].s.log) == (1, 0)


def test_a_model_goes_to_its_site_and_none_to_a_stranger(world: World) -> None:
    service = world.start()
    service.install(A, "model", NOW)
    service.install(SiteKey("default", "gone"), "model", NOW)
    assert (world.made[A].installed, world.made[B].installed) == (["model"], [])


def test_a_silent_site_does_not_keep_the_inbox_from_forgetting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "BEHIND", 10)
    service = world.start()
    for _ in range(12):
        world.send(A, 1)
    drain(service, NOW)
    service.checkpoint(NOW)
    assert B in world.ledger.positions()
    assert service.safe_position() == world.inbox.last_id()


# -- work that does not grow with the number of sites --------------------------------------------


def test_what_one_site_found_writes_down_no_other_site(world: World) -> None:
    service = world.start()
    world.send(A, 2.5)
    world.send(B, 1)
    drain(service, NOW)
    assert world.ledger.positions().keys() == {A}
    assert [c.start_ms for c in world.ledger.cycles(B, 0, 2**60)] == [NOW + SECOND_MS]


def test_a_state_is_written_down_now_and_then_and_cycles_at_once(world: World) -> None:
    service = world.start()
    for minutes, position in [(0, 1), (1, 1), (assess.SAVE_MS // MINUTE_MS, 3)]:
        world.send(A, 1)
        drain(service, NOW)
        service.checkpoint(NOW + minutes * MINUTE_MS)
        assert world.ledger.positions()[A] == position
        assert len(world.ledger.cycles(A, 0, 2**60)) == world.inbox.last_id()


def test_only_so_many_states_are_written_at_once_and_the_oldest_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "SAVED_AT_ONCE", 1)
    service = world.start()
    world.send(A, 1)
    world.send(B, 1)
    drain(service, NOW)
    service.checkpoint(NOW)
    assert len(world.ledger.positions()) == 1
    service.checkpoint(NOW)
    assert world.ledger.positions().keys() == {A, B}


def test_only_the_log_of_a_site_that_changed_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = world.start()
    asked: list[SiteKey] = []
    read = world.ledger.log
    monkeypatch.setattr(world.ledger, "log", lambda key: asked.append(key) or read(key))
    service.refresh(NOW)
    assert asked == []
    world.ledger.add_log(B, LogEntry(NOW, LogKind.VISIT), SYSTEM, NOW)
    service.refresh(NOW)
    assert asked == [B]


def test_a_site_whose_inbox_could_not_be_read_is_taken_in_whole_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = SiteKey("default", "mh-late")
    service = world.start()
    world.send(late, 1)
    world.send(A, 1)
    drain(service, NOW)
    world.ledger.put_site(late, Site(late.site), SYSTEM, NOW)
    service.refresh(NOW)
    with monkeypatch.context() as broken:
        broken.setattr(world.inbox, "read", _unavailable)
        with pytest.raises(StoreUnavailable):
            service.step(NOW)
    service.settle(NOW)
    assert service.safe_position() == 0, "what it sent is still to be read"
    drain(service, NOW)
    assert world.levels(late) == [1]


def test_no_alert_waits_for_a_site_that_is_approved_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "BATCH_MESSAGES", 2)
    monkeypatch.setattr(assess, "LATE_MESSAGES", 2)
    late = SiteKey("default", "mh-late")
    service = world.start()
    for n in range(10):
        world.send(late, 1 + n / 100)
    drain(service, NOW)
    world.ledger.put_site(late, Site(late.site), SYSTEM, NOW)
    service.refresh(NOW)
    world.send(A, 2.5)
    world.send(late, 1.5)
    service.step(NOW)
    assert _only(world.ledger).key == A
    assert len(world.levels(late)) == 2
    assert service.position < world.inbox.last_id()
    drain(service, NOW)
    assert world.levels(late) == [1 + n / 100 for n in range(10)] + [1.5]
    assert service.position == world.inbox.last_id()


def _unavailable(*_: object) -> None:
    raise StoreUnavailable("the disk is away", "bring it back")


# -- silence -------------------------------------------------------------------------------------


def test_a_storm_of_one_site_costs_the_others_few_messages_of_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty messages of one site to each of another: what the other says is judged almost at once."""
    monkeypatch.setattr(assess, "BATCH_MESSAGES", 200)
    monkeypatch.setattr(assess, "LATE_MESSAGES", 20)
    monkeypatch.setattr(assess, "FAIR_MESSAGES", 10)
    sent = 0
    for n in range(40):
        for m in range(50):
            world.send(A, 1, NOW + n * 10_000 + m)
            sent += 1
        world.send(B, 2.5 if n % 2 else 1.0, NOW + n * 10_000)
    service = world.start()
    waited = []
    while len(world.levels(B)) < 40:
        before, judged = len(world.levels(B)), len(world.levels(A))
        service.step(NOW)
        waited += [judged] * (len(world.levels(B)) - before)
    assert max(waited) <= sent // 7, "of A's 2000 messages, so many were judged before B's last"
    drain(service, NOW)
    assert len(world.levels(A)) == sent
    straight = [1.0, 2.5] * 20
    assert world.levels(B) == straight


def test_a_storm_is_named_and_a_backlog_however_long_is_none(world: World) -> None:
    for n in range(1_000):
        world.send(A, 1, NOW + n)
        world.send(B, 1, NOW + n * 10_000)
    service = world.start()
    drain(service, NOW)
    assert service.storms == [A]


def test_a_site_that_fails_among_many_joined_messages_is_told_of_up_to_the_one_that_fails(
    world: World,
) -> None:
    for level in (1, 2.5, 1, 1, 2.5, 9, 1):
        world.send(A, level)
        world.send(B, 1)
    service = world.start()
    drain(service, NOW)
    assert list(service.failed) == [A]
    steps = [steps for _, steps in world.alerts()]
    assert [Step.OPENED, Step.RESOLVED] in steps
    assert [Step.OPENED] in steps
    assert len(world.levels(B)) == 7


def test_silence_is_asked_about_only_when_quiet_and_caught_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assess, "BATCH_MESSAGES", 2)
    service = world.start()
    service.tick(NOW + 60 * MINUTE_MS)
    assert world.made[A].ticks == [], "nothing was read yet"
    world.now_ms = NOW + 30 * MINUTE_MS
    for _ in range(3):
        world.send(A, 1)
    last = world.now_ms
    service.step(last)
    service.tick(last + 60 * MINUTE_MS)
    assert world.made[A].ticks == [], "a backlog is coming in"
    service.step(last)
    service.tick(last)
    assert (len(world.made[A].ticks), len(world.made[B].ticks)) == (0, 1)
    service.tick(last + 10 * MINUTE_MS)
    assert len(world.made[A].ticks) == 1


def test_no_site_is_silent_while_the_hub_itself_hears_nothing(world: World) -> None:
    world.send(A, 1)
    service = world.start()
    drain(service, NOW)
    arrived_ms, hour_ms = NOW, 60 * MINUTE_MS
    service.tick(arrived_ms + hour_ms, None)
    assert world.made[A].ticks == []
    back_ms = arrived_ms + hour_ms
    service.tick(back_ms + assess.QUIET_MS - 1, back_ms)
    assert world.made[A].ticks == [], "its agent has yet to come back"
    service.tick(back_ms + assess.QUIET_MS, back_ms)
    assert world.made[A].ticks == [back_ms + assess.QUIET_MS]


def test_what_waits_for_a_lost_message_is_judged_when_the_site_falls_silent(world: World) -> None:
    service = world.start()
    world.send(A, 1, seq=1)
    world.send(A, 2.5, seq=3)
    drain(service, NOW)
    assert world.levels(A) == [1]
    service.tick(world.now_ms + 11 * MINUTE_MS)
    assert world.levels(A) == [1, 2.5]
    assert _only(world.ledger).key == A
    service.settle(world.now_ms)
    assert service.safe_position() == world.inbox.last_id(), "it does not hold the inbox up"


def test_silence_is_noticed_though_the_clock_was_far_ahead_when_the_hub_began(world: World) -> None:
    year = 365 * 24 * 60 * MINUTE_MS
    world.now_ms = NOW + year
    service = world.start()
    drain(service, NOW)
    service.tick(NOW)
    assert world.made[A].ticks == []
    service.tick(NOW + 10 * MINUTE_MS)
    assert len(world.made[A].ticks) == 1


def test_a_recording_is_never_silent(world: World) -> None:
    world.ledger.put_site(A, Site(A.site, mode=SiteMode.RECORDING), SYSTEM, NOW)
    service = world.start()
    service.step(NOW)
    service.tick(NOW + 60 * MINUTE_MS)
    assert (len(world.made[A].ticks), len(world.made[B].ticks)) == (0, 1)


@pytest.mark.parametrize("how", ["edge", "row"])
def test_a_site_that_lost_its_power_is_asked_after_a_minute(world: World, how: str) -> None:
    service = world.start()
    world.send(A, 1, power_ok=1)
    world.send(B, 1, power_ok=1)
    if how == "edge":
        world.edge(A, "power_ok", 0)
    else:
        world.send(A, 1, power_ok=0)
    drain(service, NOW)
    service.settle(NOW)
    for _ in range(2):  # also after a restart
        soon = world.now_ms + MINUTE_MS
        service.tick(soon)
        assert (len(world.made[A].ticks), len(world.made[B].ticks)) == (1, 0)
        service = world.start()
        drain(service, NOW)
    world.send(A, 1, power_ok=1)
    drain(service, NOW)
    service.tick(world.now_ms + MINUTE_MS)
    assert world.made[A].ticks == []


def test_lost_power_and_then_nothing_is_an_alert_within_two_minutes() -> None:
    """The real assessor: its rule needs half a minute, and nobody sends any more."""
    world = World()
    world._make = lambda key, site, log, state: SiteAssessor(  # type: ignore[method-assign]
        key, site, fit=lambda request: None, log=log, state=state
    )
    service = world.start()
    for n in range(5):
        world.send(A, 1 + n / 100, power_ok=1)
    world.edge(A, "power_ok", 0)
    last = world.now_ms
    for second in range(121):
        service.step(last + second * SECOND_MS)
        service.tick(last + second * SECOND_MS)
    assert [alert.fault for alert in world.ledger.open_alerts(A)] == [("power_outage",)]
    assert world.ledger.open_alerts(B) == []


# -- people --------------------------------------------------------------------------------------


class BusyLedger(MemoryLedger):
    """Somebody in another process acknowledges just before diagnosis writes."""

    def __init__(self) -> None:
        super().__init__()
        self.before_commit = lambda: None

    def commit_assessment(
        self,
        checkpoints: Sequence[Checkpoint],
        changes: Sequence[AlertChange],
        cycles: Sequence[tuple[SiteKey, CycleRow]],
    ) -> None:
        self.before_commit()
        super().commit_assessment(checkpoints, changes, cycles)


def test_a_person_who_acknowledges_in_between_is_heard_and_nothing_is_lost() -> None:
    ledger = BusyLedger()
    world = World(ledger)
    service = world.start()
    world.send(A, 2.5)
    drain(service, NOW)
    people = AlertService(ledger, ledger, ManualClock(NOW), Policy())

    def acknowledge() -> None:
        ledger.before_commit = lambda: None
        people.acknowledge(_only(ledger).id, Actor("sato", "crew"))

    ledger.before_commit = acknowledge
    world.send(A, 3.5)
    drain(service, NOW)
    alert = _only(ledger)
    assert alert.acknowledged_by == "sato"
    assert alert.score == pytest.approx(0.35)
    steps = [t.step for t in ledger.transitions(alert.id)]
    assert steps == [Step.OPENED, Step.ACKNOWLEDGED, Step.WORSENED]


def test_a_conflict_that_never_ends_is_no_endless_loop_and_is_tried_again_later() -> None:
    ledger = BusyLedger()
    world = World(ledger)
    service = world.start()

    def refuse() -> None:
        raise Conflict("taken")

    ledger.before_commit = refuse
    world.send(A, 2.5)
    with pytest.raises(Conflict):
        service.step(NOW)
    ledger.before_commit = lambda: None
    service.step(NOW)
    assert _only(ledger).key == A


class PickyLedger(MemoryLedger):
    """Cannot write what is found at site A."""

    problem: Exception = TypeError("it is no JSON")

    def commit_assessment(
        self,
        checkpoints: Sequence[Checkpoint],
        changes: Sequence[AlertChange],
        cycles: Sequence[tuple[SiteKey, CycleRow]],
    ) -> None:
        if any(change.alert.key == A for change in changes):
            raise self.problem
        super().commit_assessment(checkpoints, changes, cycles)


def test_a_finding_that_cannot_be_written_holds_no_other_sites_alert_up() -> None:
    world = World(PickyLedger())
    service = world.start()
    world.send(A, 2.5)
    world.send(B, 2.5)
    drain(service, NOW)
    assert _only(world.ledger).key == B
    assert service.failed == {A: "TypeError: it is no JSON"}
    service.settle(NOW)
    assert world.ledger.positions().keys() == {B}, "A is tried again when the hub starts again"


def test_a_conflict_about_one_site_holds_no_other_sites_alert_up() -> None:
    ledger = PickyLedger()
    ledger.problem = Conflict("taken")
    world = World(ledger)
    service = world.start()
    world.send(A, 2.5)
    world.send(B, 2.5)
    with pytest.raises(Conflict):
        service.step(NOW)
    assert _only(ledger).key == B
    assert service.failed == {}
    ledger.problem = StoreUnavailable("the disk is away", "bring it back")
    with pytest.raises(StoreUnavailable):
        service.step(NOW)
    assert service.failed == {}, "a store that is away is nobody's fault"


class Rain(FakeAssessor):
    """Finds new water in the first row."""

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        found = super().feed(chunk, edges)
        water = Finding(
            self.key, int(chunk.t_ms[0]), Phase.OPENED, "inflow_change", Kind.PREDICTIVE,
            Severity.WARNING, ("inflow_change",), None, 0.5, {},
        )  # fmt: skip
        return replace(found, findings=[water])


@pytest.mark.parametrize("at_once", [True, False], ids=["in one step", "one after another"])
def test_new_water_at_many_stations_is_seen_at_once_and_told_when_it_still_stands(
    world: World, at_once: bool
) -> None:
    world.makes = Rain
    keys = [A, B, SiteKey("default", "mh0003"), SiteKey("default", "mh0004")]
    for key in keys[2:]:
        world.ledger.put_site(key, Site(key.site), SYSTEM, NOW)
    service = world.start()
    for key in keys:
        world.send(key, 1.0)
        if not at_once:
            drain(service, world.now_ms)
    drain(service, world.now_ms)
    waits = {
        alert.key.site: row.due_ms - world.now_ms > DAY_MS
        for alert in world.ledger.alerts()
        for row in world.ledger.owed_for(alert.id)
    }
    assert list(dict(sorted(waits.items())).values()) == [False, False, True, True]
    held = {a.key.site for a in world.ledger.alerts()
            if world.ledger.transitions(a.id)[0].why == HELD}  # fmt: skip
    assert held == {"mh0003", "mh0004"}


def _only(ledger: MemoryLedger) -> Alert:
    (alert,) = ledger.open_alerts()
    return alert


def test_what_is_sent_is_what_is_read(world: World) -> None:
    world.send(A, 1.25)
    (row,) = world.inbox.read(0, 10)
    message = decode(row.topic, row.payload, row.received_ms)
    assert isinstance(message, Telemetry)
    assert message.chunk.signals["level_m"].tolist() == [1.25]
