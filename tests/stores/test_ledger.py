"""What the SQL ledger promises beyond its ports: crashes, threads, what it writes down."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from pumpwatch.domain.actors import LOCAL, SYSTEM, Actor
from pumpwatch.domain.alerts import (
    Alert,
    Kind,
    Owed,
    OwedState,
    Severity,
    Step,
    Transition,
    alert_id,
)
from pumpwatch.domain.errors import Conflict, InvalidInput, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange, Checkpoint
from pumpwatch.domain.sites import LogEntry, LogKind, Site
from pumpwatch.stores import tables
from pumpwatch.stores.ledger import SqlLedger

KEY = SiteKey("default", "mh0001")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[SqlLedger]:
    book = SqlLedger(ledger_url)
    yield book
    book.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "core.db"


def opened(n: int) -> AlertChange:
    cause = f"cause {n}"
    name = alert_id(KEY, cause, n)
    alert = Alert(name, KEY, cause, Kind.INFO, Severity.INFO, ("unusual",), None, 0.5, {}, n, n)
    first = Transition(1, Step.OPENED, n, n, SYSTEM, alert.severity, alert.fault)
    return AlertChange(alert, [first], [Owed(name, 1, "console", n)])


ASSESS_FOR_EVER = """
import sys
from pathlib import Path
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Owed, Severity, Step, Transition, alert_id
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange, Checkpoint
from pumpwatch.stores.ledger import SqlLedger
KEY = SiteKey("default", "mh0001")
ledger = SqlLedger((Path(sys.argv[1]) / "url").read_text())
for n in range(1, 10**9):
    name = alert_id(KEY, f"cause {n}", n)
    alert = Alert(name, KEY, f"cause {n}", Kind.INFO, Severity.INFO, ("unusual",), None, 0.5, {}, n, n)
    first = Transition(1, Step.OPENED, n, n, SYSTEM, alert.severity, alert.fault)
    change = AlertChange(alert, [first], [Owed(name, 1, "console", n)])
    ledger.commit_assessment([Checkpoint(KEY, n, b"state")], [change], [])
    print(n, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 30])
def test_a_killed_assessment_is_there_whole_or_not_at_all(
    killed: Callable[[str, int], int], tmp_path: Path, ledger_url: str, lines: int
) -> None:
    (tmp_path / "url").write_text(ledger_url)
    told = killed(ASSESS_FOR_EVER, lines)
    ledger = SqlLedger(ledger_url)
    position = ledger.positions()[KEY]
    assert position >= told
    alerts = ledger.open_alerts(KEY)
    assert len(alerts) == len(ledger.due(position, limit=10**6)) == position
    assert all(len(ledger.transitions(alert.id)) == 1 for alert in alerts)
    ledger.commit_assessment([Checkpoint(KEY, position, b"state")], [opened(position)], [])
    assert len(ledger.open_alerts(KEY)) == position
    ledger.close()


def test_what_was_committed_is_there_after_reopening(ledger_url: str, ledger: SqlLedger) -> None:
    ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    ledger.commit_assessment([Checkpoint(KEY, 9, b"\x01")], [opened(5)], [])
    (owed,) = ledger.due(5)
    ledger.attempt(owed, 6)
    ledger.close()
    again = SqlLedger(ledger_url)
    assert again.sites() == {KEY: Site("mh0001")}
    assert again.checkpoint(KEY) == Checkpoint(KEY, 9, b"\x01")
    assert again.open_alerts() == [opened(5).alert]
    assert again.due(5) == [replace(owed, attempts=1)]
    again.close()


def test_every_attempt_is_written_down_with_its_outcome(ledger: SqlLedger) -> None:
    ledger.commit_assessment([], [opened(5)], [])
    (owed,) = ledger.due(5)
    ledger.attempt(owed, 10)
    ledger.settle(replace(owed, attempts=1, due_ms=70, last_error="503"), 11)
    ledger.attempt(ledger.due(70)[0], 70)  # no answer: the hub was killed
    ledger.attempt(ledger.due(70)[0], 130)
    ledger.settle(replace(owed, attempts=3, state=OwedState.SENT), 131)
    table = tables.attempts
    with ledger._db.read() as connection:
        rows = connection.execute(
            select(
                table.c.attempt,
                table.c.started_ms,
                table.c.ended_ms,
                table.c.outcome,
                table.c.error,
            ).order_by(table.c.attempt)
        ).all()
    assert [tuple(row) for row in rows] == [
        (1, 10, 11, "owed", "503"),
        (2, 70, None, None, ""),
        (3, 130, 131, "sent", ""),
    ]


def test_a_site_written_by_a_newer_version_is_still_read(ledger: SqlLedger) -> None:
    ledger.put_site(KEY, Site("mh0001", pumps=3), LOCAL, 1)
    newer = {**Site("mh0001", pumps=3).to_dict(), "colour": "green"}
    with ledger._db.write() as connection:
        connection.execute(update(tables.sites).values(data=newer))
    assert ledger.sites() == {KEY: Site("mh0001", pumps=3)}


def test_a_locked_file_is_a_ledger_to_try_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumpwatch.stores.sqlite.BUSY_TIMEOUT_MS", 1)
    ledger = SqlLedger(f"sqlite:///{path}")
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"core\.db did not answer.*locked"):
        ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    assert ledger.sites() == {}  # reading goes on
    rival.execute("ROLLBACK")
    rival.close()
    ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    assert ledger.sites() == {KEY: Site("mh0001")}
    ledger.close()


# -- several at once -----------------------------------------------------------------------------


def test_a_writer_of_another_process_has_its_turn_first(path: Path) -> None:
    """SQLite's own lock would let the other one checkpoint beside this one's writing."""
    ledger = SqlLedger(f"sqlite:///{path}")
    with path.with_name("core.db.lock").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        waiting = threading.Thread(target=ledger.put_site, args=(KEY, Site("mh0001"), LOCAL, 1))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        assert ledger.sites() == {}  # reading goes on
    waiting.join()
    assert ledger.sites() == {KEY: Site("mh0001")}
    ledger.close()


def test_a_turn_that_does_not_come_is_a_ledger_to_try_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumpwatch.stores.database.WRITER_WAIT_S", 0.01)
    ledger = SqlLedger(f"sqlite:///{path}")
    with path.with_name("core.db.lock").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match=r"core\.db is being written by another"):
            ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    ledger.close()


@pytest.mark.postgres
def test_a_change_is_never_seen_before_one_with_a_lower_number(
    postgres_server: Any, postgres: Callable[[], str]
) -> None:
    """Else whoever follows by number would pass over the one that is committed last."""
    url = postgres()
    ledger, other = SqlLedger(url), SqlLedger(url)
    hurried = threading.Thread(target=other.put_site, args=(KEY, Site("mh0001"), LOCAL, 2))
    with ledger._db.write() as connection:
        slow = {"at_ms": 1, "actor": "ann", "role": "operator", "action": "log_added",
                "tenant": "default", "site": "mh0002"}  # fmt: skip
        connection.execute(insert(tables.audit).values(slow))
        hurried.start()
        deadline = time.monotonic() + 30
        while not postgres_server.ask("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert time.monotonic() < deadline, "the second writer did not wait for the first"
        assert ledger.changed_since(0) == (0, set())
    hurried.join()
    assert ledger.changed_since(0) == (2, {SiteKey("default", "mh0002"), KEY})
    ledger.close()
    other.close()


def test_whoever_follows_the_sites_misses_none_of_many_writers(ledger_url: str) -> None:
    writers, each = 4, 25
    ledgers = [SqlLedger(ledger_url) for _ in range(writers + 1)]

    def write(n: int) -> None:
        for i in range(each):
            ledgers[n].put_site(SiteKey(f"town{n}", f"mh{i}"), Site(f"mh{i}"), LOCAL, i)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    number, seen = 0, set[SiteKey]()
    working = True
    while working:
        working = any(thread.is_alive() for thread in threads)
        number, changed = ledgers[-1].changed_since(number)
        assert not changed & seen
        seen |= changed
    assert len(seen) == writers * each
    for ledger in ledgers:
        ledger.close()


@pytest.mark.postgres
def test_what_a_database_cannot_hold_is_named_and_not_tried_for_ever(
    postgres: Callable[[], str],
) -> None:
    ledger = SqlLedger(postgres())
    with pytest.raises(InvalidInput, match="NUL"):
        ledger.add_log(KEY, LogEntry(1, LogKind.VISIT, None, "a\x00b"), LOCAL, 1)
    ledger.close()


def test_assessment_people_and_two_notifiers_work_at_once(ledger: SqlLedger) -> None:
    """Nobody is refused but by the rules, nothing is sent twice, no page sees half an alert."""
    alerts, wrong = 60, []
    sent: list[str] = []
    done = threading.Event()

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:
                wrong.append(error)

        return run

    def assess() -> None:
        for n in range(1, alerts + 1):
            ledger.commit_assessment([Checkpoint(KEY, n, b"state")], [opened(n)], [])
        done.set()

    def browse() -> None:
        while not done.is_set():
            position = ledger.positions().get(KEY, 0)
            listed = ledger.alerts(limit=1000)
            if len(listed) < position:
                wrong.append((len(listed), position))
            if listed and not ledger.transitions(listed[0].id):
                wrong.append(listed[0])

    def acknowledge() -> None:
        ann = Actor("ann", "operator")
        while not done.is_set():
            for alert in ledger.open_alerts(KEY):
                ack = Transition(2, Step.ACKNOWLEDGED, 1, 1, ann, alert.severity, alert.fault)
                taken = replace(alert, acknowledged_ms=1, acknowledged_by=ann.id)
                try:
                    ledger.change_alert(AlertChange(taken, [ack]))
                except Conflict:
                    continue

    def notify() -> None:
        finished = False
        while not finished:
            finished = done.is_set()
            for owed in ledger.due(10**9, limit=1000):
                if ledger.attempt(owed, 1):
                    sent.append(owed.alert_id)
                    ledger.settle(replace(owed, state=OwedState.SENT), 2)

    work = [assess, browse, browse, acknowledge, acknowledge, notify]
    threads = [threading.Thread(target=guarded(part)) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(sent) == len(set(sent)) == alerts
    assert ledger.owed_counts() == {"sent": alerts}
    assert all(len(ledger.transitions(a.id)) <= 2 for a in ledger.alerts(limit=1000))
