"""An archive is of one moment, is whole or refused, and becomes a hub that goes on from there."""

from __future__ import annotations

import gzip
import io
import json
import resource
import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

import pytest
from typer.testing import CliRunner

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.app import backup
from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import open_stores
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.clock import ManualClock
from pumpwatch.domain.errors import DeliveryError, PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival
from pumpwatch.domain.ports import DoorOutcome, Notice
from pumpwatch.domain.sites import Site
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.assess import AssessService
from pumpwatch.services.ingest import Door
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.notify import NotifyMachine
from pumpwatch.services.record import Recorder
from pumpwatch.stores import snapshot
from pumpwatch.stores.series_sealed import SealedSeries
from pumpwatch.transports.wire import decode, inspect

NOW = 1_763_607_600_000
STEP_MS = 10_000
KEYS = (SiteKey("default", "mh-a"), SiteKey("default", "mh-b"))
POLICY = Policy((Route("phone"),))


class Phone:
    """Counts who was told what."""

    name = "phone"

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_down = False

    def send(self, notice: Notice) -> None:
        if self.is_down:
            raise DeliveryError("no answer")
        self.told.append(notice.idempotency_key)


def message(n: int, *, low: int = 1) -> Arrival:
    """The n-th message of the town: the sites in turn, now and then with water too high."""
    key, seq = KEYS[n % 2], n // 2 + 1
    t_ms = NOW + seq * STEP_MS
    level = 2.2 if seq % 40 > 30 else 0.5 + 0.1 * (seq % 8)
    body = {
        "schema": 1, "epoch": f"e-{key.site}", "seq": seq, "low": low, "boot": "b", "sent": t_ms,
        "clock": "ntp", "t": [t_ms],
        "signals": {"level_m": [level], "pump1_run": [int(seq % 8 > 5)]},
    }  # fmt: skip
    return Arrival(f"pumpwatch/v1/{key}/telemetry", json.dumps(body).encode(), t_ms + 1_000, n)


class Town:
    """A hub without network and threads, on a real directory."""

    def __init__(self, path: Path, phone: Phone | None = None) -> None:
        self.directory, self.phone = DataDir(path), phone or Phone()
        self.directory.claim("live")
        self.stores = open_stores(self.directory)
        ledger, inbox = self.stores.ledger, self.stores.inbox
        for key in KEYS:
            if ledger.site(key) is None:
                ledger.put_site(key, Site(key.site, high_level_m=1.85), SYSTEM, NOW)
        self.door = Door(inbox, inspect, lambda: frozenset(KEYS))
        self.lock = RLock()
        self.assess = AssessService(
            inbox=inbox, alerts=ledger, sites=ledger, decode=decode, policy=POLICY,
            alert_lock=self.lock, feed=LiveFeed(), now_ms=NOW,
            make_assessor=lambda key, site, log, state: SiteAssessor(
                key, site, fit=lambda _: None, log=log, state=state
            ),
        )  # fmt: skip
        self.recorder = Recorder(inbox=inbox, sites=ledger, store=self.stores.series, decode=decode)
        self.notify = NotifyMachine(
            owed=ledger, alerts=ledger, sites=ledger, notifiers=[self.phone], policy=POLICY,
            tr=translator("en"), random=Random(1),
        )  # fmt: skip

    def take(self, first: int, end: int, **more: Any) -> DoorOutcome:
        return self.door.take([message(n, **more) for n in range(first, end)], NOW)

    def work(self) -> None:
        """Judge and record everything, and write it all down."""
        while self.assess.step(NOW):
            pass
        self.assess.settle(NOW)
        while self.recorder.step(NOW):
            pass

    def upkeep(self, seq: int) -> None:
        """Seal what came before the message ``seq``."""
        own = self.stores.series.inner
        assert isinstance(own, SealedSeries)
        while own.seal(NOW + seq * STEP_MS):
            pass

    def prune(self) -> None:
        self.stores.inbox.prune(min(self.recorder.safe_position(), self.assess.safe_position()))

    def messages(self) -> int:
        return self.stores.inbox.last_id()

    def state(self) -> dict[str, Any]:
        """All that is known of the sites."""
        self.work()
        ledger = self.stores.ledger
        rows = {key: self.stores.series.read_raw(key, 0, 2**60) for key in KEYS}
        return {
            "alerts": sorted(
                (a.id, [(t.step, t.t_ms) for t in ledger.transitions(a.id)])
                for a in ledger.alerts(limit=10_000)
            ),
            "owed": sorted(o.alert_id for a in ledger.alerts() for o in ledger.owed_for(a.id)),
            "cycles": [ledger.cycles(key, 0, 2**60) for key in KEYS],
            "checkpoints": [ledger.checkpoint(key) for key in KEYS],
            "rows": [
                (r.t_ms.tolist(), {n: v.tolist() for n, v in r.signals.items()})
                for r in rows.values()
            ],
            "watermarks": [self.stores.inbox.watermarks(key) for key in KEYS],
        }

    def close(self) -> None:
        self.stores.close()


@pytest.fixture
def make_town(tmp_path: Path) -> Iterator[Callable[..., Town]]:
    made: list[Town] = []

    def make(name: str, phone: Phone | None = None) -> Town:
        made.append(Town(tmp_path / name, phone))
        return made[-1]

    yield make
    for town in made:
        town.close()


@pytest.fixture
def archive(tmp_path: Path, make_town: Callable[..., Town]) -> Path:
    """Of a small town that works."""
    town = make_town("small")
    town.take(0, 300)
    town.work()
    model = town.directory.models / "default" / "mh-a" / "5.npz"
    model.parent.mkdir(parents=True)
    model.write_bytes(Random(1).randbytes(20_000))
    (town.directory.path / "install_id").write_text("abc123\n")
    (town.directory.path / "broker").mkdir()
    (town.directory.path / "broker" / "queue").write_text("not ours to keep")
    backup.create(town.directory.path, tmp_path / "small.tar.gz", NOW)
    return tmp_path / "small.tar.gz"


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    if code == 0:
        return done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


# -- one moment ------------------------------------------------------------------------------------


def test_a_hub_restored_from_an_archive_made_under_load_is_the_hub_of_that_moment(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    busy, done = make_town("busy"), threading.Event()
    sent = [0]

    def live() -> None:
        while not done.is_set():
            busy.take(sent[0], sent[0] + 20)
            sent[0] += 20
            busy.work()
            if sent[0] % 60 == 0:
                busy.prune()

    writer = threading.Thread(target=live)
    writer.start()
    archives = []
    try:
        for n in range(4):
            before, end = sent[0], time.monotonic() + 30
            while sent[0] < before + 200 and time.monotonic() < end:
                time.sleep(0.005)
            archives.append(tmp_path / f"{n}.tar.gz")
            backup.create(busy.directory.path, archives[-1], NOW)
    finally:
        done.set()
        writer.join()

    moments = []
    for n, file in enumerate(archives):
        assert backup.verify(file).positions["inbox.db"] > 0
        backup.restore(file, tmp_path / f"restored-{n}")
        restored = make_town(f"restored-{n}")
        moments.append(restored.messages())
        stopped = make_town(f"stopped-{n}")
        stopped.take(0, restored.messages())
        assert restored.state() == stopped.state()
    assert moments == sorted(set(moments))
    assert 0 < moments[0] < moments[-1] <= busy.messages()
    assert stopped.state()["alerts"], "there was something to lose"


def test_a_hub_that_goes_on_between_any_two_steps_leaves_the_archive_of_one_moment(
    tmp_path: Path, make_town: Callable[..., Town], monkeypatch: pytest.MonkeyPatch
) -> None:
    town, sent, sealed_up_to = make_town("town"), [0], [5]

    def goes_on(*, prunes: bool) -> None:
        town.take(sent[0], sent[0] + 10)
        sent[0] += 10
        town.work()
        town.upkeep(sealed_up_to[0])
        sealed_up_to[0] = min(
            sealed_up_to[0] + 3, 50
        )  # as ever, only what is older than the backup
        if prunes:
            town.prune()

    reading, copy = snapshot._reading, backup.copy

    def read(file: Path) -> Any:
        goes_on(prunes=False)
        return reading(file)

    def copied(*arguments: Any) -> None:
        goes_on(prunes=True)
        copy(*arguments)

    town.take(0, 100)
    sent[0] = 100
    goes_on(prunes=False)
    monkeypatch.setattr(snapshot, "_reading", read)
    monkeypatch.setattr(backup, "copy", copied)
    backup.create(town.directory.path, tmp_path / "a.tar.gz", NOW)
    backup.restore(tmp_path / "a.tar.gz", tmp_path / "new")
    new, stopped = make_town("new"), make_town("stopped")
    assert 100 < new.messages() < sent[0]
    assert list((tmp_path / "new").glob("parquet/raw/*/*/*.parquet"))
    stopped.take(0, new.messages())
    assert new.state() == stopped.state()


def test_a_prune_while_the_archive_begins_takes_nothing_that_its_consumers_need(
    tmp_path: Path, make_town: Callable[..., Town], monkeypatch: pytest.MonkeyPatch
) -> None:
    town, opened = make_town("town"), []
    town.take(0, 100)
    reading = snapshot._reading

    def and_then_the_hub_goes_on(file: Path) -> Any:
        opened.append(file.name)
        if opened == ["inbox.db", "core.db", "series.db", "rollups.db"]:
            town.work()
            town.prune()
            assert not town.stores.inbox.read(0, 1), "all of it was pruned"
        return reading(file)

    monkeypatch.setattr(snapshot, "_reading", and_then_the_hub_goes_on)
    backup.create(town.directory.path, tmp_path / "a.tar.gz", NOW)
    backup.restore(tmp_path / "a.tar.gz", tmp_path / "new")
    assert make_town("new").state() == town.state()
    assert len(opened) > 4


def test_what_was_sent_is_not_sent_again_and_what_is_owed_is_sent_once(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    old = make_town("old")
    old.take(0, 62)  # mh-a reaches seq 31, the first high water; mh-b too
    old.take(62, 80)
    old.work()
    old.notify.step(NOW)
    told = len(old.phone.told)
    assert told == 2
    ledger = old.stores.ledger
    first = ledger.open_alerts()[0]
    service = AlertService(ledger, ledger, ManualClock(NOW), POLICY, old.lock)
    service.acknowledge(first.id, Actor("sato", "crew"))
    old.phone.is_down = True
    old.take(80, 145)  # both end, and come again
    old.work()
    old.notify.step(NOW)
    assert len(old.phone.told) == told
    owed = ledger.owed_counts()["owed"]
    assert owed > 0
    made = backup.create(old.directory.path, tmp_path / "a.tar.gz", NOW)
    assert made.owed == owed

    backup.restore(tmp_path / "a.tar.gz", tmp_path / "new")
    phone = Phone()
    new = make_town("new", phone)
    for minute in range(20):
        new.work()
        new.notify.step(NOW + minute * 600_000)
    assert set(phone.told) & set(old.phone.told) == set()
    assert len(phone.told) == len(set(phone.told)) > 0
    assert "owed" not in new.stores.ledger.owed_counts()


# -- going on --------------------------------------------------------------------------------------


def test_a_restored_hub_takes_what_agents_send_again_exactly_once(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    old = make_town("old")
    old.take(0, 200)
    old.work()
    backup.create(old.directory.path, tmp_path / "a.tar.gz", NOW)
    backup.restore(tmp_path / "a.tar.gz", tmp_path / "new")
    new, straight = make_town("new"), make_town("straight")
    outcome = new.take(150, 400)
    assert (outcome.receipt.stored, outcome.receipt.duplicates) == (200, 50)
    straight.take(0, 400)
    assert new.state() == straight.state()


def test_a_restored_hub_says_its_own_watermark_and_passes_what_is_gone_from_the_agents(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    old = make_town("old")
    old.take(0, 200)  # each site to seq 100
    old.work()
    backup.create(old.directory.path, tmp_path / "a.tar.gz", NOW)
    old.take(200, 300)  # to 150, and confirmed: gone from the agents, and with the old hub
    backup.restore(tmp_path / "a.tar.gz", tmp_path / "new")
    new = make_town("new")
    heard = new.take(198, 200).watermarks
    assert {w.telemetry for w in heard} == {100}, "not what the lost hub had confirmed"
    went_on = new.take(300, 400, low=151).watermarks
    assert {w.telemetry for w in went_on} == {200}
    new.work()
    times = new.stores.series.read_raw(KEYS[0], 0, 2**60).t_ms
    assert [(t - NOW) // STEP_MS for t in times.tolist()] == [*range(1, 101), *range(151, 201)]


def test_the_archive_holds_models_and_name_but_no_broker_and_no_lock(
    archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names[0] == "manifest.json"
    assert sorted(names[1:]) == [
        "core.db", "inbox.db", "install_id", "models/default/mh-a/5.npz", "purpose",
        "rollups.db", "series.db",
    ]  # fmt: skip
    backup.restore(archive, tmp_path / "new")
    for name in ("install_id", "purpose", "models/default/mh-a/5.npz"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()
    assert not [p for p in (tmp_path / "new").iterdir() if p.name.startswith(".")]


# -- what is refused -------------------------------------------------------------------------------


def rewritten(archive: Path, change: Callable[[dict[str, Any]], None], name: str = "") -> Path:
    """The archive with its manifest changed; ``name`` is given to the first member instead."""
    other = archive.with_name("other.tar.gz")
    with tarfile.open(archive) as old, tarfile.open(other, "w:gz") as new:
        for n, entry in enumerate(old.getmembers()):
            content = old.extractfile(entry).read()  # type: ignore[union-attr]
            if entry.name == "manifest.json":
                manifest = json.loads(content)
                change(manifest)
                content = json.dumps(manifest).encode()
                entry.size = len(content)
            elif n == 1 and name:
                entry.name = name
            new.addfile(entry, io.BytesIO(content))
    return other


def test_no_flipped_bit_changes_what_is_restored(archive: Path, tmp_path: Path) -> None:
    good, random = archive.read_bytes(), Random(7)
    content = gzip.decompress(good)
    bad, refusals = tmp_path / "bad.tar.gz", []
    for at in [*(random.randrange(10, len(good)) for _ in range(60)), len(good) - 1]:
        flipped = bytearray(good)
        flipped[at] ^= 1 << random.randrange(8)
        bad.write_bytes(flipped)
        try:
            backup.verify(bad)
        except PumpwatchError as error:
            refusals.append(str(error))
        else:  # among equal bytes, deflate can say the same in two ways
            assert gzip.decompress(flipped) == content
    assert len(refusals) > 30
    assert all("is damaged" in line for line in refusals)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_archive_is_refused_with_one_line_and_leaves_no_directory(
    archive: Path, tmp_path: Path, share: float
) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    assert "is damaged or no backup" in run("backup", "verify", archive, code=1)
    line = run("backup", "restore", archive, "--data-dir", tmp_path / "new", code=1)
    assert "use another backup" in line
    assert not (tmp_path / "new").exists()


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"hello"))
    for name in ("text", "other.gz"):
        assert "damaged or no backup" in run("backup", "verify", tmp_path / name, code=1)
    assert "No such file" in run("backup", "verify", tmp_path / "none", code=1)


def test_an_archive_of_a_newer_format_is_refused(archive: Path) -> None:
    def newer(manifest: dict[str, Any]) -> None:
        manifest.update(format=backup.FORMAT + 1, pumpwatch="9.0", members="packed otherwise")

    line = run("backup", "verify", rewritten(archive, newer), code=1)
    assert "made by pumpwatch 9.0" in line
    assert "install that version" in line


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("core.db", "UPDATE alembic_version SET version_num = '9999'"),
        ("inbox.db", "PRAGMA user_version = 99"),
    ],
)
def test_stores_of_a_newer_pumpwatch_are_refused(
    tmp_path: Path, make_town: Callable[..., Town], file: str, statement: str
) -> None:
    town = make_town("town")
    with sqlite3.connect(town.directory.path / file, isolation_level=None) as database:
        database.execute(statement)
    database.close()
    backup.create(town.directory.path, tmp_path / "a.tar.gz", NOW)
    line = run("backup", "restore", tmp_path / "a.tar.gz", "--data-dir", tmp_path / "new", code=1)
    assert f"{file} was written by a newer pumpwatch" in line
    assert "install that version" in line
    assert not (tmp_path / "new").exists()


def test_consumers_ahead_of_the_inbox_are_refused(
    tmp_path: Path, make_town: Callable[..., Town]
) -> None:
    town = make_town("town")
    town.take(0, 10)
    town.work()
    town.stores.series.write([], 11)
    backup.create(town.directory.path, tmp_path / "a.tar.gz", NOW)
    line = run("backup", "verify", tmp_path / "a.tar.gz", code=1)
    assert "series.db is ahead of the inbox" in line


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "models/../../evil", "hub.lock"])
def test_nothing_is_written_outside_the_directory(archive: Path, tmp_path: Path, name: str) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        members = manifest["members"]
        members[name] = members["core.db"]

    with pytest.raises(PumpwatchError, match="would be written elsewhere"):
        backup.restore(rewritten(archive, rename, name), tmp_path / "deep" / "new")
    assert not list(tmp_path.rglob("evil"))


def test_a_directory_that_is_not_empty_is_left_alone(archive: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "inbox.db").write_text("precious")
    line = run("backup", "restore", archive, "--data-dir", there, code=1)
    assert "is not empty" in line
    assert [p.name for p in there.iterdir()] == ["inbox.db"]


def test_a_disk_of_its_own_is_restored_into(archive: Path, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    (mount / "lost+found").mkdir(parents=True)
    answer = json.loads(run("backup", "restore", archive, "--data-dir", mount, "--json"))
    assert answer["restored to"] == str(mount)
    assert DataDir(mount).purpose() == "live"


def test_a_restore_that_is_killed_leaves_nothing_a_hub_would_take(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.parent.name == "new":
            if len(moved) == 3:
                raise KeyboardInterrupt
            moved.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        backup.restore(archive, tmp_path / "new")
    assert moved[0] == "inbox.db"
    with pytest.raises(PumpwatchError, match="unknown purpose"):
        DataDir(tmp_path / "new").claim("live")


# -- no room, no data ------------------------------------------------------------------------------


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """No file may grow beyond so many bytes: to a writer, the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("full_at", ["copying", "packing"])
def test_a_full_disk_leaves_the_last_archive_and_no_half_one(
    archive: Path, tmp_path: Path, small_files: Callable[[int], None], full_at: str
) -> None:
    last, source = archive.read_bytes(), tmp_path / "small"
    largest = (source / "core.db").stat().st_size
    for n in range(20):  # together more than any one file, and not to be compressed
        noise = Random(n).randbytes(largest // 2)
        (source / "models" / "default" / "mh-a" / f"{n}.npz").write_bytes(noise)
    small_files(largest * 3 if full_at == "packing" else largest // 2)
    line = run("backup", "create", archive, "--data-dir", source, code=1)
    assert "disk" in line
    assert archive.read_bytes() == last
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_without_data_there_is_no_archive(tmp_path: Path) -> None:
    line = run("backup", "create", tmp_path / "a.tar.gz", "--data-dir", tmp_path / "x", code=1)
    assert "holds no data" in line
    assert list(tmp_path.iterdir()) == []


def test_the_commands_answer_machines_and_people(archive: Path, tmp_path: Path) -> None:
    source, file = tmp_path / "small", tmp_path / "again.tar.gz"
    made = json.loads(run("backup", "create", file, "--data-dir", source, "--json"))
    checked = json.loads(run("backup", "verify", file, "--json"))
    assert checked["verdict"] == "sound"
    assert made["rows"] == checked["rows"]
    assert made["rows"]["inbox.db"]["messages"] == 300
    assert made["positions"] == {"core.db": 300, "inbox.db": 300, "series.db": 300}
    assert file.stat().st_mode & 0o777 == 0o600
    assert "next" in run("backup", "restore", file, "--data-dir", tmp_path / "new")
