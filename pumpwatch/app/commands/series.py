"""`pumpwatch series`: the store of samples; how it is, and how it is exchanged for another."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.app import logs
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption
from pumpwatch.app.copying import Copied, Copying
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.output import ERR, OUT, Exit, emit, facts, plain_errors, table
from pumpwatch.app.series import OWN_FILES, check_home, described, home, open_server, set_home
from pumpwatch.app.settings import SeriesSettings, Settings, load_settings
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from pumpwatch.domain.keys import SiteKey

app = typer.Typer(
    no_args_is_help=True,
    help="The store of samples. To exchange it: stop the hub, name the new one in the settings,"
    " `series use`, start the hub, `series copy`.",
)

SHOWN = 20
"""Refused lines that `show` shows; --json gives more."""
MANY = 10_000


@app.command()
def show(
    config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False
) -> None:
    """Where samples are kept, what is wrong there, and the lines it refused; exit code 3 if any."""
    with plain_errors():
        settings, directory = _settled(config, data_dir)
        told, refused = _look(settings.series, directory)
    if as_json:
        emit({**told, "refused": [{"line": line, "answer": why} for line, why in refused]})
    else:
        facts({name: value for name, value in told.items() if name != "problems"})
        for problem in told["problems"]:
            OUT.print(f"{problem['problem']}: {problem['remedy']}", highlight=False, markup=False)
        if refused:
            OUT.print(f"\nthe newest of {len(refused)} refused lines:")
            table(["line", "answer"], refused[:SHOWN], "")
    if told["problems"]:
        raise typer.Exit(Exit.DEGRADED)


def _look(
    series: SeriesSettings, directory: DataDir
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    told: dict[str, Any] = {
        "settings": described(series), "samples are in": home(directory), "problems": [],
    }  # fmt: skip
    try:
        check_home(directory, series)
    except Conflict as error:
        told["problems"].append({"problem": error.problem, "remedy": error.remedy})
    if series.engine == "sqlite":
        return told, []
    with closing(open_server(series, directory.series_sink, reader=True)) as store:
        told["position"] = store.position()
        refused = store.refused(MANY)
        try:
            found = store.problems()
        except StoreUnavailable as error:
            found = [(error.problem, error.remedy)]
    told["problems"] += [{"problem": what, "remedy": remedy} for what, remedy in found]
    return told, refused


@app.command()
def use(config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False) -> None:
    """Keep samples where the settings say from now on. The hub must be stopped.

    What was stored so far stays where it is until `pumpwatch series copy` has brought it along. Also
    right when the same server has a new address.
    """
    with plain_errors():
        settings, directory = _settled(config, data_dir)
        before, after = home(directory), described(settings.series)
        with directory.locked():
            set_home(directory, settings.series)
    old = "sqlite" if before == OWN_FILES else "OLD-SETTINGS.toml"
    told = {
        "before": before,
        "now": after,
        "next": "start the hub with pumpwatch serve",
        "then": f"bring along what was stored so far: pumpwatch series copy --from {old}",
    }
    if before == after:
        told = {"before": before, "now": after}
    emit(told) if as_json else facts(told)


@app.command()
def copy(
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="sqlite|FILE",
            help="the old store: sqlite, or the settings file that named it",
        ),
    ],
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Copy samples from an old store into the one in use; the hub may run.

    The newest come first. Stopped on the way, it goes on from there when it is run again; copied
    twice, a row is there once. The old store stays as it is.
    """
    with plain_errors():
        settings, directory = _settled(config, data_dir)
        logs.configure(settings.log_format, least=logging.WARNING)
        old = _source(source)
        if home(directory) != described(settings.series):
            raise Conflict(
                f"samples are kept in {home(directory)}, the settings name"
                f" {described(settings.series)}",
                "stop the hub, then: pumpwatch series use",
            )
        with closing(open_ledger(directory, settings.ledger)) as ledger:
            copying = Copying(directory, old, settings.series, ledger)
            with _progress(as_json) as show_progress:
                rows = copying.run(time.time_ns() // 1_000_000, show_progress)
    _account(rows, as_json)


def _account(rows: dict[SiteKey, Copied], as_json: bool) -> None:
    cells = [[*key, r.rows, r.stored, r.there, r.refused] for key, r in rows.items()]
    columns = ["tenant", "site", "rows", "copied", "already there", "refused"]
    if as_json:
        names = ["tenant", "site", "rows", "copied", "already_there", "refused"]
        emit([dict(zip(names, row, strict=True)) for row in cells])
    else:
        table(columns, cells, "no stations, nothing to copy")
    if any(r.refused for r in rows.values()):
        raise typer.Exit(Exit.DEGRADED)


def _source(text: str) -> SeriesSettings:
    if text == "sqlite":
        return SeriesSettings.model_validate({})
    if not Path(text).is_file():
        raise InvalidInput(
            "--from", f"there is no file {text}", "write sqlite, or the settings file of the server"
        )
    return load_settings(Path(text)).series


def _settled(config: Path | None, data_dir: Path | None) -> tuple[Settings, DataDir]:
    settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
    directory = DataDir(settings.data_dir)
    if directory.purpose() is None:
        raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
    if directory.purpose() != "live":
        raise Conflict(
            f"{settings.data_dir} holds {directory.purpose()} data",
            "demo and recordings always keep their samples in their own directory",
        )
    return settings, directory


@contextmanager
def _progress(hidden: bool) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    hidden = hidden or not ERR.is_terminal
    with Progress(*columns, console=ERR, disable=hidden, transient=True) as bar:
        task = bar.add_task("samples", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
