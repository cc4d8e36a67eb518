"""Samples in InfluxDB: lines to write, InfluxQL to read, which versions 1, 2 and 3 all understand."""

# InfluxQL, not SQL: names are from the nomenclature and tags hold nothing that would need an escape
# ruff: noqa: S608

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from pumpwatch.domain.errors import PumpwatchError, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rows import EMPTY, merge
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
    tag,
)

Mode = Literal["v1", "v2", "v3"]
MODES: dict[int, Mode] = {1: "v1", 2: "v2", 3: "v3"}

ROWS_PER_QUERY = 200_000
SITES_PER_QUERY = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Series(msgspec.Struct):
    columns: list[str]
    values: list[list[Any]] = []
    """Numbers and nulls; the answers about the server hold words as well."""
    tags: dict[str, str] = {}
    partial: bool = False


class _Result(msgspec.Struct):
    series: list[_Series] = []
    error: str = ""


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    error: str = ""


_answer = msgspec.json.Decoder(_Answer)


class InfluxSeries(LineSeries):
    """`TimeSeriesStore` in the database (v1, v3) or bucket (v2) ``database`` of InfluxDB at ``url``.

    ``mode`` names the generation. v1: ``user`` and ``password`` if it asks for them; lines go to
    ``/write``. v2: ``token`` and ``org``; the bucket must be readable by InfluxQL under its own name
    (InfluxDB 2 arranges that by itself for a bucket that has no mapping). v3: ``token``. v2 and v3
    are written through influxdb-client, one synchronous request of one string at a time: nothing
    waits in its memory. ``path`` is the small file that keeps the position. With https, reading and v1
    use the context ``tls``, influx-db's client the authority in ``ca_file``.

    InfluxDB overwrites a field that comes again at the same time, so a later value wins and a gap
    never erases. InfluxDB 3 Core cannot delete rows: there `delete` and `apply_retention` raise
    `PumpwatchError` with the remedy.
    """

    def __init__(
        self,
        url: str,
        database: str,
        *,
        path: Path,
        mode: Mode = "v2",
        org: str = "",
        token: str = "",
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        ca_file: Path | None = None,
        compress: bool = True,
        timeout_s: float = 10.0,
        reader: bool = False,
    ) -> None:
        scheme = "Bearer" if mode == "v3" else "Token"
        super().__init__(
            path,
            f"InfluxDB {url} {database}",
            url,
            headers={"Authorization": f"{scheme} {token}"} if token else {},
            user=user,
            password=password,
            tls=tls,
            compress=compress,
            timeout_s=timeout_s,
            reader=reader,
        )
        self._database, self._mode, self._org = database, mode, org
        self._influx = InfluxDBClient(
            url, token, org=org or "-", timeout=int(1000 * timeout_s), enable_gzip=compress,
            ssl_ca_cert=str(ca_file) if ca_file else None,
        )  # fmt: skip
        self._writer = self._influx.write_api(write_options=SYNCHRONOUS)

    def problems(self) -> list[tuple[str, str]]:
        found = super().problems()
        version = self._version()
        if version and version[0] != self._mode[1]:
            other = f"{self._target} is version {version}, not {self._mode[1]}"
            return [*found, (other, f"set series.version to {version[0]}")]
        policies = self._ask(f'SHOW RETENTION POLICIES ON "{self._database}"')
        for row in (row for series in policies for row in series.values):
            told = dict(zip(policies[0].columns, row, strict=True))
            hours = re.match(r"([0-9]+)h", str(told.get("duration", "")))
            if told.get("default") and hours and 0 < int(hours[1]) < 24 * LEAST_KEPT_D:
                short = f"{self._target} forgets after {int(hours[1]) / 24:g} days"
                found.append((short, "give the database or bucket a longer retention there"))
        return found

    def _version(self) -> str:
        """The version the server says it is; empty where it does not say."""
        answer = self._request("GET", "/ping")
        told = str(answer.headers.get("X-Influxdb-Version", ""))
        if not told and answer.headers.get("Content-Type", "").startswith("application/json"):
            told = str(answer.json().get("version", ""))
        return told.lstrip("v")

    # -- writing -------------------------------------------------------------------------------

    def _post(self, lines: str) -> None:
        if self._mode == "v1":
            params = {"db": self._database, "precision": "ms"}
            return self._post_lines("/write", lines, params)
        try:
            self._writer.write(self._database, record=lines, write_precision="ms")  # type: ignore[arg-type]
        except ApiException as error:
            if not error.status:
                raise self._unreachable(error) from error
            raise self._fault(error.status, str(error.message), error.retry_after) from error
        except HTTPError as error:
            raise self._unreachable(error) from error

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._lock:
            gone = self._count(key, start_ms, end_ms)
            self._newest.pop(key, None)
            tags = {"tenant": tag(key.tenant), "site": tag(key.site)}
            for measurement in (STATION, EXTRA):
                self._delete(measurement, tags, start_ms, end_ms)
        return gone

    def apply_retention(self, before_ms: int) -> int:
        with self._lock:
            old = f'SELECT count("{ROW}") FROM "{STATION}" WHERE {_during(-LAST_MS, before_ms)}'
            gone = sum(int(s.values[0][1] or 0) for s in self._ask(old))
            self._raise_floor(before_ms)
            for measurement in (STATION, EXTRA):
                self._delete(measurement, {}, -LAST_MS, before_ms)
        return gone

    def close(self) -> None:
        self._influx.close()  # type: ignore[no-untyped-call]
        super().close()

    def _delete(self, measurement: str, tags: dict[str, str], start_ms: int, end_ms: int) -> None:
        if self._mode == "v3":
            raise PumpwatchError(
                "InfluxDB 3 cannot delete rows",
                f"set a retention period for the database {self._database!r} there",
            )
        if self._mode == "v1":
            where = " AND ".join(
                [*(f"{k} = '{v}'" for k, v in tags.items()), _during(start_ms, end_ms)]
            )
            self._ask(f'DELETE FROM "{measurement}" WHERE {where}', "POST")
            return
        terms = {"_measurement": measurement, **tags}
        self._asked(
            "POST",
            "/api/v2/delete",
            params={"org": self._org, "bucket": self._database},
            json={
                "start": _iso(start_ms),
                # the last nanosecond before: right whether the server takes the end in or not
                "stop": _iso(end_ms - 1).replace("Z", "999999Z"),
                "predicate": " AND ".join(f'{name}="{value}"' for name, value in terms.items()),
            },
        )

    def _standing(self, key: SiteKey, chunk: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        start_ms, end_ms = int(chunk.t_ms[0]), int(chunk.t_ms[-1]) + 1
        there = self._read(STATION, f'"{ROW}"', _of(key), start_ms, end_ms).t_ms
        return np.isin(chunk.t_ms, there), np.zeros(len(chunk), np.int64)

    def _find_newest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, int]:
        found = self._by_site(f'SELECT last("{ROW}") FROM "{STATION}" WHERE', keys)
        return {key: int(series.values[0][0] or 0) for key, series in found.items()}

    # -- reading -------------------------------------------------------------------------------

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        if signals is None:
            fields = "*::field"
        else:
            fields = ", ".join(f'"{name}"' for name in (ROW, *signals) if name in {ROW, *SIGNALS})
        found = self._read(STATION, fields, _of(key), start_ms, end_ms)
        columns = {n: v for n, v in found.signals.items() if n in SIGNALS and _some(v)}
        for name in sorted(set(signals or ()) - SIGNALS.keys()):
            where = f"{_of(key)} AND signal = '{tag(name)}'"
            extra = self._read(EXTRA, '"value"', where, start_ms, end_ms)
            if "value" in extra.signals:
                values = {name: extra.signals["value"]}
                columns |= beside(found.t_ms, Chunk(extra.t_ms, values))
        return Chunk(found.t_ms, columns)

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        if signal not in SIGNALS:
            return EMPTY
        start_ms, end_ms, width = bucket_grid(start_ms, end_ms, points)
        answer = self._ask(
            f'SELECT min("{signal}"), mean("{signal}"), max("{signal}") FROM "{STATION}"'
            f" WHERE {_of(key)} AND {_during(start_ms, end_ms)}"
            f" GROUP BY time({width}ms, {start_ms % width}ms) fill(none)"
        )
        return _table(answer)

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        newest = f'SELECT *::field FROM "{STATION}" WHERE'
        found = {}
        for key, series in self._by_site(newest, keys, " ORDER BY time DESC LIMIT 1").items():
            row = dict(zip(series.columns, series.values[0], strict=True))
            values = {n: v for n, v in row.items() if n in SIGNALS and v is not None}
            found[key] = int(row["time"] or 0), values
        return found

    def count(self, key: SiteKey) -> int:
        return self._count(key, -LAST_MS, LAST_MS)

    def _count(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        span = _during(start_ms, end_ms)
        rows = self._ask(f'SELECT count("{ROW}") FROM "{STATION}" WHERE {_of(key)} AND {span}')
        return int(rows[0].values[0][1] or 0) if rows else 0

    def _read(self, measurement: str, fields: str, where: str, start_ms: int, end_ms: int) -> Chunk:
        """Rows of one site, a bounded number at a time: a server may limit what one answer holds.

        ``partial`` says only that there may be more: 1.6 says so of every answer above 10,000 rows.
        """
        parts: list[Chunk] = []
        while True:
            answer = self._ask(
                f'SELECT {fields} FROM "{measurement}" WHERE {where}'
                f" AND {_during(start_ms, end_ms)} LIMIT {ROWS_PER_QUERY}"
            )
            rows = _table(answer)
            parts.append(rows)
            if not len(rows) or not (len(rows) == ROWS_PER_QUERY or answer[0].partial):
                return merge([part for part in parts if len(part)])
            start_ms = int(rows.t_ms[-1]) + 1

    def _by_site(
        self, query: str, keys: Iterable[SiteKey], end: str = ""
    ) -> dict[SiteKey, _Series]:
        named = by_tags(keys)
        sites = list(named)
        found = {}
        for i in range(0, len(sites), SITES_PER_QUERY):
            some = " OR ".join(
                f"(tenant = '{tenant}' AND site = '{site}')"
                for tenant, site in sites[i : i + SITES_PER_QUERY]
            )
            for series in self._ask(f"{query} ({some}) GROUP BY tenant, site{end}"):
                found[named[series.tags["tenant"], series.tags["site"]]] = series
        return found

    def _ask(self, query: str, method: str = "GET") -> list[_Series]:
        params = {"db": self._database, "epoch": "ms", "q": query}
        body = self._asked(method, "/query", params=params)
        try:
            answer = _answer.decode(body)
        except ValueError as error:
            raise StoreUnavailable(
                f"{self._target} answered {query[:80]!r} with something else than rows ({error})",
                "check that the address is InfluxDB's own",
            ) from error
        series = [s for result in answer.results for s in result.series]
        wrong = [answer.error, *(result.error for result in answer.results)]
        if any(wrong):
            said = "; ".join(filter(None, wrong))
            raise StoreUnavailable(
                f"{self._target} could not answer a query ({said})",
                "check that the database exists and may be read; it is tried again",
            )
        return series

    def _asked(self, method: str, path: str, **more: object) -> bytes:
        """A question that is always the same can only fail for the server's reasons."""
        try:
            return self._request(method, path, **more).content
        except (Refused, TooLarge) as error:
            raise StoreUnavailable(
                f"{self._target} refuses {path} ({error})",
                "check that the address, the mode and the database are those of InfluxDB",
            ) from error


def _table(answer: list[_Series]) -> Chunk:
    """The one series of an answer: ``time`` and a column a field."""
    if not answer or not answer[0].values:
        return EMPTY
    table = np.array(answer[0].values, np.float64).T
    columns = dict(zip(answer[0].columns, table, strict=True))
    t_ms = columns.pop("time").astype(np.int64)
    return Chunk(t_ms, {name: np.ascontiguousarray(v) for name, v in columns.items()})


def _of(key: SiteKey) -> str:
    return f"tenant = '{tag(key.tenant)}' AND site = '{tag(key.site)}'"


def _during(start_ms: int, end_ms: int) -> str:
    return f"time >= {_within(start_ms)}ms AND time < {_within(end_ms)}ms"


def _within(t_ms: int) -> int:
    return int(min(max(t_ms, -LAST_MS), LAST_MS))


def _iso(t_ms: int) -> str:
    at = _EPOCH + timedelta(milliseconds=_within(t_ms))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _some(values: NDArray[np.float64]) -> bool:
    return not np.isnan(values).all()
