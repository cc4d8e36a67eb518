"""Opening a ledger: migrations forward and back with rows in it, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from filled_ledger import ALERT, FIRST, KEY, fill, rows
from sqlalchemy import text

from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.errors import Conflict, InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.domain.ports import AlertChange
from pumpwatch.domain.sites import Site
from pumpwatch.stores import database as module
from pumpwatch.stores import tables
from pumpwatch.stores.database import MIGRATIONS, Database, alembic_config
from pumpwatch.stores.ledger import SqlLedger


def run(url: str, sql: str) -> None:
    database = Database(url, migrate=False)
    with database.write() as connection:
        connection.execute(text(sql))
    database.close()


def version(url: str) -> str:
    database = Database(url, migrate=False)
    found = database.version()
    database.close()
    return found


# -- forward and back ----------------------------------------------------------------------------

NEXT = '''
"""What a coming version might do: a table that others refer to is altered and filled."""

import pathlib
import time

import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", {newest!r}
HERE = pathlib.Path(__file__).parent


def _half_way():
    if (HERE / "wait").exists():
        print(1, flush=True)
        time.sleep(600)


def upgrade():
    op.create_table("crews", sa.Column("name", sa.Text(), primary_key=True))
    op.execute("INSERT INTO crews VALUES ('north')")
    with op.batch_alter_table("alerts") as alerts:
        alerts.add_column(sa.Column("crew", sa.Text(), nullable=False, server_default="north"))
        alerts.alter_column("score", existing_type=sa.Float(), nullable=True)
    _half_way()


def downgrade():
    with op.batch_alter_table("alerts") as alerts:
        alerts.alter_column("score", existing_type=sa.Float(), nullable=False)
        alerts.drop_column("crew")
    _half_way()
    op.drop_table("crews")
'''

MOVE = """
import sys
from pathlib import Path
from pumpwatch.stores import database
folder = Path(sys.argv[1])
database.MIGRATIONS = folder / "migrations"
opened = database.Database((folder / "url").read_text(), migrate=False)
{move}
"""


@pytest.fixture
def coming(tmp_path: Path) -> Path:
    """The migrations of a version to come, which is one revision further."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    newest = Database(f"sqlite:///{tmp_path / 'other.db'}", migrate=False).newest()
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(newest=newest))
    return folder


def test_every_revision_goes_back_and_forth_with_rows_in_all_tables(ledger_url: str) -> None:
    fill(ledger_url)
    before = rows(ledger_url)
    assert all(before.values())
    database = Database(ledger_url)
    revisions = [r.revision for r in module._script().walk_revisions()]
    for earlier in revisions[1:]:
        database.downgrade(earlier)
        assert database.version() == earlier
        database.upgrade()
        kept = {name for name, found in rows(ledger_url).items() if found}
        assert {name: rows(ledger_url)[name] for name in kept} == {n: before[n] for n in kept}
    with pytest.raises(InvalidInput, match="none before"):
        database.downgrade(revisions[0])
    with database._altering() as connection:
        command.downgrade(alembic_config(connection), "base")
    database.close()
    assert version(ledger_url) == ""
    fill(ledger_url)
    assert rows(ledger_url).keys() == before.keys()


def test_a_version_to_come_and_back_keeps_every_row(
    ledger_url: str, coming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger_url)
    before, now = rows(ledger_url), version(ledger_url)
    with monkeypatch.context() as later:
        later.setattr(module, "MIGRATIONS", coming)
        ledger = SqlLedger(ledger_url)
        assert version(ledger_url) == "9999"
        assert rows(ledger_url) == before
        again = replace(ALERT, id="two", opened_ms=6)
        with pytest.raises(Conflict):  # the copy of a table keeps its indices
            ledger.commit_assessment([], [AlertChange(again, [FIRST])], [])
        ledger.close()
        database = Database(ledger_url)
        database.downgrade(now)
        database.close()
    assert version(ledger_url) == now
    assert rows(ledger_url) == before
    ledger = SqlLedger(ledger_url)
    assert ledger.open_alerts() == [ALERT]
    with pytest.raises(Conflict):
        ledger.commit_assessment([], [AlertChange(again, [FIRST])], [])
    ledger.close()


@pytest.mark.parametrize("move", ["opened.upgrade()", "opened.downgrade({now!r})"])
def test_a_migration_killed_half_way_has_not_happened(
    ledger_url: str, coming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    killed: Callable[[str, int], int], move: str,
) -> None:  # fmt: skip
    fill(ledger_url)
    before, now = rows(ledger_url), version(ledger_url)
    (tmp_path / "url").write_text(ledger_url)
    monkeypatch.setattr(module, "MIGRATIONS", coming)
    if "downgrade" in move:
        Database(ledger_url).close()
    began = version(ledger_url)
    (coming / "versions" / "wait").touch()
    killed(MOVE.format(move=move.format(now=now)), 1)
    assert version(ledger_url) == began
    assert rows(ledger_url) == before
    (coming / "versions" / "wait").unlink()
    Database(ledger_url).close()
    assert version(ledger_url) == "9999"
    assert rows(ledger_url) == before


def test_a_migration_that_loses_what_rows_refer_to_is_not_made(
    tmp_path: Path, coming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite copies tables with its own check switched off: ours comes at the end."""
    url = f"sqlite:///{tmp_path / 'core.db'}"
    fill(url)
    before = rows(url)
    revision = coming / "versions" / "9999_next.py"
    careless = 'op.execute("DELETE FROM alerts")\n    _half_way()\n\n\ndef downgrade'
    revision.write_text(revision.read_text().replace("_half_way()\n\n\ndef downgrade", careless))
    monkeypatch.setattr(module, "MIGRATIONS", coming)
    with pytest.raises(PumpwatchError, match="without what they refer to"):
        SqlLedger(url)
    assert rows(url) == before


def test_the_migrations_lead_to_the_tables_the_code_knows(ledger_url: str) -> None:
    database = Database(ledger_url)
    with database.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    database.close()


def test_opening_a_filled_ledger_again_keeps_everything(ledger_url: str) -> None:
    fill(ledger_url)
    before = rows(ledger_url)
    SqlLedger(ledger_url).close()
    assert rows(ledger_url) == before


def test_a_ledger_of_a_newer_pumpwatch_is_refused_in_one_sentence(ledger_url: str) -> None:
    SqlLedger(ledger_url).close()
    run(ledger_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(PumpwatchError, match=r"was written by a newer pumpwatch.*9999") as refused:
        SqlLedger(ledger_url)
    assert "of-this-test-only" not in str(refused.value), "a password is never said"
    assert version(ledger_url) == "9999"


def test_a_migration_that_fails_half_way_leaves_all_as_it_was(ledger_url: str) -> None:
    run(ledger_url, "CREATE TABLE site_log (x int)")  # in the way of a table half-way through
    with pytest.raises(StoreUnavailable, match=r"site_log.* already exists"):
        SqlLedger(ledger_url)
    run(ledger_url, "DROP TABLE site_log")
    with pytest.raises(StoreUnavailable, match="alerts"):
        run(ledger_url, "SELECT * FROM alerts")
    SqlLedger(ledger_url).close()


def test_two_who_open_a_new_ledger_at_once_make_it_once(ledger_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(SqlLedger, [ledger_url] * 4))
    ledgers[0].put_site(KEY, Site("mh0001"), LOCAL, 1)
    assert [ledger.sites() for ledger in ledgers] == [{KEY: Site("mh0001")}] * 4
    for ledger in ledgers:
        ledger.close()


# -- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'core.db'}"


@pytest.mark.postgres
def test_a_server_that_is_away_or_does_not_know_us_is_named(postgres: Callable[[], str]) -> None:
    url = postgres()
    with pytest.raises(StoreUnavailable, match=r"hub:\*\*\*@127.*password authentication failed"):
        SqlLedger(url.replace("of-this-test-only", "guessed"))
    with pytest.raises(StoreUnavailable, match="refused"):
        SqlLedger("postgresql://hub@127.0.0.1:1/ledger")


@pytest.mark.postgres
def test_one_database_has_one_hub_until_that_one_is_closed(postgres: Callable[[], str]) -> None:
    url = postgres()
    first, second = SqlLedger(url), SqlLedger(url)
    first.claim()
    with pytest.raises(Conflict, match="another hub uses"):
        second.claim()
    second.put_site(KEY, Site("mh0001"), LOCAL, 1)  # commands of people work beside the hub
    assert first.sites() == {KEY: Site("mh0001")}
    first.close()
    first.close()
    second.claim()
    second.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "postgres ql://"])
def test_an_address_of_another_kind_is_refused_with_what_it_may_be(url: str) -> None:
    with pytest.raises(InvalidInput, match="postgresql://USER@HOST"):
        SqlLedger(url)


def test_what_is_no_database_is_named(tmp_path: Path, url: str) -> None:
    (tmp_path / "core.db").write_bytes(b"this is a letter, not a ledger" * 100)
    with pytest.raises(StoreUnavailable, match=r"core\.db cannot be opened"):
        SqlLedger(url)


def test_a_ledger_needs_a_file() -> None:
    with pytest.raises(InvalidInput, match="names no file"):
        SqlLedger("sqlite://")


def test_a_reader_neither_writes_nor_checkpoints(url: str) -> None:
    database = Database(url)
    with database.read() as reader:
        assert reader.execute(text("PRAGMA wal_autocheckpoint")).scalar() == 0
        assert reader.execute(text("PRAGMA query_only")).scalar() == 1
    with database.write() as writer:
        assert writer.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert writer.execute(text("PRAGMA synchronous")).scalar() == 2
        assert writer.execute(text("PRAGMA foreign_keys")).scalar() == 1
    database.close()
