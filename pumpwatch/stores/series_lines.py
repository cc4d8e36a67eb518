"""What the stores behind a line protocol share: lines from columns, sending them, the position.

Schema: measurement ``station`` (tags tenant and site, one float field a signal, and the integer field
``row`` on every row: a row counts though it has no value), and beside it ``extra`` (tags tenant,
site and signal, field ``value``) for signals outside the nomenclature. Every signal is a float, states and
counters too: run hours are fractional, and a field that always has one type cannot be refused for it.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
import ssl
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rows import merge, take, total
from pumpwatch.stores.sqlite import connect, told, transaction

log = structlog.get_logger(__name__)

STATION, EXTRA, ROW = "station", "extra", "row"
LINES_PER_POST = 5_000
NO_ROWS = -(2**63)
CONNECT_S = 3.0
"""A server that is away costs a reader no longer than this."""
LAST_MS = 9_223_372_036_853
"""The last whole millisecond that nanoseconds in an int64 can say."""
MAX_REFUSED = 100_000
"""Refused lines that are kept for a person to look at, the newest ones."""
LEAST_KEPT_D = 366
"""A server that forgets sooner is told of: a year shows the seasons of a station."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS retention (target TEXT PRIMARY KEY, floor_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (target TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, target TEXT NOT NULL, line TEXT NOT NULL,
    answer TEXT NOT NULL)
"""


class Refused(Exception):
    """The server will never take this; some of its lines it may take without the others."""


class TooLarge(Exception):
    """The server takes less at once."""


# -- rows ----------------------------------------------------------------------------------------


def beside(t_ms: NDArray[np.int64], extra: Chunk) -> dict[str, NDArray[np.float64]]:
    """Columns of ``extra`` at the times of rows; what has no row is left out."""
    at = np.searchsorted(t_ms, extra.t_ms)
    has_row = np.isin(extra.t_ms, t_ms)
    columns = {}
    for name, values in extra.signals.items():
        column = np.full(len(t_ms), np.nan)
        column[at[has_row]] = values[has_row]
        if not np.isnan(column).all():
            columns[name] = column
    return columns


# -- lines ---------------------------------------------------------------------------------------


def tag(name: str) -> str:
    """``name`` as a tag value that means nothing special to any engine; no two names share one.

    Letters, digits and ``_ . -`` stay, everything else is percent-encoded, so that neither lines nor
    queries need an escape.
    """
    return re.sub(r"[^\w.-]", lambda m: quote(m[0], safe="", errors="surrogatepass"), name) or "%"


def by_tags(keys: Iterable[SiteKey]) -> dict[tuple[str, str], SiteKey]:
    """The sites by what their tags say."""
    return {(tag(key.tenant), tag(key.site)): key for key in keys}


def station_lines(key: SiteKey, chunk: Chunk, *, stamp: str = "%d", revision: int = 0) -> list[str]:
    """A line for each row. What is missing or not finite is left out; ``row`` is always there.

    ``stamp`` is how a time in milliseconds is written. Rows that correct earlier ones carry the tag
    ``rev`` (see `VictoriaSeries`), and ``row`` is one more than it.
    """
    fields: list[str] = []
    columns: list[Sequence[Any]] = []
    for name, values in chunk.signals.items():
        if name not in SIGNALS:
            continue
        there = np.isfinite(values)
        if there.all():
            fields.append(f"{name}=%r,")
            columns.append(values.tolist())
        elif there.any():
            fields.append("%s")
            told = zip(values.tolist(), there.tolist(), strict=True)
            columns.append([f"{name}={value!r}," if finite else "" for value, finite in told])
    line = f"{_head(STATION, key, revision)} {''.join(fields)}{ROW}={revision + 1}i {stamp}"
    return [line % row for row in zip(*columns, chunk.t_ms.tolist(), strict=True)]


def extra_lines(
    key: SiteKey, name: str, chunk: Chunk, *, stamp: str = "%d", revision: int = 0
) -> list[str]:
    """A line for each value there is of a signal outside the nomenclature."""
    there = np.isfinite(chunk.signals[name])
    head = _head(EXTRA, key, revision, f",signal={tag(name)}")
    line = f"{head} value=%r {stamp}"
    values, t_ms = chunk.signals[name][there].tolist(), chunk.t_ms[there].tolist()
    return [line % row for row in zip(values, t_ms, strict=True)]


def _head(measurement: str, key: SiteKey, revision: int, more: str = "") -> str:
    corrected = f",rev={revision}" if revision else ""
    head = f"{measurement},tenant={tag(key.tenant)},site={tag(key.site)}{more}{corrected}"
    return head.replace("%", "%%")


def send(post: Callable[[str], None], lines: Sequence[str]) -> dict[int, str]:
    """Post the lines as one string; halve what is refused or too large until the culprits are alone.

    Returns the refused lines' indices with the server's words. Lines that are posted again with a
    smaller part say the same as before, which changes nothing.
    """
    try:
        if lines:
            post("\n".join(lines))
    except (Refused, TooLarge) as error:
        if len(lines) == 1:
            return {0: str(error)}
        half = len(lines) // 2
        earlier, later = send(post, lines[:half]), send(post, lines[half:])
        return earlier | {half + i: why for i, why in later.items()}
    return {}


# -- the store -----------------------------------------------------------------------------------


@dataclass
class _Plan:
    """The lines of one write, and which rows they belong to."""

    lines: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    owners: list[tuple[SiteKey, NDArray[np.int64]]] = field(default_factory=list)
    new: dict[SiteKey, set[int]] = field(default_factory=dict)
    refused: dict[SiteKey, set[int]] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)
    """What the server said to the lines it refused."""

    def add(self, key: SiteKey, chunk: Chunk, stamp: str, revision: int) -> None:
        for name in chunk.signals.keys() - SIGNALS.keys():
            there = np.isfinite(chunk.signals[name])
            self._put(key, chunk.t_ms[there], extra_lines(
                key, name, chunk, stamp=stamp, revision=revision))  # fmt: skip
        self._put(key, chunk.t_ms, station_lines(key, chunk, stamp=stamp, revision=revision))

    def _put(self, key: SiteKey, t_ms: NDArray[np.int64], lines: list[str]) -> None:
        self.starts.append(len(self.lines))
        self.owners.append((key, t_ms))
        self.lines += lines

    def row_of(self, line: int) -> tuple[SiteKey, int]:
        span = bisect_right(self.starts, line) - 1
        key, t_ms = self.owners[span]
        return key, int(t_ms[line - self.starts[span]])


class LineSeries(ABC):
    """`TimeSeriesStore` over a server that takes lines by HTTP; the engine's part is abstract.

    The position is kept in the small SQLite file ``path``, by ``target``, and moves only after the
    server took the rows: after a crash they are sent again, which changes nothing.

    How many rows are new is known exactly and cheaply: rows behind a site's newest are, and only
    for the others is the server asked. So there is one writer; any thread may read. A row of which
    the server refuses anything counts as rejected; the refused line alone is set aside in ``path`` with
    the server's answer (`refused`), and everything else is stored.

    A ``reader`` has the file's state of the moment in memory, and is for reading only.
    """

    _stamp = "%d"

    def __init__(
        self,
        path: Path,
        target: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        compress: bool,
        timeout_s: float,
        reader: bool = False,
    ) -> None:
        self._path, self._target, self._url = path, target, url.rstrip("/")
        self._lock = threading.RLock()
        self._newest: dict[SiteKey, int] = {}
        self._compress = compress
        self._notes = _copied(path) if reader else connect(path)
        with told(self._path):
            for statement in _SCHEMA.split(";"):
                self._notes.execute(statement)
            self._notes.execute("INSERT OR IGNORE INTO progress VALUES (?, 0)", (target,))
            found = self._notes.execute("SELECT position FROM progress WHERE target = ?", (target,))
            self._position = int(found.fetchone()[0])
            query = "SELECT floor_ms FROM retention WHERE target = ?"
            floor = self._notes.execute(query, (target,)).fetchone()
        self._floor: int = floor[0] if floor else NO_ROWS
        """Rows older than this were forgotten and are not taken again."""
        self._client = httpx.Client(
            headers=dict(headers or {}),
            auth=(user, password) if user else None,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            verify=tls or True,
            trust_env=False,
        )

    # -- the port ------------------------------------------------------------------------------

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        by_site: dict[SiteKey, list[Chunk]] = {}
        for key, chunk in batch:
            by_site.setdefault(key, []).append(chunk)
        with self._lock:
            plan, reached = self._plan({key: merge(chunks) for key, chunks in by_site.items()})
            for key in by_site:  # until the server has answered, nobody knows what it has
                self._newest.pop(key, None)
            refused = self._send(plan)
            self._newest |= {key: t_ms for key, t_ms in reached.items() if not refused.get(key)}
            self._advance(position, plan)
        receipts = {
            key: _receipt(sum(map(len, chunks)), plan.new[key], refused.get(key, set()))
            for key, chunks in by_site.items()
        }
        return total(receipts)

    def position(self) -> int:
        return self._position

    def refused(self, limit: int = 100) -> list[tuple[str, str]]:
        """Lines that the server would not take with its answers, the newest first."""
        query = "SELECT line, answer FROM refused WHERE target = ? ORDER BY id DESC LIMIT ?"
        with self._lock, told(self._path):
            return self._notes.execute(query, (self._target, limit)).fetchall()

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with the server's settings, and what to do. Raises `StoreUnavailable`."""
        with self._lock, told(self._path):
            count = "SELECT count(*) FROM refused WHERE target = ?"
            (lines,) = self._notes.execute(count, (self._target,)).fetchone()
        if not lines:
            return []
        ((_, answer),) = self.refused(1)
        return [
            (
                f"{self._target} refused {lines} lines, the last with: {answer}",
                "see them with: pumpwatch series show",
            )
        ]

    def secure(self) -> None:  # noqa: B027
        """Have everything written be on the server's disk. Most servers see to that by themselves."""

    def upkeep(self, now_ms: int) -> bool:
        return False  # the server sees to that

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        self._client.close()
        with self._lock:
            self._notes.close()

    # -- the engine's part ---------------------------------------------------------------------

    @abstractmethod
    def _post(self, lines: str) -> None:
        """Have the server take lines. Raises `Refused`, `TooLarge`, `StoreUnavailable`."""

    @abstractmethod
    def _find_newest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, int]:
        """Time of each site's newest row; a site without rows is absent."""

    @abstractmethod
    def _standing(self, key: SiteKey, chunk: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """For each row of ``chunk``: is it there already, and by which revision must it be written."""

    # -- writing -------------------------------------------------------------------------------

    def _plan(self, rows: Mapping[SiteKey, Chunk]) -> tuple[_Plan, dict[SiteKey, int]]:
        """The lines to send, and the newest row of each site once they are there."""
        unknown = rows.keys() - self._newest.keys()
        if unknown:
            self._newest |= dict.fromkeys(unknown, NO_ROWS) | self._find_newest(unknown)
        plan, reached = _Plan(), {}
        for key, chunk in rows.items():
            hidden = chunk.t_ms < self._floor
            if hidden.any():
                plan.refused[key] = set(chunk.t_ms[hidden].tolist())
                chunk = take(chunk, ~hidden)
            newest = self._newest[key]
            new = chunk.t_ms > newest
            revisions = np.zeros(len(chunk), np.int64)
            if not new.all():
                standing, revisions[~new] = self._standing(key, take(chunk, ~new))
                new[~new] = ~standing
            for revision in np.unique(revisions).tolist():
                same = revisions == revision
                part = chunk if same.all() else take(chunk, same)
                plan.add(key, part, self._stamp, revision)
            plan.new[key] = set(chunk.t_ms[new].tolist())
            reached[key] = max(newest, int(chunk.t_ms[-1])) if len(chunk) else newest
        return plan, reached

    def _raise_floor(self, before_ms: int) -> None:
        floor_ms = max(before_ms, self._floor)
        with told(self._path), transaction(self._notes) as notes:
            put = "INSERT OR REPLACE INTO retention VALUES (?, ?)"
            notes.execute(put, (self._target, floor_ms))
        self._floor = floor_ms
        self._newest.clear()

    def _send(self, plan: _Plan) -> dict[SiteKey, set[int]]:
        """Post the lines in parts; the times of rows that were refused, by site."""
        refused = plan.refused
        for start in range(0, len(plan.lines), LINES_PER_POST):
            wrong = send(self._post, plan.lines[start : start + LINES_PER_POST])
            plan.answers |= {start + line: answer for line, answer in wrong.items()}
            for line in wrong:
                key, t_ms = plan.row_of(start + line)
                refused.setdefault(key, set()).add(t_ms)
            if wrong:
                sites = sorted(str(key) for key in refused)
                first = next(iter(wrong.values()))
                log.warning("rows_refused", store=self._target, sites=sites, lines=len(wrong),
                            answer=first)  # fmt: skip
        return refused

    def _advance(self, position: int, plan: _Plan) -> None:
        """Remember that everything up to ``position`` is stored, and what was refused just now."""
        position = max(position, self._position)
        with told(self._path), transaction(self._notes) as notes:
            update = "UPDATE progress SET position = ? WHERE target = ?"
            notes.execute(update, (position, self._target))
            put = "INSERT INTO refused (target, line, answer) VALUES (?, ?, ?)"
            notes.executemany(
                put, ((self._target, plan.lines[i], why) for i, why in plan.answers.items())
            )
            if plan.answers:
                newest = "(SELECT id FROM refused ORDER BY id DESC LIMIT 1 OFFSET ?)"
                notes.execute(f"DELETE FROM refused WHERE id <= {newest}", (MAX_REFUSED,))  # noqa: S608
            self._note(plan.lines)
        self._position = position

    def _note(self, lines: Sequence[str]) -> None:  # noqa: B027
        """Write down what else must be on disk with the position. Most servers need nothing."""

    # -- the wire ------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, self._url + path, **more)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise self._fault(
                answer.status_code, answer.text.strip(), answer.headers.get("Retry-After")
            )
        return answer

    def _post_lines(self, path: str, lines: str, params: Mapping[str, str]) -> None:
        body, headers = lines.encode(), {"Content-Type": "text/plain; charset=utf-8"}
        if self._compress:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self._request("POST", path, params=params, content=body, headers=headers)

    def _unreachable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._url} cannot be reached ({type(error).__name__}: {error})",
            "check that the server runs and the address is right; it is tried again",
        )

    def _fault(self, status: int, text: str, retry_after: str | None) -> Exception:
        """What an answer other than success means for the rows at hand."""
        said = f"{self._target} answered {status}" + (f" ({text[:300]})" if text else "")
        if status in (400, 422):
            return Refused(text or said)
        if status == 413:
            return TooLarge(text or said)
        if status in (401, 403):
            return StoreUnavailable(said, "check the token or user, and that it may read and write")
        if status == 404:
            return StoreUnavailable(said, "check the address, and create the database or bucket")
        wait = f" after {retry_after} s, as it asks" if retry_after else ""
        return StoreUnavailable(said, f"see the server's log; it is tried again{wait}")


def _copied(path: Path) -> sqlite3.Connection:
    """What the file says now, in memory: who only reads leaves the file to its one writer."""
    notes = connect(":memory:")
    if path.exists():
        with closing(connect(path, reader=True)) as file:
            file.backup(notes)
    return notes


def _receipt(rows: int, new: set[int], refused: set[int]) -> WriteReceipt:
    stored = len(new - refused)
    return WriteReceipt(stored, rows - stored - len(refused), len(refused))
