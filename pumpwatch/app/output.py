"""How commands answer: a table for people, JSON for machines, one line for an error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pumpwatch.domain.errors import InvalidInput, PumpwatchError

OUT = Console()
ERR = Console(stderr=True)


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3

    @classmethod
    def of(cls, failed: int, whole: int) -> Exit:
        """How work on many things ended of which some failed."""
        if failed == 0:
            return cls.OK
        return cls.DEGRADED if failed < whole else cls.FAILED


def emit(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table on a terminal; where there is nothing to show, ``empty`` says what that means."""
    if not rows:
        OUT.print(empty)
        return
    drawn = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    OUT.print(drawn)


def facts(data: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, data), default=0)
    for name, value in data.items():
        OUT.print(f"{name:<{width}}  {value}", highlight=False)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an expected problem into one line and an exit code; PUMPWATCH_DEBUG shows the traceback."""
    try:
        yield
    except (PumpwatchError, OSError) as error:
        if os.environ.get("PUMPWATCH_DEBUG"):
            raise
        # said as it stands: a path may hold brackets, and a terminal's width breaks no line
        line = str(error) if isinstance(error, PumpwatchError) else _of_system(error)
        ERR.print(f"error: {line}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = Exit.USAGE if isinstance(error, InvalidInput) else Exit.FAILED
        raise typer.Exit(code) from None


def _of_system(error: OSError) -> str:
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{error.strerror or error}: check the path, its permissions and the disk"
