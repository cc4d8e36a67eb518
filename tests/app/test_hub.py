"""The hub, assembled, before anything arrives: what it says when something it leans on is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pumpwatch.app.datadir import DataDir
from pumpwatch.app.demo import Demo, DemoOptions, fresh
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import MINUTE_MS, WallClock
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth, Lane, Stamp
from pumpwatch.domain.ports import Checkpoint, CommitReceipt, DoorOutcome, InboxRow, Notice
from pumpwatch.domain.sites import Site
from pumpwatch.services import outages
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.transports.mqtt import HubClient

KEY = SiteKey("default", "mh-01")


@pytest.fixture
def make_hub(tmp_path: Path, dead_port: int) -> Iterator[Callable[[], Hub]]:
    made: list[Hub] = []
    directory = DataDir(tmp_path / "hub")
    directory.claim("live")

    def make() -> Hub:
        made.append(Hub(Settings(), directory, WallClock(), [], broker_port=dead_port))
        return made[-1]

    yield make
    for hub in made:
        hub.stop()


def test_a_broker_that_is_away_is_a_problem_with_a_remedy_and_everything_else_runs(
    make_hub: Callable[[], Hub],
) -> None:
    hub = make_hub()
    hub.start()
    end = time.monotonic() + 10
    while not hub.status().problems and time.monotonic() < end:
        time.sleep(0.02)
    (line,) = hub.status().problems
    assert line.startswith("no broker at 127.0.0.1:")
    assert "start it or correct the address" in line
    assert not hub.status().broker_connected
    assert hub.caught_up()


def test_work_that_waits_too_long_for_a_stage_is_a_problem_with_a_remedy(
    make_hub: Callable[[], Hub],
) -> None:
    hub = make_hub()
    old_ms = hub.clock.now_ms() - 20 * MINUTE_MS
    stamp = Stamp(KEY, "e", Lane.TELEMETRY, 1, old_ms, low=1)
    hub.stores.inbox.commit([InboxRow(stamp, "pumpwatch/v1/x", b"{}", old_ms)], [], old_ms)
    late = {age.stage: age for age in hub.status().stages if age.is_late}
    assert set(late) == {"assess", "series"}
    assert late["assess"].waiting_ms >= 20 * MINUTE_MS
    assert any("series: waits for" in line for line in hub.status().problems)
    hub.assess.step(0)
    hub.recorder.step(0)
    assert not any(age.is_late for age in hub.status().stages)


def test_what_is_unread_without_bound_leaves_telemetry_with_the_agents(
    make_hub: Callable[[], Hub],
) -> None:
    hub = make_hub()
    assert hub._has_room(KEY)
    hub.stores.inbox.continue_after(hub.settings.inbox.backlog_messages + 1)
    hub._tend()
    assert not hub._has_room(KEY)
    assert any("telemetry is left with the agents" in line for line in hub.status().problems)


def test_every_counter_of_bad_input_is_there_from_the_start(make_hub: Callable[[], Hub]) -> None:
    counters = make_hub().status().counters
    wanted = ["held", "duplicate", "rival_senders", "failed_sites", "checkpoints_lost", "takeovers"]
    wanted += [
        f"poison_{reason}" for reason in ("json", "future", "mismatch", "not_finite", "topic")
    ]
    assert {name: counters.get(name) for name in wanted} == dict.fromkeys(wanted, 0)


def test_a_damaged_checkpoint_does_not_keep_the_hub_from_starting(
    make_hub: Callable[[], Hub],
) -> None:
    first = make_hub()
    first.stores.ledger.put_site(KEY, Site(KEY.site), SYSTEM, 1)
    first.stores.ledger.commit_assessment([Checkpoint(KEY, 5, b"rubbish")], [], [])
    assert make_hub().status().counters["checkpoints_lost"] == 1


def test_two_demos_do_not_share_a_directory(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "demo")
    with fresh(directory):
        (directory.path / "inbox.db").write_text("of the first")
        with pytest.raises(PumpwatchError, match="another hub"), fresh(DataDir(directory.path)):
            pass
        assert directory.inbox.read_text() == "of the first"
    with fresh(directory):
        assert not directory.inbox.exists(), "a demo begins anew"


@pytest.mark.parametrize("purpose", ["live", "recording"])
def test_a_demo_empties_nothing_that_is_not_a_demos(tmp_path: Path, purpose: str) -> None:
    directory = DataDir(tmp_path / "data")
    directory.claim(purpose)  # type: ignore[arg-type]
    (directory.path / "inbox.db").write_text("real")
    demo = Demo(Settings(), directory.path, DemoOptions(), [])
    with pytest.raises(PumpwatchError, match=f"holds {purpose} data.*--data-dir"):
        demo.start(lambda what, share: None)
    demo.stop()
    assert directory.inbox.read_text() == "real"


def test_a_fault_that_does_not_exist_is_named_before_the_history_is_made(tmp_path: Path) -> None:
    demo = Demo(Settings(), tmp_path, DemoOptions(stations=2), [])
    demo.check_fault("mh-02", "pump_ragging")
    with pytest.raises(InvalidInput, match="site: 'mh-99' is not simulated: use mh-01, mh-02"):
        demo.check_fault("mh-99", "pump_ragging")
    with pytest.raises(InvalidInput, match=r"fault: 'rust'.*check_valve_leak"):
        demo.check_fault("mh-02", "rust")


def test_pages_hear_of_every_change_of_a_site(make_hub: Callable[[], Hub]) -> None:
    hub = make_hub()
    watcher = hub.feed.subscribe()
    for level_m in (1.0, 1.2):
        site = Site(KEY.site, start_level_m=level_m)
        hub.stores.ledger.put_site(KEY, site, SYSTEM, 1)
        hub._tend()
        hub._tend()
        assert [(e.kind, e.data) for e in watcher.take(0)] == [("site", KEY._asdict())]


@pytest.mark.parametrize(("stuck", "settles"), [("assess", 0), ("notify", 1)])
def test_a_worker_that_does_not_end_keeps_its_state_to_itself(
    make_hub: Callable[[], Hub], monkeypatch: pytest.MonkeyPatch, stuck: str, settles: int
) -> None:
    hub = make_hub()
    settled: list[int] = []
    monkeypatch.setattr(hub.assess, "settle", settled.append)
    worker = next(w for w in hub._workers if w.name == stuck)
    monkeypatch.setattr(worker, "stop", lambda: False)
    hub.stop()
    assert len(settled) == settles
    monkeypatch.undo()


def test_a_site_that_waits_keeps_what_it_announced_though_it_goes_offline(
    make_hub: Callable[[], Hub],
) -> None:
    hub = make_hub()
    born = Birth(KEY, True, signals={"pump1_run": {}}, period_s=10)
    for birth in (born, Birth(KEY, False)):
        hub._hear(DoorOutcome([], [], [birth], {}, CommitReceipt(0, 0)))
        hub._settle_births()
    (held,) = hub.stores.ledger.held()
    assert held.birth == born


class Told:
    """A channel that keeps what it is given."""

    name = "told"

    def __init__(self) -> None:
        self.titles: list[str] = []

    def send(self, notice: Notice) -> None:
        self.titles.append(notice.title)


def rounds(hub: Hub, until: Callable[[], bool], seconds: float = 20) -> None:
    """Let the hub tend to itself and tell what it owes, until it is so."""
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        hub._tend()
        hub._notify()
        time.sleep(0.01)


def test_people_hear_that_the_hub_has_no_broker_and_meanwhile_no_sign_of_life_goes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "BACK_S", 0.05)
    directory, channel, beats = DataDir(tmp_path / "hub"), Told(), list[int]()
    directory.claim("live")
    settings = Settings.model_validate(
        {"health": {"alert_min": 0.001}, "notify": {"language": "en"}}
    )
    hub = Hub(settings, directory, WallClock(), [channel], beat=lambda: beats.append(1))
    try:
        rounds(hub, lambda: bool(channel.titles), seconds=0.2)
        assert channel.titles == [], "nobody depends on a hub without stations"
        hub.stores.ledger.put_site(KEY, Site(KEY.site), SYSTEM, 1)
        rounds(hub, lambda: bool(channel.titles))
        assert channel.titles == ["[Within hours] pumpwatch: no connection to the broker"]
        assert {"broker", "broker_lost"} <= set(hub.unwell())
        hub._heartbeat()
        assert beats == []
        monkeypatch.setattr(HubClient, "subscribed", True)
        rounds(hub, lambda: len(channel.titles) > 1)
        assert channel.titles[1:] == ["Over: pumpwatch: no connection to the broker"]
    finally:
        hub.stop()


def test_what_is_due_and_tried_by_nobody_is_as_late_as_a_channel_that_fails(
    make_hub: Callable[[], Hub],
) -> None:
    hub = make_hub()
    hub._started_ms -= 20 * MINUTE_MS
    hub._due_ms = hub.clock.now_ms() - 15 * MINUTE_MS
    late = [age.stage for age in hub.status().stages if age.is_late]
    assert late == ["notification"]


@pytest.mark.broker
def test_a_hub_that_is_well_gives_a_sign_of_life_by_itself(tmp_path: Path) -> None:
    directory, beats = DataDir(tmp_path / "hub"), list[int]()
    directory.claim("live")
    with EmbeddedBroker(tmp_path, programs=("mosquitto",)) as broker:
        settings = Settings.model_validate({"health": {"heartbeat_min": 0.001}})
        hub = Hub(
            settings,
            directory,
            WallClock(),
            [],
            broker_port=broker.port,
            beat=lambda: beats.append(1),
        )
        hub.start()
        try:
            end = time.monotonic() + 20
            while len(beats) < 2 and time.monotonic() < end:
                time.sleep(0.02)
            assert hub.unwell() == []
            assert len(beats) >= 2
        finally:
            hub.stop()
