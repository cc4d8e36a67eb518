"""The processes of a run. What they import is imported here, once, before they are forked."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx  # noqa: F401 - imported late by what uses it
from typer.main import get_command

import pumpwatch.app.hub
from pumpwatch.app import cli
from pumpwatch.domain.messages import Poison
from pumpwatch.domain.ports import CommitReceipt, InboxRow
from pumpwatch.stores.inbox import MemoryInbox, SqliteInbox
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.web.app import create_app
from pumpwatch.web.deps import WebDeps

from . import proxy, receiver, rogue, station
from .crash import Fuse, obey


class WriteBehindInbox(SqliteInbox):
    """Wrong on purpose: says that a batch is kept, and writes it to disk half a second later."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._memory = MemoryInbox()
        threading.Timer(0, self._write_later).start()
        self._behind: list[tuple[Sequence[InboxRow], Sequence[Poison], int]] = []

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        self._behind.append((rows, poison, now_ms))
        return self._memory.commit(rows, poison, now_ms)

    def _write_later(self) -> None:
        while True:
            time.sleep(0.5)
            behind, self._behind = self._behind, []
            for batch in behind:
                super().commit(*batch)


def hub(folder: str, data_dir: str, arguments: list[str], environment: dict[str, str], inbox: str) -> None:  # fmt: skip
    """`pumpwatch serve`, as a person would start it, with a fuse in it."""
    fuse = Fuse()
    obey(Path(folder) / "hub.sock", {"arm": fuse.arm})
    os.environ.update(environment)
    if inbox == "write_behind":
        pumpwatch.app.hub.SqliteInbox = WriteBehindInbox  # type: ignore[misc]
    COMMAND.main(["serve", "--data-dir", data_dir, *arguments], prog_name="pumpwatch")


ROLES: dict[str, Callable[..., None]] = {
    "hub": hub,
    "stations": station.run,
    "receiver": receiver.run,
    "proxy": proxy.run,
    "rogue": rogue.run,
}
COMMAND = get_command(cli.app)
with TemporaryDirectory() as folder:  # what is imported late is imported by this
    create_app(WebDeps(*[None] * 6))  # type: ignore[arg-type]
    SqlLedger(f"sqlite:///{folder}/core.db").close()
gc.freeze()
"""What is here already is never garbage: a child need not look at it, nor copy its pages."""
