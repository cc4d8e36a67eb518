"""Notices on a terminal or in a log: one readable block each."""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.text import Text

from pumpwatch.domain.alerts import Severity
from pumpwatch.domain.errors import DeliveryError
from pumpwatch.domain.ports import Notice

_STYLE = {
    Severity.CRITICAL: "bold white on red",
    Severity.ALARM: "bold red",
    Severity.WARNING: "bold yellow",
    Severity.INFO: "bold",
}


class ConsoleNotifier:
    """Writes notices to ``stream``; in colour where the stream is a terminal."""

    def __init__(self, stream: IO[str], name: str = "console") -> None:
        self.name = name
        self._stream = stream
        self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def send(self, notice: Notice) -> None:
        """Raises `DeliveryError` when the stream cannot be written."""
        block = Text("\n")
        block.append(notice.title, style=_STYLE[notice.alert.severity])
        for line in notice.body.splitlines():
            block.append(f"\n  {line}" if line else "\n")
        if notice.url:
            block.append(f"\n  {notice.url}", style="underline")
        try:
            self._console.print(block)
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise DeliveryError(f"console: {error}", "check where the output goes") from error
