"""Bytes of a database that turn into others: never another exception than one that names the file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Owed, Severity, Step, Transition
from pumpwatch.domain.errors import PumpwatchError, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth, Lane, Stamp
from pumpwatch.domain.ports import AlertChange, Checkpoint, InboxRow
from pumpwatch.domain.sites import Site
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.sqlite import RESTORE, damage

NOW_MS = 1_763_607_600_000
PAGE = 4_096
TRIED = 15
KEYS = [SiteKey("default", f"mh-{n:02}") for n in range(20)]


def fill_inbox(path: Path) -> None:
    with closing(SqliteInbox(path)) as inbox:
        for seq in range(1, 40):
            rows = [
                InboxRow(
                    Stamp(key, "e", Lane.TELEMETRY, seq, NOW_MS), f"t/{key}", b"x" * 200, NOW_MS
                )
                for key in KEYS
            ]
            inbox.commit(rows, [], NOW_MS)


def read_inbox(path: Path) -> None:
    with closing(SqliteInbox(path)) as inbox:
        inbox.read(0, 10_000)
        inbox.standing()
        inbox.waiting(0, 10_000, 10_000)
        inbox.commit([InboxRow(Stamp(KEYS[0], "e", Lane.TELEMETRY, 99, 1), "t", b"{}", 1)], [], 1)


def fill_ledger(path: Path) -> None:
    with closing(SqlLedger(f"sqlite:///{path}")) as ledger:
        for n, key in enumerate(KEYS):
            ledger.put_site(key, Site(key.site, name="港町" * 10), SYSTEM, NOW_MS)
            ledger.put_birth(Birth(key, True, "b", "0.1", {"level_m": {}}, 10.0), NOW_MS)
            alert = Alert(
                f"a{n}", key, "high_level", Kind.CONDITION, Severity.CRITICAL, ("high_level",), None,
                1.0, {"since": "2025-11-20T00:00:00Z"}, NOW_MS, NOW_MS,
            )  # fmt: skip
            step = Transition(
                1, Step.OPENED, NOW_MS, NOW_MS, SYSTEM, Severity.CRITICAL, ("high_level",)
            )
            change = AlertChange(alert, [step], [Owed(alert.id, 1, "webhook", NOW_MS)])
            ledger.commit_assessment([Checkpoint(key, 5, bytes(500))], [change], [])


def read_ledger(path: Path) -> None:
    with closing(SqlLedger(f"sqlite:///{path}")) as ledger:
        ledger.sites()
        ledger.births()
        ledger.positions()
        for alert in ledger.alerts(limit=1_000):
            ledger.transitions(alert.id)
        ledger.due(NOW_MS)


@pytest.fixture(scope="module", params=["inbox.db", "core.db"])
def sound(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Callable[[Path], None]]:
    """A database with content, closed, and all that a hub does with it."""
    path = tmp_path_factory.mktemp("sound") / request.param
    fill, read = {
        "inbox.db": (fill_inbox, read_inbox),
        "core.db": (fill_ledger, read_ledger),
    }[request.param]
    fill(path)
    read(path)
    return path, read


def test_a_page_that_is_lost_is_named_with_the_way_out(
    sound: tuple[Path, Callable[[Path], None]], tmp_path: Path
) -> None:
    """Pages all over the file but the first, which says whether it is a database at all."""
    source, read = sound
    assert damage(source) == ""
    content, told = source.read_bytes(), list[StoreUnavailable]()
    pages = range(PAGE, len(content), PAGE)
    for at in pages[:: -(-len(pages) // TRIED)]:
        path = tmp_path / source.name
        path.write_bytes(content[:at] + bytes(PAGE) + content[at + PAGE :])
        try:
            read(path)
        except StoreUnavailable as error:
            told.append(error)
        for file in tmp_path.iterdir():
            file.unlink()
    assert len(told) > 3
    assert {error.remedy for error in told} == {RESTORE}
    assert all(source.name in error.problem for error in told)


def test_bits_that_flip_in_the_inbox_never_escape_as_anything_else(tmp_path: Path) -> None:
    source = tmp_path / "sound" / "inbox.db"
    source.parent.mkdir()
    fill_inbox(source)
    random, content, told = Random(1), source.read_bytes(), list[PumpwatchError]()
    for _ in range(40):
        spoilt = bytearray(content)
        for _ in range(random.choice((1, 8, 64))):
            spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
        path = tmp_path / source.name
        path.write_bytes(spoilt)
        try:
            read_inbox(path)
        except PumpwatchError as error:
            told.append(error)
        for file in tmp_path.glob("inbox.db*"):
            file.unlink()
    assert any(error.remedy == RESTORE for error in told)
    assert all(error.remedy for error in told)
