"""Which database holds the ledger of a data directory, and that it is not exchanged unawares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from pumpwatch.app.datadir import DataDir, write_whole
from pumpwatch.app.settings import LedgerSettings
from pumpwatch.domain.errors import Conflict
from pumpwatch.stores.database import Database
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.ledger_copy import copy_all

OWN_FILE = "its own file"
"""Where the ledger is when no server is named."""


def open_ledger(directory: DataDir, ledger: LedgerSettings | None = None) -> SqlLedger:
    """Open the ledger that `ledger_url` gives; where it is new it is made. Raises what that does,
    and `StoreUnavailable`."""
    return SqlLedger(ledger_url(directory, ledger))


def ledger_url(directory: DataDir, ledger: LedgerSettings | None = None) -> str:
    """SQLAlchemy's address of the ledger of the directory: the server that is set, or else its own
    file. Demo data and recordings are always in their own file.

    Raises `Conflict` when the ledger of this directory is somewhere else.
    """
    if ledger is None or directory.purpose() != "live":
        return directory.core_url
    wanted, found = described(ledger), home(directory)
    if wanted != found:
        if found != OWN_FILE or directory.core.exists():
            raise Conflict(
                f"the ledger of {directory.path} is in {found}, the settings name {wanted}",
                "go back to those settings, or move it with: pumpwatch ledger move",
            )
        set_home(directory, ledger)
    return full_url(directory, ledger)


def full_url(directory: DataDir, ledger: LedgerSettings) -> str:
    """With the password."""
    if not ledger.url:
        return directory.core_url
    url = make_url(ledger.url)
    if ledger.password is not None:
        url = url.set(password=ledger.password.get_secret_value())
    return url.render_as_string(hide_password=False)


def described(ledger: LedgerSettings) -> str:
    """A place in words that stay the same: which database on which server, no user and no options."""
    if not ledger.url:
        return OWN_FILE
    url = make_url(ledger.url)
    return f"postgresql://{url.host or ''}:{url.port or 5432}/{url.database}"


def home(directory: DataDir) -> str:
    """Where the ledger of the directory is, as `described`."""
    mark = directory.ledger_home
    return mark.read_text().strip() if mark.is_file() else OWN_FILE


def set_home(directory: DataDir, ledger: LedgerSettings) -> None:
    """From now on it is there."""
    if ledger.url:
        write_whole(directory.ledger_home, described(ledger) + "\n")
    else:
        directory.ledger_home.unlink(missing_ok=True)


def move(
    directory: DataDir,
    source: LedgerSettings,
    target: LedgerSettings,
    progress: Callable[[str, int], None] = lambda table, rows: None,
) -> dict[str, int]:
    """Copy every row from where the ledger is to an empty place, and let that be its home.

    Only for whoever holds the directory's lock. ``source`` must describe its present home. A file
    that was moved from stays beside as ``core.db.moved``; rows on a server stay there. Returns the
    rows by table. Raises `Conflict` when the target is not empty; then nothing was changed.
    """
    if described(source) != home(directory):
        raise Conflict(
            f"the ledger of {directory.path} is in {home(directory)}", "name that as the source"
        )
    if described(source) == described(target):
        raise Conflict(f"the ledger is in {home(directory)} already", "nothing is to be done")
    origin = Database(full_url(directory, source))
    try:
        made = Database(full_url(directory, target))
        try:
            with origin.read() as rows:
                copied = copy_all(rows, made, progress)
        finally:
            made.close()
    finally:
        origin.close()
    set_home(directory, target)
    if not source.url:
        directory.core.replace(moved_from(directory))
    return copied


def moved_from(directory: DataDir) -> Path:
    return directory.core.with_name("core.db.moved")
