"""The town's stations: what they measure, written into a side log first, then given to real agents.

Each moment of a station is worked out from its number, so that what the hub stores can be checked
value by value. The level float (`high_level`) is told by edges only: an event that is lost is an
alert that is lost. Times run ahead of the clock's pace (a sample stands for four seconds, and
comes five times a second), from a day ago on, so that an alert opens and ends within seconds.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pumpwatch_edge.agent import Action, Agent, Limits
from pumpwatch_edge.clock import ClockWatch, Now, wall_ms
from pumpwatch_edge.message import Body, Lane, Plan
from pumpwatch_edge.outbox import MAX_BYTES, SqliteOutbox
from pumpwatch_edge.runner import AgentRunner
from pumpwatch_edge.settings import BrokerSettings
from pumpwatch_edge.source import Edge, Reading, describe

from .crash import Fuse, obey

TENANT = "default"
SAMPLE_MS = 4_000
CYCLE, FILL = 600, 450
"""Samples of a pump cycle, and of its filling."""
EPISODE, HIGH = 50, 5
"""The float rises every so many samples, for so many."""
EDGE_MS = 300
"""An edge comes this long after the sample of its number."""
SIGNALS = ("level_m", "pump1_run", "high_level")
NARROW_BYTES = 3_000
"""An outbox for some 20 records: its stations speak in bursts for which it is too small."""
NARROW_BURST = 24


def is_narrow(site: str) -> bool:
    return site.endswith("n")


class Station:
    """What station ``site`` measures. ``number`` shifts it against the others."""

    def __init__(self, site: str, number: int, start_ms: int) -> None:
        self.site, self.start_ms = site, start_ms
        self._cycle, self._episode = 67 * number, 23 * number

    def t_ms(self, n: int) -> int:
        return self.start_ms + n * SAMPLE_MS

    def n_of(self, t_ms: int) -> int:
        return (t_ms - self.start_ms) // SAMPLE_MS

    def level_m(self, n: int) -> float:
        at = (n + self._cycle) % CYCLE
        share = at / FILL if at < FILL else (CYCLE - at) / (CYCLE - FILL)
        return round(0.5 + 0.6 * share + 0.0001 * (n % 7), 4)

    def reading(self, n: int) -> Reading:
        running = float((n + self._cycle) % CYCLE >= FILL)
        return Reading(self.t_ms(n), {"level_m": self.level_m(n), "pump1_run": running})

    def edges(self, n: int) -> list[Edge]:
        at = (n + self._episode) % EPISODE
        if at not in (EPISODE - 2 * HIGH, EPISODE - HIGH):
            return []
        return [Edge(self.t_ms(n) + EDGE_MS, "high_level", float(at == EPISODE - 2 * HIGH))]


# -- the two logs ----------------------------------------------------------------------------------


def side_log(folder: Path, site: str) -> Path:
    """What the generator made, before any agent saw it: ``wall_ms t_ms [value of an edge]``."""
    return folder / f"{site}.made"


def kept_log(folder: Path, site: str) -> Path:
    """What the agent's outbox had on disk: ``t_ms lane``."""
    return folder / f"{site}.kept"


class _Log:
    """Appended in whole lines; the kernel keeps them though the process dies."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, lines: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        if text:
            os.write(self._fd, text.encode())

    def close(self) -> None:
        os.close(self._fd)


class LoggedOutbox(SqliteOutbox):
    """The agent's own outbox, which also tells the checker what it has taken charge of."""

    def __init__(self, file: Path, kept: Path, max_bytes: int) -> None:
        super().__init__(file, max_bytes)
        self._kept = _Log(kept)
        for lane in Lane:  # what the last process committed without living to say so
            after = 0
            while records := self.read(lane, after, 500):
                self._kept.write(_kept_lines((lane, r.text) for r in records))
                after = records[-1].seq

    def append(self, bodies: Sequence[Body]) -> list[int]:
        seqs = super().append(bodies)
        self._kept.write(_kept_lines((body.lane, body.text) for body in bodies))
        return seqs


_TIMES = re.compile(rb'"t":\[?([0-9]+(?:,[0-9]+)*)')


def _kept_lines(items: Iterable[tuple[Lane, bytes]]) -> Iterable[str]:
    for lane, text in items:
        found = _TIMES.search(text)
        assert found is not None, text
        for t_ms in found[1].split(b","):
            yield f"{t_ms.decode()} {lane}"


class Panel:
    """A source that runs at ``rate_hz`` whatever happens, and goes on where its side log ends.

    While fewer than ``keep`` messages wait for the hub it hurries, so that enough is in flight.
    """

    signals: Mapping[str, Mapping[str, object]] = {name: describe(name) for name in SIGNALS}
    period_s = SAMPLE_MS / 1000

    def __init__(
        self, station: Station, log: Path, rate_hz: float, keep: int, quiet: threading.Event
    ) -> None:
        self._station, self._rate_hz, self._keep, self._quiet = station, rate_hz, keep, quiet
        self._burst = 1
        if is_narrow(station.site):
            self._burst, self._keep, self._rate_hz = NARROW_BURST, 0, 2 * rate_hz
        lines = log.read_text().splitlines() if log.exists() else []
        self._n = station.n_of(int(lines[-1].split()[1])) + 1 if lines else 0
        self._log = _Log(log)
        self._began_s, self._made = time.monotonic(), 0
        self.backlog: Callable[[], int] = lambda: 0

    @property
    def finished(self) -> bool:
        return self._quiet.is_set()

    def poll(self, now_ms: int, limit: int) -> list[Reading | Edge]:
        due = int((time.monotonic() - self._began_s) * self._rate_hz) - self._made
        due = min(limit, max(due // self._burst * self._burst, self._keep - self.backlog()), 100)
        items: list[Reading | Edge] = []
        for _ in range(due):
            items += [self._station.reading(self._n), *self._station.edges(self._n)]
            self._n += 1
        self._made += max(due, 0)
        wall = wall_ms()
        self._log.write(
            f"{wall} {i.t_ms} {i.value:g}" if isinstance(i, Edge) else f"{wall} {i.t_ms}"
            for i in items
        )
        return items

    def close(self) -> None:
        self._log.close()


# -- the process -----------------------------------------------------------------------------------


class Board:
    """A few numbers of a process, in a file that outlives it."""

    _FORM = struct.Struct("<qqq")

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(self._FORM.size)
            self._map = mmap.mmap(file.fileno(), self._FORM.size)

    def write(self, backlog: int, acked: int, done: int) -> None:
        self._map[:] = self._FORM.pack(backlog, acked, done)

    def read(self) -> tuple[int, int, bool]:
        """Messages kept that the hub has not confirmed, messages it confirmed since the process
        began, and whether all is done."""
        backlog, acked, done = self._FORM.unpack(self._map[:])
        return backlog, acked, bool(done)


class TrimsOnPuback(Agent):
    """Wrong on purpose: believes the broker's acknowledgement."""

    def puback(self, handles: Iterable[int], now: Now) -> list[Action]:
        handles = list(handles)
        for handle in handles:
            sent = self._unacked.get(handle)
            if sent is not None and sent.lane is not None:
                self.counters["acked"] += self.outbox.trim(sent.lane, sent.seq)
        return super().puback(handles, now)


def run(
    folder: str, name: str, sites: list[str], numbers: list[int], start_ms: int, port: int,
    rate_hz: float, keep: int, agent: str,
) -> None:  # fmt: skip
    """The stations ``sites`` until SIGTERM, each with an agent of its own."""
    where, quiet, leaving = Path(folder), threading.Event(), threading.Event()
    ahead = {"ms": 0}
    fuse = Fuse()
    obey(
        where / f"{name}.sock",
        {
            "arm": fuse.arm,
            "quiet": quiet.set,
            "clock": lambda ms: ahead.update(ms=ms),
        },
    )
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    make = TrimsOnPuback if agent == "trims_on_puback" else Agent
    runners = []
    for site, number in zip(sites, numbers, strict=True):
        panel = Panel(Station(site, number, start_ms), side_log(where, site), rate_hz, keep, quiet)
        outbox = LoggedOutbox(
            where / f"{site}.outbox",
            kept_log(where, site),
            NARROW_BYTES if is_narrow(site) else MAX_BYTES,
        )
        one = make(
            TENANT, site, outbox, signals=panel.signals, period_s=panel.period_s,
            plan=Plan(batch_samples=1), limits=Limits(patience_ms=3_000), watch=ClockWatch(),
        )  # fmt: skip
        panel.backlog = lambda one=one: one.backlog  # type: ignore[misc]
        broker = BrokerSettings(port=port, keepalive_s=5, retry_s=1, retry_max_s=2)
        runners.append(AgentRunner(one, panel, lambda: wall_ms() + ahead["ms"], broker))
    for runner in runners:
        runner.start()
    board = Board(where / f"{name}.board")
    while not leaving.wait(0.02):
        acked = sum(runner.agent.counters["acked"] for runner in runners)
        done = all(runner.finished for runner in runners)
        board.write(sum(runner.agent.backlog for runner in runners), acked, done)
    for runner in runners:
        runner.stop()
