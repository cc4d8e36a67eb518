"""A whole town of real processes: broker, hub, agents, receiver, proxies; started, struck, healed."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

from pumpwatch.app.datadir import DataDir
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch_edge.clock import wall_ms

from ..servers.ports import free_port
from .crash import tell
from .labels import BY_NAME, MID_HTTP
from .nursery import Child, Nursery
from .station import SAMPLE_MS, TENANT, Board

IN_FLIGHT = 50
"""Fewer messages than this under way, and no kill is counted."""
ONE_WAY_S = 0.4
"""Every line to a station has the delay of a radio modem."""
PATIENCE_S = 120.0
SETTLED_S = 900.0
"""A busy machine works off in minutes what the kills left behind; on a quiet one it takes seconds."""
OPENING = Lock()
"""Towns side by side share a process, and alembic's way to open a ledger is not for two threads."""
SECRET = "whsec_" + base64.b64encode(b"reliability" * 3).decode()


@dataclass(frozen=True)
class Plan:
    """How large the town is, how fast it speaks, and what in it is wrong on purpose."""

    sites: int = 10
    rate_hz: float = 5.0
    keep: int = 5
    inbox: str = ""
    agent: str = ""
    series: str = ""
    """URL of a time-series server; '' for the hub's own file."""


@dataclass
class Strike:
    """One kill: where, with how many messages under way, and how long until things moved again."""

    label: str
    in_flight: int
    at_ms: int
    hit: bool = True
    """False: the point was not passed in time, and the process was killed where it stood."""
    recovered_s: float | None = None


@dataclass
class Town:
    folder: Path
    nursery: Nursery
    plan: Plan
    seed: int
    data_dir: Path
    strikes: list[Strike] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    """Alerts that the hub said somebody has taken (2xx)."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = Random(self.seed)
        self.start_ms = wall_ms() // SAMPLE_MS * SAMPLE_MS - DAY_MS
        names = [f"mh-{n:02d}" for n in range(1, self.plan.sites + 1)]
        self.groups = {"edge-a": [*names[::2], "mh-an"], "edge-b": [*names[1::2], "mh-bn"]}
        self.sites = sorted(site for group in self.groups.values() for site in group)
        self.numbers = {site: n for n, site in enumerate(self.sites)}
        self.ports = {
            name: free_port() for name in ("broker", "web", "receiver", "to-edge", "to-hub")
        }
        self.broker = EmbeddedBroker(self.folder, self.ports["broker"], programs=("mosquitto",))
        self.children: dict[str, Child] = {}
        self._boards = {name: Board(self.folder / f"{name}.board") for name in self.groups}
        self._seen = 0

    # -- life ------------------------------------------------------------------------------------

    def open(self) -> None:
        self._found()
        self.broker.start()
        self.start("receiver")
        self.start("to-edge")
        self.heal()
        self.start("to-hub")
        self.start("hub")
        for name in self.groups:
            self.start(name)
        self.until(lambda: self.acked("edge-a") and self.acked("edge-b"), "the town speaks")

    def close(self) -> None:
        """Kill what still runs."""
        for child in self.children.values():
            child.send(signal.SIGKILL)
        for child in self.children.values():
            child.ended.wait(10)
        self.broker.stop()

    def start(self, name: str) -> Child:
        make: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
            "hub": self._hub,
            "receiver": lambda: ("receiver", {"port": self.ports["receiver"]}),
            "to-edge": lambda: self._proxy("to-edge"),
            "to-hub": lambda: self._proxy("to-hub"),
            "rogue": lambda: (
                "rogue",
                {"port": self.ports["broker"], "sites": self.sites, "seed": self.seed},
            ),
        }
        role, arguments = make[name]() if name in make else self._stations(name)
        log = self.folder / f"{name}.log"
        child = self.nursery.start(role, log, folder=str(self.folder), **arguments)
        self.children[name] = child
        if name in self.groups:
            self._boards[name].write(self.backlog(name), 0, 0)
        return child

    def stop(self, name: str) -> int:
        """Ask it to end; its exit status."""
        child = self.children[name]
        child.send(signal.SIGTERM)
        if not child.ended.wait(PATIENCE_S):
            raise AssertionError(f"{name} does not end: {self.words(name)}")
        return child.status or 0

    def tell(self, name: str, do: str, **arguments: Any) -> None:
        self.until(
            lambda: tell(self.folder / f"{name}.sock", do, **arguments), f"{name} hears {do}"
        )

    # -- what is asked ---------------------------------------------------------------------------

    def backlog(self, name: str) -> int:
        return self._boards[name].read()[0]

    def acked(self, name: str) -> int:
        """Messages confirmed by the hub since this process of stations began."""
        return self._boards[name].read()[1]

    def in_flight(self) -> int:
        """Messages that agents have taken charge of and no watermark covers yet."""
        return sum(self.backlog(name) for name in self.groups)

    def ask(self, path: str) -> Any:
        """An answer of the hub as JSON; None while it does not answer."""
        status, answer = self._request(path, None)
        return answer if status == 200 else None

    def _request(self, path: str, body: dict[str, str] | None) -> tuple[int, Any]:
        """Status and answer; status 0 when there was none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['web']}{path}",
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, None
        except (OSError, ValueError, http.client.HTTPException):
            return 0, None

    def words(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace")[-4_000:] if log.exists() else ""

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not within {seconds:g} s: {what}\n{self.words('hub')}")

    # -- kills -----------------------------------------------------------------------------------

    def strike(self, label: str, name: str = "") -> Strike:
        """Kill a process where ``label`` says, and start it again. Different processes may be
        struck at the same time, each by a thread of its own."""
        about = BY_NAME[label]
        if not name:
            name = self.random.choice(list(self.groups)) if about.victim == "edge" else "hub"
        self.until(lambda: self.in_flight() >= IN_FLIGHT, "enough is in flight")
        child = self.children[name]
        if label == MID_HTTP:
            self.tell("receiver", "mode", mode="kill", victim=child.pid)
        else:
            self.tell(name, "arm", label=label, n=self.random.randint(1, about.within))
        hit = self._await_end(child, people=label.startswith("web."))
        if not hit:
            if label == MID_HTTP:
                self.tell("receiver", "mode", mode="ok")
            child.send(signal.SIGKILL)
            child.ended.wait(10)
        strike = Strike(label, self.in_flight(), wall_ms(), hit)
        if strike.in_flight >= IN_FLIGHT:
            self.strikes.append(strike)
        self.revive(name, strike)
        return strike

    def revive(self, name: str, strike: Strike) -> None:
        """Start it again; mostly wait until messages are confirmed, sometimes strike on at once."""
        began = time.monotonic()
        self.start(name)
        if self.random.random() < (0.6 if name in self.groups else 0.2):
            return
        if name in self.groups:
            self.until(lambda: self.acked(name), f"{name} is heard again")
        else:
            time.sleep(2 * ONE_WAY_S)  # what its predecessor confirmed has arrived by then
            before = {n: self.acked(n) for n in self.groups}
            self.until(
                lambda: any(self.acked(n) not in (0, before[n]) for n in self.groups),
                "the hub is back",
            )
        strike.recovered_s = time.monotonic() - began

    def _await_end(self, child: Child, *, people: bool, seconds: float = 12.0) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if people:
                self.answer()
            if child.ended.wait(0.02):
                return True
        return False

    def kill_broker(self, *, empty: bool) -> None:
        """SIGKILL; ``empty``: and everything it kept is gone."""
        pid = self.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: not self.broker.alive, "the broker is dead", 10)
        if empty:
            for file in (self.folder / "broker").glob("mosquitto.db*"):
                file.unlink()
        self.broker.stop()
        self.broker.start()

    def heal(self) -> None:
        """The lines are again as they usually are."""
        self.tell("to-edge", "set", mode="delay", delay_s=ONE_WAY_S)
        if "to-hub" in self.children:
            self.tell("to-hub", "set", mode="ok")

    # -- people ----------------------------------------------------------------------------------

    def answer(self) -> None:
        """Somebody takes the next alert they were told of; without an answer, again another time."""
        told = self.told()
        if self._seen < len(told):
            alert = told[self._seen]
            status, _ = self._request(f"/api/v1/alerts/{alert}/acknowledge", {"name": "crew"})
            if status == 200:
                self.answered.add(alert)
            self._seen += status != 0

    def told(self) -> list[str]:
        """Alerts whose opening was accepted, in order."""
        path = self.folder / "accepted"
        lines = path.read_text().splitlines() if path.exists() else []
        found = (line.split() for line in lines)
        return list(dict.fromkeys(alert for _, _, kind, alert in found if kind == "alert.opened"))

    # -- the end ---------------------------------------------------------------------------------

    def settle(self) -> float:
        """Let stations fall silent and everything arrive; returns how long that took [s]."""
        began = time.monotonic()
        for name in self.groups:
            self.tell(name, "quiet")
        self.until(self._is_settled, "everything has arrived and is told", SETTLED_S)
        took_s = time.monotonic() - began
        for name in [*self.groups, "hub"]:
            status = self.stop(name)
            assert status == 0, f"{name} ended with {status}: {self.words(name)}"
        return took_s

    def _is_settled(self) -> bool:
        self.answer()
        time.sleep(0.1)
        if not all(self._boards[name].read()[2] for name in self.groups):
            return False
        status = self.ask("/api/v1/status")
        if status is None or any(status["inbox_lag"].values()):
            return False
        time.sleep(0.5)  # the assessment may have found something in what it read last
        ledger = self.ledger()
        try:
            return ledger.next_due_ms() is None
        finally:
            ledger.close()

    def ledger(self) -> SqlLedger:
        with OPENING:
            return SqlLedger(DataDir(self.data_dir).core_url)

    # -- inside ----------------------------------------------------------------------------------

    def _found(self) -> None:
        """The data directory with its sites, as `pumpwatch sites import` would make it."""
        directory = DataDir(self.data_dir)
        directory.claim("live")
        ledger = self.ledger()
        for site in self.sites:
            about = Site(site, pumps=1, sample_s=SAMPLE_MS / 1000, stop_level_m=0.5,
                         start_level_m=1.1, well_depth_m=3.0)  # fmt: skip
            ledger.put_site(SiteKey(TENANT, site), about, SYSTEM, self.start_ms)
        ledger.close()

    def _hub(self) -> tuple[str, dict[str, Any]]:
        hook = {
            "url": f"http://127.0.0.1:{self.ports['receiver']}/hook",
            "secret": SECRET,
            "allow_loopback": True,
            "timeout_s": 3,
        }
        environment = {"PUMPWATCH_NOTIFY": json.dumps({"console": False, "webhook": hook})}
        if self.plan.series:
            environment["PUMPWATCH_SERIES"] = json.dumps(
                {"engine": "victoria", "url": self.plan.series}
            )
        arguments = ["--broker", f"127.0.0.1:{self.ports['to-hub']}"]
        arguments += ["--port", str(self.ports["web"])]
        return "hub", {
            "data_dir": str(self.data_dir),
            "arguments": arguments,
            "environment": environment,
            "inbox": self.plan.inbox,
        }

    def _stations(self, name: str) -> tuple[str, dict[str, Any]]:
        sites = self.groups[name]
        return "stations", {
            "name": name,
            "sites": sites,
            "numbers": [self.numbers[site] for site in sites],
            "start_ms": self.start_ms,
            "port": self.ports["to-edge"],
            "rate_hz": self.plan.rate_hz,
            "keep": self.plan.keep,
            "agent": self.plan.agent,
        }

    def _proxy(self, name: str) -> tuple[str, dict[str, Any]]:
        ends = {"port": self.ports[name], "target": self.ports["broker"]}
        return "proxy", {"name": name, **ends, "seed": self.seed}


@contextmanager
def town(
    folder: Path, plan: Plan | None = None, seed: int = 1, *, nursery: Nursery | None = None,
    data_dir: Path | None = None,
) -> Iterator[Town]:  # fmt: skip
    """A town that is open; whatever happens inside, none of its processes outlives the block."""
    folder.mkdir(parents=True, exist_ok=True)
    own = nursery or Nursery(folder / "nursery.log")
    made = Town(folder, own, plan or Plan(), seed, data_dir or folder / "hub")
    try:
        made.open()
        yield made
    finally:
        made.close()
        if nursery is None:
            own.close()
