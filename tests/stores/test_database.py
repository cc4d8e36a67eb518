"""Opening a ledger file: migrations forward and back, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.errors import InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site
from pumpwatch.stores import tables
from pumpwatch.stores.database import MIGRATIONS, Database, alembic_config
from pumpwatch.stores.ledger import SqlLedger

KEY = SiteKey("default", "mh0001")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'core.db'}"


def ask(tmp_path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(tmp_path / "core.db")
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_the_migrations_lead_to_the_tables_the_code_knows(url: str) -> None:
    database = Database(url)
    with database.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    database.close()


def test_opening_a_filled_file_again_keeps_everything(url: str) -> None:
    first = SqlLedger(url)
    first.put_site(KEY, Site("mh0001", name="第一"), LOCAL, 1)
    first.close()
    second = SqlLedger(url)
    assert second.sites() == {KEY: Site("mh0001", name="第一")}
    second.close()


@pytest.mark.parametrize("filled", [False, True])
def test_downgrading_to_nothing_and_up_again_gives_a_working_ledger(url: str, filled: bool) -> None:
    ledger = SqlLedger(url)
    if filled:
        ledger.put_site(KEY, Site("mh0001"), LOCAL, 1)
    ledger.close()
    database = Database(url)
    with database.write() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert not connection.dialect.has_table(connection, "sites")
        command.upgrade(alembic_config(connection), "head")
    database.close()
    again = SqlLedger(url)
    assert again.sites() == {}
    again.put_site(KEY, Site("mh0001"), LOCAL, 2)
    assert again.site(KEY) == Site("mh0001")
    again.close()


def test_a_file_of_a_newer_pumpwatch_is_refused_in_one_sentence(tmp_path: Path, url: str) -> None:
    SqlLedger(url).close()
    ask(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(PumpwatchError, match=r"core\.db was written by a newer pumpwatch.*9999"):
        SqlLedger(url)
    assert ask(tmp_path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_migration_that_fails_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, url: str
) -> None:
    ask(tmp_path, "CREATE TABLE site_log (x)")  # in the way of a table half-way through
    with pytest.raises(StoreUnavailable, match="site_log already exists"):
        SqlLedger(url)
    assert ask(tmp_path, "SELECT name FROM sqlite_master") == [("site_log",)]
    ask(tmp_path, "DROP TABLE site_log")
    SqlLedger(url).close()


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


def test_the_revisions_are_sound_sql_for_postgresql_too() -> None:
    script = io.StringIO()
    options = {"as_sql": True, "output_buffer": script}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    for path in sorted((MIGRATIONS / "versions").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        revision = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(revision)
        with Operations.context(context):
            revision.upgrade()
    sql = script.getvalue()
    assert sql.count("CREATE TABLE") >= len(tables.metadata.tables)
    assert "ON alerts (tenant, site, cause) WHERE resolved_ms IS NULL" in sql
    assert "id BIGSERIAL" in sql
