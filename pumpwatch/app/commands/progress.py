"""Progress of long work on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.app.output import ERR


class Bar:
    """One line per kind of work; ``with Bar(quiet=…) as show: show("reading", 0.5)``."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=ERR, disable=quiet, transient=False)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Callable[[str, float], None]:
        self._progress.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _show(self, what: str, share: float) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=1.0)
        self._progress.update(self._tasks[what], completed=share)
