"""A backup of a hub whose ledger is on a server: the archive is the one every hub makes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filled_ledger import KEY, fill, rows

from pumpwatch.app import backup
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import open_stores
from pumpwatch.app.ledger import move
from pumpwatch.app.settings import LedgerSettings
from pumpwatch.domain.errors import Conflict, StoreUnavailable
from pumpwatch.domain.messages import Lane, Stamp
from pumpwatch.domain.ports import Checkpoint, InboxRow

pytestmark = pytest.mark.postgres
PASSWORD = "of-this-test-only"


@pytest.fixture
def server(postgres: Callable[[], str]) -> LedgerSettings:
    return LedgerSettings(url=postgres().replace(f":{PASSWORD}", ""), password=PASSWORD)


def url_of(server: LedgerSettings) -> str:
    return server.url.replace("hub@", f"hub:{PASSWORD}@")


@pytest.fixture
def directory(tmp_path: Path, server: LedgerSettings) -> DataDir:
    """A live directory with its ledger on the server, and the empty inbox of a hub that ran."""
    directory = DataDir(tmp_path / "data")
    directory.claim("live")
    open_stores(directory, None, server).close()
    return directory


def message(n: int) -> InboxRow:
    stamp = Stamp(KEY, "e1", Lane.TELEMETRY, n, n)
    return InboxRow(stamp, f"pumpwatch/v1/{KEY}/telemetry", b"{}", n)


def test_what_is_restored_is_every_row_that_was_on_the_server(
    tmp_path: Path, directory: DataDir, server: LedgerSettings, postgres: Callable[[], str]
) -> None:
    fill(url_of(server))
    stores = open_stores(directory, None, server)  # which lets the inbox count on behind it
    stores.inbox.commit([message(1)], [], 1)
    stores.close()
    archive, restored = tmp_path / "backup.tar.gz", DataDir(tmp_path / "restored")
    made = backup.create(directory.path, archive, 1, ledger=server)
    assert made.positions["core.db"] == 7
    assert made.owed == 1
    assert not any("lock" in name or "home" in name for name in made.members)
    assert backup.verify(archive) == made
    backup.restore(archive, restored.path)
    assert rows(restored.core_url) == rows(url_of(server))
    with pytest.raises(Conflict, match="move it with: pumpwatch ledger move"):
        open_stores(restored, None, server)
    new = LedgerSettings(url=postgres().replace(f":{PASSWORD}", ""), password=PASSWORD)
    move(restored, LedgerSettings(), new)
    assert rows(url_of(new)) == rows(url_of(server))


def test_under_load_no_archive_has_a_ledger_ahead_of_its_inbox(
    tmp_path: Path, directory: DataDir, server: LedgerSettings
) -> None:
    stores = open_stores(directory, None, server)
    done = threading.Event()

    def work() -> None:
        n = 0
        while not done.is_set():
            n += 1
            stores.inbox.commit([message(n)], [], n)
            stores.ledger.commit_assessment([Checkpoint(KEY, n, b"state")], [], [])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for n in range(3):
            made = backup.create(directory.path, tmp_path / f"{n}.tar.gz", 1, ledger=server)
            assert 0 < made.positions["core.db"] <= made.positions["inbox.db"]
            backup.verify(tmp_path / f"{n}.tar.gz")
    finally:
        done.set()
        worker.join()
        stores.close()


def test_without_its_server_no_backup_is_made_and_the_last_one_stays(
    tmp_path: Path, directory: DataDir, server: LedgerSettings
) -> None:
    archive = tmp_path / "backup.tar.gz"
    backup.create(directory.path, archive, 1, ledger=server)
    before = archive.read_bytes()
    wrong = LedgerSettings(url=server.url, password="guessed")
    with pytest.raises(StoreUnavailable, match="authentication failed"):
        backup.create(directory.path, archive, 2, ledger=wrong)
    with pytest.raises(Conflict, match="go back to those settings"):
        backup.create(directory.path, archive, 2, ledger=LedgerSettings())
    assert archive.read_bytes() == before
