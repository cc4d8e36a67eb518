"""The command line: ``pumpwatch COMMAND``. Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch import __version__
from pumpwatch.app.commands import backup, config, judge, ledger, models, run, schema, series
from pumpwatch.app.commands.benchmark import benchmark, score
from pumpwatch.app.commands.doctor import doctor
from pumpwatch.app.commands.export import export
from pumpwatch.app.commands.simulate import simulate
from pumpwatch.app.commands.study import study
from pumpwatch.app.commands.tune import tune

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Watch a town's sewer manhole pumps and repair them before they fail.",
)
app.add_typer(run.demo_app, name="demo")
app.command()(run.serve)
app.command()(simulate)
app.command()(run.replay)
app.command()(judge.backtest)
app.command()(judge.train)
app.command()(benchmark)
app.command()(score)
app.command()(study)
app.command()(tune)
app.add_typer(ledger.sites_app, name="sites")
app.add_typer(ledger.alerts_app, name="alerts")
app.add_typer(models.app, name="models")
app.add_typer(schema.app, name="ledger")
app.add_typer(backup.app, name="backup")
app.add_typer(series.app, name="series")
app.add_typer(config.app, name="config")
app.command()(doctor)
app.command()(export)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Set PUMPWATCH_DEBUG=1 to see the traceback behind an error."""


def main() -> None:
    app()
