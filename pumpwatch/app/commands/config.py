"""`pumpwatch config`: what is set, from where it may be set, and whether it is sound."""

from __future__ import annotations

import json
from typing import Any

import typer

from pumpwatch.app.commands.options import AsJson, ConfigFile
from pumpwatch.app.output import emit, facts, plain_errors
from pumpwatch.app.settings import Settings, load_settings, redacted

app = typer.Typer(no_args_is_help=True, help="Show, check and describe the settings.")


@app.command()
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting with its value in force; secrets show as stars."""
    with plain_errors():
        values = redacted(load_settings(config))
    if as_json:
        emit(values)
    else:
        facts(dict(_flat(values)))


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say whether the settings are sound; exit code 2 names the first that is not."""
    with plain_errors():
        load_settings(config)
    if as_json:
        emit({"ok": True})
    else:
        typer.echo("settings are sound")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the settings file, for editors."""
    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows
