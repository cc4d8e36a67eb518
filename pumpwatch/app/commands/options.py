"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="settings file (default: ./pumpwatch.toml)")
]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="where all state lives")]
Tenant = Annotated[str, typer.Option(help="tenant of the site")]
AsJson = Annotated[bool, typer.Option("--json", help="answer in JSON")]
