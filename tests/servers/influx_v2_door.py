"""A strict stand-in for InfluxDB 2: its write and delete protocol in front of a real InfluxDB 1.

Written from the public description of the v2 API. It refuses whatever a real one would (token, organisation,
bucket, precision, encoding, size) and hands sound requests to the engine behind it, so that
the lines, their overwriting and InfluxQL are real. Faults can be laid in wait with `fail`.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx

TOKEN, ORG = "a-token", "a-town"
PRECISIONS = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}
CODES = {
    400: "invalid", 401: "unauthorized", 404: "not found", 413: "request too large",
    422: "unprocessable entity", 429: "too many requests", 503: "unavailable",
}  # fmt: skip


@dataclass
class Fault:
    status: int
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class StrictV2:
    """What the door knows. ``writes`` are the accepted requests' (path, query, headers, lines)."""

    engine_url: str
    buckets: set[str] = field(default_factory=set)
    max_bytes: int = 10_000_000
    faults: deque[Fault | None] = field(default_factory=deque)
    """What the next writes are answered with; None lets one through."""
    bad_lines: re.Pattern[str] | None = None
    """Lines that are refused one by one, as after a partial write: the others are stored."""
    writes: list[tuple[dict[str, str], dict[str, str], list[str]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.engine = httpx.Client(base_url=self.engine_url, trust_env=False)

    def fail(self, status: int, message: str = "", times: int = 1, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.extend([Fault(status, message, named)] * times)

    @contextmanager
    def open(self) -> Iterator[StrictV2]:
        door = self

        class Handler(_Handler):
            state = door

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: StrictV2
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        """InfluxQL, which is the engine's own."""
        url = urlsplit(self.path)
        if url.path == "/ping":
            return self._send(204, b"", {"X-Influxdb-Version": "v2.7.12"})
        if url.path != "/query":
            return self._answer(404, "path not found")
        if self._authorized():
            answer = self.state.engine.get(self.path)
            self._send(answer.status_code, answer.content)
        return None

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path not in ("/api/v2/write", "/api/v2/delete"):
            return self._answer(404, "path not found")
        if not self._authorized():
            return None
        if url.path == "/api/v2/write" and self.state.faults:
            fault = self.state.faults.popleft()
            if fault is not None:
                return self._answer(fault.status, fault.message, fault.headers)
        if query.get("org") != ORG:
            return self._answer(404, f'organization name "{query.get("org")}" not found')
        if query.get("bucket") not in self.state.buckets:
            return self._answer(404, f'bucket "{query.get("bucket")}" not found')
        if url.path == "/api/v2/delete":
            return self._delete(query, json.loads(body))
        return self._write(query, body)

    def _write(self, query: dict[str, str], body: bytes) -> None:
        state = self.state
        if query.get("precision") not in PRECISIONS:
            return self._answer(400, f"invalid precision {query.get('precision')!r}")
        if self.headers.get_content_type() != "text/plain":
            return self._answer(400, "line protocol is text/plain")
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding not in ("gzip", "identity"):
            return self._answer(400, f"unknown encoding {encoding}")
        if encoding == "gzip":
            body = gzip.decompress(body)
        if len(body) > state.max_bytes:
            return self._answer(413, "unable to read data: points batch is too large")
        lines = body.decode().split("\n")
        bad = [line for line in lines if state.bad_lines and state.bad_lines.search(line)]
        good = "\n".join(line for line in lines if line not in bad)
        params = {"db": query["bucket"], "precision": PRECISIONS[query["precision"]]}
        answer = state.engine.post("/write", params=params, content=good.encode())
        if not answer.is_success:
            return self._answer(answer.status_code, answer.json()["error"])
        if bad:
            return self._answer(422, f"failure writing points: partial write: dropped={len(bad)}")
        state.writes.append((query, dict(self.headers), lines))
        return self._send(204, b"")

    def _delete(self, query: dict[str, str], asked: dict[str, str]) -> None:
        start, stop = (_nanoseconds(asked[name]) for name in ("start", "stop"))
        terms = dict(re.findall(r'(\w+)="([^"]*)"', asked["predicate"]))
        rebuilt = " AND ".join(f'{name}="{value}"' for name, value in terms.items())
        if asked["predicate"] != rebuilt:
            return self._answer(400, "cannot parse predicate")
        measurement = terms.pop("_measurement")
        where = [f"time >= {start}", f"time <= {stop}", *(f"{n} = '{v}'" for n, v in terms.items())]
        statement = f'DELETE FROM "{measurement}" WHERE {" AND ".join(where)}'
        params = {"db": query["bucket"], "q": statement}
        answer = self.state.engine.post("/query", params=params)
        assert "error" not in answer.text, answer.text
        return self._send(204, b"")

    def _authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Token {TOKEN}":
            return True
        self._answer(401, "unauthorized access")
        return False

    def _answer(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps({"code": CODES.get(status, "internal error"), "message": message})
        self._send(status, body.encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.state.answers.append(status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)


def _nanoseconds(text: str) -> int:
    whole, fraction = re.fullmatch(r"(.+?)\.(\d{1,9})Z", text).groups()
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0"))
