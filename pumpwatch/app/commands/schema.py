"""`pumpwatch ledger`: where the ledger is and of which version; another version, another place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.app import ledger as ledgers
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.output import ERR, emit, facts, plain_errors
from pumpwatch.app.settings import LedgerSettings, load_settings
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.stores.database import Database

app = typer.Typer(
    no_args_is_help=True, help="The ledger as a whole: its version, and where it is kept."
)


class Place(StrEnum):
    SERVER = "server"
    FILE = "file"


@contextmanager
def _place(config: Path | None, data_dir: Path | None) -> Iterator[tuple[DataDir, LedgerSettings]]:
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        directory = DataDir(settings.data_dir)
        if directory.purpose() is None:
            raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
        yield directory, settings.ledger


@app.command()
def version(
    config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False
) -> None:
    """Say where the ledger is, which revision it has, and which one this pumpwatch works on."""
    with _place(config, data_dir) as (directory, settings):
        url = ledgers.ledger_url(directory, settings)
        with closing(Database(url, migrate=False)) as database:
            told = {
                "ledger": str(database),
                "revision": database.version() or "none yet",
                "newest": database.newest(),
            }
    emit(told) if as_json else facts(told)


@app.command()
def upgrade(
    config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False
) -> None:
    """Bring the ledger to the newest revision, as every start of the hub does by itself."""
    with (
        _place(config, data_dir) as (directory, settings),
        directory.locked(),
        closing(Database(ledgers.ledger_url(directory, settings))) as database,
    ):
        _told(database, as_json)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="an earlier revision, e.g. 0001")],
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Take the ledger back for an older pumpwatch. What only newer revisions know is lost: back up
    first. Anything this version does afterwards, but `version`, brings it forward again."""
    with _place(config, data_dir) as (directory, settings), directory.locked():
        url = ledgers.ledger_url(directory, settings)
        with closing(Database(url, migrate=False)) as database:
            database.downgrade(revision)
            _told(database, as_json)


def _told(database: Database, as_json: bool) -> None:
    told = {"ledger": str(database), "revision": database.version()}
    emit(told) if as_json else facts(told)


@app.command()
def move(
    to: Annotated[Place, typer.Argument(help="server: the one in the settings; file: core.db")],
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Copy the ledger, every row, between core.db and the server of the settings, while no hub runs."""
    with _place(config, data_dir) as (directory, server), directory.locked():
        if not server.url:
            raise InvalidInput("ledger.url", "names no server", "put it into the settings")
        if directory.purpose() != "live":
            raise InvalidInput(
                "--data-dir", f"{directory.path} holds {directory.purpose()} data",
                "only live data may be on a server",
            )  # fmt: skip
        source, target = server, LedgerSettings()
        if to is Place.SERVER:
            source, target = target, server
        with ERR.status("copying", spinner="line") as status:

            def show(table: str, rows: int) -> None:
                status.update(f"{table}: {rows} rows")

            copied = ledgers.move(directory, source, target, show)
    told = {"ledger": ledgers.described(target), "rows": sum(copied.values())}
    if to is Place.FILE:
        told["next"] = "take ledger.url out of the settings; the rows on the server stayed there"
    else:
        told["next"] = f"start the hub; the old file is {ledgers.moved_from(directory)}"
    emit(told | {"tables": copied}) if as_json else facts(told)
