"""`pumpwatch doctor`: is everything the hub leans on as it should be, and if not, what to do."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import typer

from pumpwatch.app.checkup import Check, Verdict
from pumpwatch.app.checkup.broker import broker_checks
from pumpwatch.app.checkup.clock import clock_checks, is_kept_right
from pumpwatch.app.checkup.disk import disk_check
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import home, ledger_url, open_ledger
from pumpwatch.app.output import Exit, emit, plain_errors, table
from pumpwatch.app.series import check_home, described, open_server
from pumpwatch.app.server import names_of
from pumpwatch.app.settings import Settings, load_settings
from pumpwatch.domain.errors import InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.stores.database import Database
from pumpwatch.stores.sqlite import RESTORE, damage

WAL_RESET_FIXED = (3, 51, 3)
CHECKED_BYTES = 2_000_000_000
"""Larger files are left out, so that the round stays short."""
_ONCE = {
    "sqlite": "a row that is sent again is kept once",
    "victoria": "a row that is sent again is kept once (-dedup.minScrapeInterval=1ms)",
    "influx": "a row that is sent again overwrites itself",
}
"""By its engine: messages come at least once, so the store must take rows twice."""


def doctor(
    config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False
) -> None:
    """Check settings, broker, stores, disk and clock; exit code 3 for warnings, 1 for failures."""
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        checks = list(examine(settings))
    if as_json:
        emit([asdict(check) for check in checks])
    else:
        table(
            ["check", "verdict", "found", "remedy"],
            [[c.name, c.verdict, c.found, c.remedy] for c in checks],
            "nothing to check",
        )
    verdicts = {check.verdict for check in checks}
    if Verdict.FAILED in verdicts:
        raise typer.Exit(Exit.FAILED)
    if Verdict.WARNING in verdicts:
        raise typer.Exit(Exit.DEGRADED)


def examine(settings: Settings, now_s: Callable[[], float] = time.time) -> Iterator[Check]:
    """All checks, in the order in which a person would look."""
    directory = DataDir(settings.data_dir)
    yield from clock_checks(now_s(), directory.inbox, is_kept_right())
    yield _directory(settings.data_dir)
    yield disk_check(settings.data_dir, settings.inbox.reserve_mb)
    yield _sqlite(sqlite3.sqlite_version_info)
    yield from _databases(directory)
    yield _ledger(settings)
    yield from _series(settings)
    yield from broker_checks(settings.broker, settings.data_dir)
    yield _heartbeat(settings)
    yield _web(settings)
    yield _hub(settings)


def _directory(path: Path) -> Check:
    try:
        purpose = DataDir(path).purpose()
    except PumpwatchError as error:
        return Check("data directory", Verdict.FAILED, error.problem, error.remedy)
    if purpose is None:
        return Check("data directory", Verdict.OK, f"{path} is new; serve will make it")
    if not os.access(path, os.W_OK):
        return Check("data directory", Verdict.FAILED, f"{path} is read-only", "give write access")
    if purpose != "live":
        remedy = "serve refuses it; give another with --data-dir"
        return Check("data directory", Verdict.WARNING, f"{path} holds {purpose} data", remedy)
    return Check("data directory", Verdict.OK, f"{path} holds live data")


def _sqlite(version: tuple[int, ...]) -> Check:
    text = ".".join(map(str, version))
    if version < WAL_RESET_FIXED:
        return Check(
            "SQLite",
            Verdict.OK,
            f"{text}, before the fix of the WAL-reset fault (3.51.3)",
            "nothing to do: each file has one writing and checkpointing connection at a time; let"
            " no other program write to them",
        )
    return Check("SQLite", Verdict.OK, text)


def _databases(directory: DataDir) -> Iterator[Check]:
    """SQLite's own check of what is in the directory, beside a running hub."""
    files = [f for f in (directory.inbox, directory.core, directory.series) if f.is_file()]
    large = [file.name for file in files if file.stat().st_size > CHECKED_BYTES]
    for file in files:
        if file.name in large:
            continue
        try:
            found = damage(file)
        except StoreUnavailable as error:
            found = error.problem
        if found:
            yield Check("databases", Verdict.FAILED, f"{file}: {found}", RESTORE)
            return
    if files:
        left = f"; not checked, too large: {', '.join(large)}" if large else ""
        yield Check("databases", Verdict.OK, f"no page is damaged{left}")


def _ledger(settings: Settings) -> Check:
    directory = DataDir(settings.data_dir)
    if not directory.core.exists() and not directory.ledger_home.exists():
        return Check("ledger", Verdict.OK, "not there yet; serve will make it")
    try:
        with closing(Database(ledger_url(directory, settings.ledger), migrate=False)) as database:
            found, newest = database.version(), database.newest()
        if found != newest:
            remedy = "the next start of the hub upgrades it, or: pumpwatch ledger upgrade"
            return Check("ledger", Verdict.WARNING, f"revision {found or 'none'}", remedy)
        with closing(open_ledger(directory, settings.ledger)) as ledger:
            sites, held = ledger.sites(), ledger.held()
    except PumpwatchError as error:
        return Check("ledger", Verdict.FAILED, error.problem, error.remedy)
    if held:
        remedy = "look at them with: pumpwatch sites list"
        return Check("ledger", Verdict.WARNING, f"{len(held)} sites wait for approval", remedy)
    return Check("ledger", Verdict.OK, f"{len(sites)} sites in {home(directory)}")


def _series(settings: Settings) -> Iterator[Check]:
    """The store of samples: the one they are in, answering, and set as pumpwatch needs it."""
    try:
        yield from _series_home(settings)
    except PumpwatchError as error:
        yield Check("series", Verdict.FAILED, error.problem, error.remedy)


def _series_home(settings: Settings) -> Iterator[Check]:
    directory, series = DataDir(settings.data_dir), settings.series
    if directory.purpose() == "live":
        check_home(directory, series)
    if series.engine == "sqlite" or directory.purpose() in ("demo", "recording"):
        yield Check("series", Verdict.OK, f"in the data directory: {_ONCE['sqlite']}")
        return
    try:
        with closing(open_server(series, directory.series_sink, reader=True)) as store:
            problems = store.problems()
    except StoreUnavailable as error:
        waits = f"{error.remedy}; alerts go on meanwhile and samples wait in the inbox"
        yield Check("series", Verdict.WARNING, error.problem, waits)
        return
    for what, remedy in problems:
        yield Check("series", Verdict.WARNING, what, remedy)
    if not problems:
        found = f"{described(series)} answers and is set as it should be: {_ONCE[series.engine]}"
        yield Check("series", Verdict.OK, found)


def _heartbeat(settings: Settings) -> Check:
    """Only looked up: a beat from here would let a dead hub pass for alive."""
    url, every_min = settings.health.heartbeat_url, settings.health.heartbeat_min
    if url is None:
        remedy = (
            "set health.heartbeat_url to the address of a service that calls when it stays away"
        )
        return Check("heartbeat", Verdict.OK, "none: nobody hears when the hub is dead", remedy)
    host = urlsplit(url.get_secret_value()).hostname
    return Check("heartbeat", Verdict.OK, f"to {host} every {every_min:g} minutes")


def _hub(settings: Settings) -> Check:
    """What the running hub says of itself: how long work has waited for each stage."""
    address = f"http://127.0.0.1:{settings.web.port}/readyz"
    try:
        told = httpx.get(address, timeout=5).json()
        late, ages = list(told["failed"]), dict(told.get("ages", {}))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Check("hub", Verdict.OK, f"none answers at {address}; start it with pumpwatch serve")
    if late:
        remedy = "; ".join(told.get("reasons", ())) or "see the status page"
        return Check("hub", Verdict.FAILED, f"not well: {', '.join(late)}", remedy)
    silent = [f"{s['site']} ({s['contact']})" for s in told.get("stations", {}).get("unheard", ())]
    if silent:
        return Check(
            "hub",
            Verdict.WARNING,
            f"runs; not heard: {', '.join(silent)}",
            "mute: see the panel's wiring and the agent's source; offline: see power, line and agent",
        )
    waiting = ", ".join(f"{stage} {age['waiting_s']:.0f} s" for stage, age in ages.items())
    return Check("hub", Verdict.OK, f"runs; waiting for {waiting}")


def _web(settings: Settings) -> Check:
    host = settings.web.host
    if host in ("127.0.0.1", "::1", "localhost"):
        return Check("web", Verdict.OK, f"{host}:{settings.web.port}, this machine only")
    try:
        names_of(settings.web)
    except InvalidInput as error:
        return Check("web", Verdict.FAILED, error.problem, error.remedy)
    return Check(
        "web",
        Verdict.WARNING,
        f"listens on {host} and there are no accounts yet",
        "put it behind a proxy that asks who comes, or use 127.0.0.1",
    )
