"""Starts processes in milliseconds: one process has everything imported and forks the others.

`Nursery` is the side of the supervisor. Whatever it started ends with it, however it ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
_PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    pid: int
    ended: threading.Event = field(default_factory=threading.Event)
    status: int | None = None

    def send(self, number: signal.Signals) -> None:
        """A signal, unless the process is known to be gone."""
        if not self.ended.is_set():
            os.kill(self.pid, number)


class Nursery:
    """Forks children that run a role: ``module:function`` of this package, with keyword arguments."""

    def __init__(self, log: Path) -> None:
        self._log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PUMPWATCH_")}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.reliability.nursery"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
                cwd=ROOT, env=environment,
            )  # fmt: skip
        self._children: dict[int, Child] = {}
        self._born: list[int] = []
        self._birth = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, role: str, log: Path, **arguments: Any) -> Child:
        order = {"role": role, "log": str(log), "arguments": arguments}
        pipe = self._process.stdin
        assert pipe is not None
        with self._one_at_a_time:
            pipe.write(json.dumps(order).encode() + b"\n")
            pipe.flush()
            with self._birth:
                self._birth.wait_for(lambda: self._born or self._process.poll() is not None, 300)
                if not self._born:
                    raise RuntimeError(f"the nursery does not answer: see {self._log}")
                return self._children[self._born.pop()]

    def close(self) -> None:
        """Kill every child and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            news = json.loads(line)
            with self._birth:
                if "born" in news:
                    self._children[news["born"]] = Child(news["born"])
                    self._born.append(news["born"])
                    self._birth.notify_all()
                else:
                    child = self._children.pop(news["ended"])
                    child.status = news["status"]
                    child.ended.set()
        with self._birth:
            self._birth.notify_all()


# -- the nursery's own process ---------------------------------------------------------------------


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _become(order: dict[str, Any], roles: dict[str, Callable[..., None]], keep: list[int]) -> None:
    """In the child: output to its log, default signals, then the role, then nothing more."""
    status = 1
    try:
        _die_with_parent()
        os.setsid()  # a service of its own: no terminal's signals, its own share of the processor
        out = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in ((0, null), (1, out), (2, out)):
            os.dup2(fd, number)
        for fd in keep:
            os.close(fd)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        roles[order["role"]](**order["arguments"])
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _say(**news: int) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


def main() -> None:
    from tests.reliability.roles import ROLES

    _die_with_parent()
    awake_r, awake_w = os.pipe()
    os.set_blocking(awake_w, False)
    signal.set_wakeup_fd(awake_w)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    alive: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([0, awake_r], [], [])
        if awake_r in ready:
            os.read(awake_r, 4096)
            for pid in list(alive):
                gone, status = os.waitpid(pid, os.WNOHANG)
                if gone:
                    alive.discard(pid)
                    _say(ended=pid, status=os.waitstatus_to_exitcode(status))
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(line), ROLES, [awake_r, awake_w])
                alive.add(pid)
                _say(born=pid)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
