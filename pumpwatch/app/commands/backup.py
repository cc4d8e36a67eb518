"""`pumpwatch backup`: one archive of everything, made while the hub runs, checked, and brought back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.app import backup as backups
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption
from pumpwatch.app.output import ERR, emit, facts, plain_errors
from pumpwatch.app.settings import load_settings
from pumpwatch.domain.alerts import iso_utc

app = typer.Typer(no_args_is_help=True, help="Back up everything the hub keeps, and restore it.")

Archive = Annotated[Path, typer.Argument(metavar="FILE", help="the archive, a .tar.gz")]


@app.command()
def create(
    archive: Archive, data_dir: DataDirOption = None, config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write one archive of everything as it is at this moment; the hub may go on."""
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        now_ms = time.time_ns() // 1_000_000
        with _progress(as_json) as show:
            made = backups.create(settings.data_dir, archive, now_ms, show, settings.ledger)
    _answer(archive, made, as_json, {"next": f"pumpwatch backup verify {archive}"})


@app.command()
def verify(archive: Archive, as_json: AsJson = False) -> None:
    """Check that an archive is whole and could be restored; it is unpacked beside itself for that."""
    with plain_errors(), _progress(as_json) as show:
        found = backups.verify(archive, show)
    _answer(archive, found, as_json, {"verdict": "sound"})


@app.command()
def restore(
    archive: Archive,
    data_dir: Annotated[Path, typer.Option(help="where the state is to live: new or empty")],
    as_json: AsJson = False,
) -> None:
    """Check an archive and make a new data directory from it."""
    with plain_errors(), _progress(as_json) as show:
        found = backups.restore(archive, data_dir, show)
    _answer(
        archive,
        found,
        as_json,
        {
            "restored to": str(data_dir),
            "next": "make sure that the old hub stays off, then start this one with pumpwatch serve",
            "then": f"{found.owed} notifications that were still owed are sent; those that were sent"
            " are not sent again",
            "agents": "send again whatever they still hold; what the lost hub had confirmed to them"
            " since this backup was made is gone",
        },
    )


@contextmanager
def _progress(hidden: bool) -> Iterator[backups.Progress]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    hidden = hidden or not ERR.is_terminal
    with Progress(*columns, console=ERR, disable=hidden, transient=True) as bar:
        task = bar.add_task("backup", total=None)

        def show(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield show


def _answer(archive: Path, manifest: backups.Manifest, as_json: bool, more: dict[str, Any]) -> None:
    told = {
        "archive": str(archive),
        "bytes": archive.stat().st_size,
        "made": iso_utc(manifest.made_ms),
        "pumpwatch": manifest.pumpwatch,
        "purpose": manifest.purpose,
        "files": len(manifest.members),
        "unpacked_bytes": sum(member.bytes for member in manifest.members.values()),
        "owed": manifest.owed,
    }
    if as_json:
        emit({**told, "positions": manifest.positions, "rows": manifest.rows, **more})
    else:
        facts({**told, **more})
