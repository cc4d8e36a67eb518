"""Samples in VictoriaMetrics: lines to write, exact exports to read."""

from __future__ import annotations

import math
import re
import secrets
import ssl
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx
import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rows import EMPTY, band, merge, take
from pumpwatch.stores.series_lines import (
    EXTRA,
    LAST_MS,
    LEAST_KEPT_D,
    ROW,
    STATION,
    LineSeries,
    Refused,
    TooLarge,
    beside,
    by_tags,
    send,
    tag,
)
from pumpwatch.stores.sqlite import told, transaction

log = structlog.get_logger(__name__)

SITES_PER_QUERY = 100
SECURE_S, SECURE_LINES = 60, 200_000
"""How long, and for how many lines, what the server took stays on this side as well."""
LOOK_BACK_H = (1, 24, 30 * 24)
_START = "vm_app_start_timestamp"
_ROWS, _VALUE = f"{STATION}_{ROW}", f"{EXTRA}_value"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS unsure (id INTEGER PRIMARY KEY, target TEXT NOT NULL, life TEXT NOT NULL,
    count INTEGER NOT NULL, lines BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS kept (target TEXT NOT NULL, match TEXT NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (target, match));
"""


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[float | None]
    timestamps: list[int]


class _Labels(msgspec.Struct):
    data: list[dict[str, str]]


_series = msgspec.json.Decoder(_Series)
_labels = msgspec.json.Decoder(_Labels)


class VictoriaSeries(LineSeries):
    """`TimeSeriesStore` in a single-node VictoriaMetrics at ``url``.

    The server must run with ``-dedup.minScrapeInterval=1ms`` (rows that are sent again are kept once)
    and a ``-retentionPeriod`` as long as the data are wanted: `problems` says when it does not.
    It answers 204 to anything, keeps eleven significant digits at least, and drops rows more than two
    days ahead of its clock. ``path`` is the small file that keeps the position and what follows here.

    It has no log of writes: killed, it forgets rows it had answered 204 to, some of them many seconds old
    (1.79.5 here). So every accepted line is also kept in ``path`` until a snapshot (made and removed once a
    minute) has put it on the server's disk, and is sent again when the server turns out to have been
    started anew.

    It cannot change a sample: of two at one time it keeps either. A row that differs from what is there is
    therefore written as a series of its own, with the tag ``rev`` one higher, and reading takes the
    highest. Nor can it delete a part of a series: `delete` keeps the rest in ``path``, deletes the
    series and sends the rest back; a crash at any point is made good at the next use. Retention only
    hides what is older, and refuses it when it comes again; the disk is freed by the server's own
    ``-retentionPeriod``.
    """

    # the server takes a time of 0 for "now"; a microsecond more is cut off by it and changes nothing
    _stamp = "%d001"

    def __init__(
        self,
        url: str,
        *,
        path: Path,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        compress: bool = False,
        timeout_s: float = 30.0,
        reader: bool = False,
    ) -> None:
        super().__init__(
            path,
            f"VictoriaMetrics {url}",
            url,
            user=user,
            password=password,
            tls=tls,
            compress=compress,
            timeout_s=timeout_s,
            reader=reader,
        )
        self._fresh = False
        """Everything written can be read."""
        self._life = ""
        self._checked_s, self._secured_s = -math.inf, time.monotonic()
        self._unsure_lines = 0
        with told(self._path):
            for statement in _SCHEMA.split(";"):
                self._notes.execute(statement)
            if reader:  # these are for the writer to make good
                self._notes.execute("DELETE FROM unsure")
                self._notes.execute("DELETE FROM kept")
            self._unsettled = self._kept() is not None

    def problems(self) -> list[tuple[str, str]]:
        text = self._metrics()
        flags = dict(re.findall(r'^flag\{name="([^"]+)", value="([^"]*)"', text, re.MULTILINE))
        if "storageDataPath" not in flags:
            other = f"{self._target} is no single-node VictoriaMetrics"
            return [(other, "correct series.url; a cluster is not supported")]
        found = super().problems()
        if flags.get("dedup.minScrapeInterval") != "1ms":
            again = f"{self._target} keeps rows twice that are sent again"
            found.append((again, "start it with -dedup.minScrapeInterval=1ms"))
        kept_d = _days(flags.get("retentionPeriod", "1"))
        if kept_d < LEAST_KEPT_D:
            short = f"{self._target} forgets after {kept_d:g} days"
            found.append((short, "start it with -retentionPeriod=10y"))
        invalid = re.search(r'^vm_rows_invalid_total\{type="influx"\} ([0-9]+)', text, re.MULTILINE)
        if invalid and invalid[1] != "0":
            found.append((f"{self._target} dropped {invalid[1]} lines as invalid", "see its log"))
        for reason, rows in re.findall(
            r'^vm_rows_ignored_total\{reason="(\w+)"\} ([1-9][0-9]*)', text, re.MULTILINE
        ):
            found.append(
                (
                    f"{self._target} ignored {rows} values ({reason})",
                    "their time is outside its retention or more than two days ahead: see both clocks",
                )
            )
        return found

    # -- writing -------------------------------------------------------------------------------

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        with self._lock:
            self._check()
            receipt = super().write(batch, position)
            due_s = self._secured_s + SECURE_S
            if self._unsure_lines >= SECURE_LINES or time.monotonic() >= due_s:
                try:
                    self.secure()
                except StoreUnavailable as error:  # what is unsure stays here until next time
                    log.warning("snapshot_failed", store=self._target, error=str(error))
        return receipt

    def _post(self, lines: str) -> None:
        try:
            self._post_lines("/write", lines, {"precision": "us"})
        finally:
            self._fresh = False

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._lock:
            gone = len(self._times(key, start_ms, end_ms))
            if gone:
                self._newest.pop(key, None)
                self.secure()  # or what is unsure would come back
                self._keep_only(key, (0, start_ms), (end_ms, LAST_MS))
        return gone

    def apply_retention(self, before_ms: int) -> int:
        removed = 0
        with self._lock:
            self._refresh()
            # a start of 0 would mean "lately" here
            params = {"match[]": _ROWS, "start": _seconds(1), "end": _seconds(LAST_MS)}
            answer = _labels.decode(self._asked("GET", "/api/v1/series", params=params).content)
            for key in {SiteKey(labels["tenant"], labels["site"]) for labels in answer.data}:
                removed += len(self._times(key, self._floor, before_ms))
            self._raise_floor(before_ms)
        return removed

    def _standing(self, key: SiteKey, chunk: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        start_ms, end_ms = int(chunk.t_ms[0]), int(chunk.t_ms[-1]) + 1
        old = self._read(key, start_ms, end_ms, list(chunk.signals))
        there = np.isin(chunk.t_ms, old.t_ms)
        revisions = np.zeros(len(chunk), np.int64)
        if not there.any():
            return there, revisions
        at = np.searchsorted(old.t_ms, chunk.t_ms[there])
        differs = np.zeros(len(at), np.bool_)
        for name in chunk.signals.keys() & old.signals.keys():
            new, kept = chunk.signals[name][there], old.signals[name][at]
            # as many digits as the server keeps; comparisons with a missing value are false
            differs |= np.abs(new - kept) > 1e-11 * np.abs(new) + 1e-300
        # the row says one more than its revision, so a correction takes over that number
        revisions[there] = old.signals[ROW][at].astype(np.int64) - 1 + differs
        return there, revisions

    # -- what the server may forget ------------------------------------------------------------

    def _note(self, lines: Sequence[str]) -> None:
        if lines:
            put = "INSERT INTO unsure (target, life, count, lines) VALUES (?, ?, ?, ?)"
            packed = zlib.compress("\n".join(lines).encode(), 1)
            self._notes.execute(put, (self._target, self._life, len(lines), packed))
            self._unsure_lines += len(lines)

    def _check(self, *, now: bool = False) -> None:
        """If the server may have been started anew, ask, and send again what it may have forgotten.

        A write is noted with the last life that was seen, so at worst too much is sent again.
        """
        if not now and time.monotonic() < self._checked_s + SECURE_S:
            return
        with self._lock:
            metrics = self._metrics()
            life = _metric(metrics, _START)
            taken = int(_metric(metrics, 'vm_rows_inserted_total{type="influx"}') or 0)
            with told(self._path):
                # the start is told in whole seconds: a server that took less than was sent to it in
                # that life is not the same either
                self._notes.execute(
                    "UPDATE unsure SET life = '' WHERE target = ?1 AND life = ?2 AND ?3 <"
                    " (SELECT sum(count) FROM unsure WHERE target = ?1 AND life = ?2)",
                    (self._target, life, taken),
                )
            query = "SELECT id, lines FROM unsure WHERE target = ? AND life <> ? ORDER BY id"
            with told(self._path):
                forgotten = self._notes.execute(query, (self._target, life)).fetchall()
            for number, lines in forgotten:
                self._send_again(zlib.decompress(lines).decode())
                with told(self._path), transaction(self._notes) as notes:
                    notes.execute("UPDATE unsure SET life = ? WHERE id = ?", (life, number))
            self._life, self._checked_s = life, time.monotonic()

    def _send_again(self, lines: str) -> None:
        try:
            self._post(lines)
        except (Refused, TooLarge):
            send(self._post, lines.split("\n"))

    def secure(self) -> None:
        """Have everything written be on the server's disk, and let go of it here."""
        with self._lock:
            self._check(now=True)
            self._snapshot()
            with told(self._path), transaction(self._notes) as notes:
                notes.execute("DELETE FROM unsure WHERE target = ?", (self._target,))
            self._unsure_lines, self._secured_s = 0, time.monotonic()

    def _snapshot(self) -> None:
        """Have what this life of the server took be on its disk: no other request does that."""
        name = self._asked("GET", "/snapshot/create").json()["snapshot"]
        self._asked("GET", "/snapshot/delete", params={"snapshot": name})
        if _metric(self._metrics(), _START) != self._life:
            raise StoreUnavailable(
                f"{self._target} was started anew meanwhile", "it is tried again"
            )

    def _metrics(self) -> str:
        return self._asked("GET", "/metrics").text

    def _unreachable(self, error: Exception) -> StoreUnavailable:
        self._checked_s = -math.inf
        return super()._unreachable(error)

    # -- deleting a part -----------------------------------------------------------------------

    def _keep_only(self, key: SiteKey, *spans: tuple[int, int]) -> None:
        """Replace a site's series by what they hold within the spans, safe against a crash."""
        match = _match(f"{STATION}_.*|{_VALUE}", [key])
        floor = max(self._floor, 0)
        rest = b"".join(self._export_text(match, max(start, floor), end) for start, end in spans)
        with told(self._path), transaction(self._notes) as notes:
            row = (self._target, match, zlib.compress(rest, 1))
            notes.execute("INSERT INTO kept VALUES (?, ?, ?)", row)
        self._unsettled = True
        self._settle()

    def _settle(self) -> None:
        """Finish a deletion that was begun: each step may be done twice."""
        with self._lock:
            kept = self._kept() if self._unsettled else None
            if kept is not None:
                match, rest = kept
                self._check(now=True)
                params = {"match[]": _anew(match)}
                self._asked("POST", "/api/v1/admin/tsdb/delete_series", params=params)
                if rest:
                    self._asked("POST", "/api/v1/import", content=rest)
                self._snapshot()
                with told(self._path), transaction(self._notes) as notes:
                    notes.execute("DELETE FROM kept WHERE target = ?", (self._target,))
                self._fresh = False
            self._unsettled = False

    def _kept(self) -> tuple[str, bytes] | None:
        with told(self._path):
            query = "SELECT match, rows FROM kept WHERE target = ?"
            row = self._notes.execute(query, (self._target,)).fetchone()
        return None if row is None else (row[0], zlib.decompress(row[1]))

    # -- reading -------------------------------------------------------------------------------

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        found = self._read(key, start_ms, end_ms, signals)
        return Chunk(found.t_ms, {n: v for n, v in found.signals.items() if n != ROW})

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        """The buckets are cut here: the server's own would hide or repeat the newest samples."""
        if signal not in SIGNALS:
            return EMPTY
        grid = bucket_grid(start_ms, end_ms, points)
        return band(self._read(key, grid.start_ms, grid.end_ms, [signal]), signal, grid)

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        keys = list(keys)
        newest = {key: t_ms for key in keys if (t_ms := self._newest.get(key)) is not None}
        newest |= self._find_newest(set(keys) - newest.keys())
        near: defaultdict[int, list[SiteKey]] = defaultdict(list)
        for key, t_ms in newest.items():
            if t_ms >= 0:
                near[t_ms // HOUR_MS].append(key)
        found = {}
        for some in near.values():
            start_ms, end_ms = min(newest[k] for k in some), max(newest[k] for k in some) + 1
            for key, chunk in self._read_many(f"{STATION}_.*", some, start_ms, end_ms).items():
                values = {n: float(v[-1]) for n, v in chunk.signals.items() if n in SIGNALS}
                known = {n: v for n, v in values.items() if v == v}
                found[key] = int(chunk.t_ms[-1]), known
        return found

    def count(self, key: SiteKey) -> int:
        return len(self._times(key, 0, LAST_MS))

    def _times(self, key: SiteKey, start_ms: int, end_ms: int) -> NDArray[np.int64]:
        return self._read(key, start_ms, end_ms, []).t_ms

    def _find_newest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, int]:
        """Look back an hour, then further for those that are missing, and at last at everything.

        The machine's clock only says where to begin: what it finds is the same.
        """
        missing = set(keys)
        found: dict[SiteKey, int] = {}
        now_ms = int(1000 * time.time())
        for start_ms in [*(now_ms - hours * HOUR_MS for hours in LOOK_BACK_H), 0]:
            if missing:
                rows = self._read_many(_ROWS, sorted(missing), start_ms, LAST_MS)
                found |= {key: int(chunk.t_ms[-1]) for key, chunk in rows.items()}
                missing -= found.keys()
        return found

    def _read(
        self, key: SiteKey, start_ms: int, end_ms: int, signals: Sequence[str] | None
    ) -> Chunk:
        """Rows with the column ``row``, and what is beside them if it is asked for by name."""
        if signals is None:
            names = f"{STATION}_.*"
        else:
            names = "|".join(
                f"{STATION}_{name}" for name in (ROW, *signals) if name in {ROW, *SIGNALS}
            )
        rows = self._read_many(names, [key], start_ms, end_ms).get(key, EMPTY)
        unknown = {tag(name): name for name in signals or () if name not in SIGNALS}
        if not len(rows) or not unknown:
            return rows
        match = _match(_VALUE, [key], f',signal=~"{"|".join(unknown)}"')
        parts = [
            Chunk(chunk.t_ms, {unknown[said]: chunk.signals[_VALUE]})
            for labels, chunk in self._export(match, start_ms, end_ms)
            if (said := labels["signal"]) in unknown
        ]
        return Chunk(rows.t_ms, {**rows.signals, **beside(rows.t_ms, merge(parts))})

    def _read_many(
        self, names: str, keys: Sequence[SiteKey], start_ms: int, end_ms: int
    ) -> dict[SiteKey, Chunk]:
        """Rows of the sites that have any, with the signals whose series the pattern names."""
        by_tenant: defaultdict[str, list[SiteKey]] = defaultdict(list)
        for key in keys:
            by_tenant[key.tenant].append(key)
        parts: defaultdict[SiteKey, list[Chunk]] = defaultdict(list)
        for same in by_tenant.values():
            for i in range(0, len(same), SITES_PER_QUERY):
                named = by_tags(same[i : i + SITES_PER_QUERY])
                match = _match(names, list(named.values()))
                for labels, chunk in self._export(match, start_ms, end_ms):
                    said = labels["tenant"], labels["site"]
                    if said in named:
                        parts[named[said]].append(chunk)
        found = {}
        for key, chunks in parts.items():
            rows = merge(chunks)
            if ROW not in rows.signals:
                continue
            is_row = ~np.isnan(rows.signals[ROW]) & (rows.t_ms >= self._floor)
            if is_row.any():
                found[key] = rows if is_row.all() else take(rows, is_row)
        return found

    def _export(self, match: str, start_ms: int, end_ms: int) -> list[tuple[dict[str, str], Chunk]]:
        """Series with their one column, those with corrections behind the ones they correct."""
        found = []
        for line in self._export_text(match, start_ms, end_ms).splitlines():
            series = _series.decode(line)
            name = series.metric["__name__"].removeprefix(f"{STATION}_")
            values = np.array(series.values, np.float64)
            found.append(
                (series.metric, Chunk(np.array(series.timestamps, np.int64), {name: values}))
            )
        return sorted(found, key=lambda pair: int(pair[0].get("rev", 0)))

    def _export_text(self, match: str, start_ms: int, end_ms: int) -> bytes:
        start_ms, end_ms = max(start_ms, 0), min(end_ms, LAST_MS)
        if start_ms >= end_ms:
            return b""
        self._refresh()
        asked = {"match[]": _anew(match), "start": _seconds(start_ms), "end": _seconds(end_ms - 1)}
        return self._asked("GET", "/api/v1/export", params=asked).content

    def _refresh(self) -> None:
        """Have everything written be seen: by itself the server takes some seconds for that."""
        self._check()
        if self._unsettled:
            self._settle()
        if not self._fresh:
            self._fresh = True
            try:
                self._asked("GET", "/internal/force_flush")
            except StoreUnavailable:
                self._fresh = False
                raise

    def _asked(self, method: str, path: str, **more: object) -> httpx.Response:
        """A question that is always the same can only fail for the server's reasons."""
        try:
            return self._request(method, path, **more)
        except (Refused, TooLarge) as error:
            raise StoreUnavailable(
                f"{self._target} refuses {path} ({error})",
                "check that the address is that of a single-node VictoriaMetrics",
            ) from error


def _match(names: str, keys: Sequence[SiteKey], more: str = "") -> str:
    """A selector of series of sites of one tenant."""
    sites = [tag(key.site) for key in keys]
    which = f'site="{sites[0]}"' if len(sites) == 1 else f'site=~"{"|".join(sites)}"'
    return f'{{__name__=~"{names}",tenant="{tag(keys[0].tenant)}",{which}{more}}}'


def _anew(match: str) -> str:
    """The same selector as a question never asked before.

    For up to ten seconds the server answers one it knows with the series it found then, flush or no
    flush: a series that came meanwhile would be missed.
    """
    return f'{match[:-1]},asked!="{secrets.token_hex(8)}"}}'


def _days(period: str) -> float:
    """A retention period as the flag says it: months where no unit is told."""
    told = re.fullmatch(r"([0-9.]+)([hdwy]?)", period)
    units = {"h": 1 / 24, "d": 1, "w": 7, "y": 365, "": 31}
    return float(told[1]) * units[told[2]] if told else math.inf


def _metric(exposition: str, series: str) -> str:
    found = re.search(rf"^{re.escape(series)} (\S+)", exposition, re.MULTILINE)
    return found[1] if found else ""


def _seconds(t_ms: int) -> str:
    return f"{t_ms // 1000}.{t_ms % 1000:03d}"
