"""The folder that holds all state: whose it is, and that only one hub uses it at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pumpwatch.domain.errors import PumpwatchError

Purpose = Literal["live", "demo", "recording"]

_MARK = "purpose"
_LOCK = "hub.lock"


def write_whole(path: Path, text: str) -> None:
    """The whole file or none, though the power fails meanwhile."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


class DataDir:
    """Paths inside one data directory. Demo data, recordings and real data never share one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def inbox(self) -> Path:
        return self.path / "inbox.db"

    @property
    def core(self) -> Path:
        return self.path / "core.db"

    @property
    def core_url(self) -> str:
        return f"sqlite:///{self.core}"

    @property
    def ledger_home(self) -> Path:
        """Says which server holds the ledger; absent while it is in the directory itself."""
        return self.path / "ledger_home"

    @property
    def series(self) -> Path:
        return self.path / "series.db"

    @property
    def series_sink(self) -> Path:
        """The position in a time-series server, and what is not sure to be on its disk yet."""
        return self.path / "series-sink.db"

    @property
    def series_home(self) -> Path:
        """Says which server holds the samples; absent while they are in the directory itself."""
        return self.path / "series_home"

    @property
    def parquet(self) -> Path:
        """Samples that were sealed, and what was added up of them."""
        return self.path / "parquet"

    @property
    def rollups(self) -> Path:
        """Which days are still to be added up."""
        return self.path / "rollups.db"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def challengers(self) -> Path:
        """Models that wait for a decision; the name can be no tenant's."""
        return self.models / ".challengers"

    @property
    def broker(self) -> Path:
        return self.path / "broker"

    @property
    def agents(self) -> Path:
        return self.path / "agents"

    def purpose(self) -> Purpose | None:
        """What this directory was made for; None when it is new."""
        mark = self.path / _MARK
        if not mark.is_file():
            return None
        text = mark.read_text().strip()
        if text not in ("live", "demo", "recording"):
            raise PumpwatchError(f"{mark} says {text!r}", "restore it from a backup")
        return text  # type: ignore[return-value]

    def claim(self, purpose: Purpose) -> None:
        """Make the directory, or make sure that it was made for the same purpose."""
        if self.path.exists() and not self.path.is_dir():
            raise PumpwatchError(f"{self.path} is a file", "give a directory with --data-dir")
        found = self.purpose()
        if found is not None and found != purpose:
            raise PumpwatchError(
                f"{self.path} holds {found} data, not {purpose} data",
                "give another directory with --data-dir",
            )
        if found is None and self.inbox.exists():
            raise PumpwatchError(
                f"{self.path} holds data of an unknown purpose", "give another directory"
            )
        self.path.mkdir(parents=True, exist_ok=True, mode=0o750)
        if found is None:
            write_whole(self.path / _MARK, f"{purpose}\n")

    def clear(self) -> None:
        """Empty the directory of all but its purpose and its lock. Only for whoever holds the lock."""
        for entry in self.path.iterdir():
            if entry.name in (_MARK, _LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one hub; a second one is refused with the first one's process id."""
        with (self.path / _LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                raise PumpwatchError(
                    f"another hub (process {lock.read().strip() or 'unknown'}) uses {self.path}",
                    "stop it, or give another directory with --data-dir",
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
