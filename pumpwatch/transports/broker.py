"""A broker of our own for the demo and the tests: a private child on the loopback."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pumpwatch.domain.errors import PumpwatchError

HOST = "127.0.0.1"
PROGRAMS = ("mosquitto", "amqtt")
_SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/opt/homebrew/sbin"

MOSQUITTO_CONF = """\
# written by pumpwatch at every start
listener {port} {host}
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_interval 60
persistent_client_expiration 30d
max_inflight_messages 10000
max_queued_messages 1000000
max_queued_bytes 1073741824
max_packet_size 131072
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""

_UNDER_PARENT = """\
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG, then become the broker: it ends with its parent, even one that was killed."""


class BrokerError(PumpwatchError):
    """The broker of our own could not be started."""


class EmbeddedBroker:
    """mosquitto if it is installed, else amqtt; listens on the loopback only, without passwords.

    Port 0 takes a free one. Its files (configuration, log, mosquitto's persistence) are under
    ``data_dir/broker``. May be started again after it ended, on the same port.
    """

    def __init__(self, data_dir: Path, port: int = 0, programs: Sequence[str] = PROGRAMS) -> None:
        self.host = HOST
        self.port = port
        self.program = ""
        self._any_port = port == 0
        self._programs = programs
        self._folder = data_dir / "broker"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self, timeout_s: float = 15.0) -> None:
        """Return when the broker accepts connections. Raises `BrokerError` naming the remedy."""
        if self.alive:
            return
        self.program, command = self._choose()
        self._folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(3):
            if self._any_port and (attempt or not self.port):
                self.port = _free_port()
            if not _is_free(self.port):
                if self._any_port:
                    continue
                raise BrokerError(
                    f"port {self.port} is in use",
                    "stop what listens there or choose another port (0 takes a free one)",
                )
            self._child = _spawn(command(self.port), self._folder / "broker.log")
            if self._wait_until_it_accepts(timeout_s):
                return
            self.stop()
        raise BrokerError(
            f"{self.program} did not start: {self._last_words()}",
            f"see {self._folder / 'broker.log'}",
        )

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let it end and save its sessions, or end it."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _choose(self) -> tuple[str, Callable[[int], list[str]]]:
        path = f"{os.environ.get('PATH', '')}:{_SYSTEM_PATHS}"
        mosquitto = shutil.which("mosquitto", path=path)
        if "mosquitto" in self._programs and mosquitto is not None:
            return "mosquitto", lambda port: [mosquitto, "-c", str(self._configure(port))]
        if "amqtt" in self._programs and importlib.util.find_spec("amqtt") is not None:
            module = "pumpwatch.transports.amqtt_broker"
            return "amqtt", lambda port: [sys.executable, "-m", module, str(port)]
        raise BrokerError(
            "there is no broker on this machine",
            "install mosquitto (apt-get install mosquitto), or the one in Python "
            "(pip install 'pumpwatch[broker]')",
        )

    def _configure(self, port: int) -> Path:
        path = self._folder / "mosquitto.conf"
        path.write_text(
            MOSQUITTO_CONF.format(
                port=port, host=HOST, user=getpass.getuser(), folder=self._folder.resolve()
            )
        )
        return path

    def _wait_until_it_accepts(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive and time.monotonic() < deadline:
            try:
                with socket.create_connection((HOST, self.port), timeout=1):
                    return True
            except OSError:
                time.sleep(0.02)
        return False

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "broker.log").read_text(errors="replace").split("\n")
        except OSError:
            return "it said nothing"
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the child from a thread that waits for it.

    Linux sends the parent-death signal when the *thread* that made the child ends, so that thread
    must live as long as the child.
    """
    started = threading.Event()
    children: list[subprocess.Popen[bytes] | OSError] = []

    def keep() -> None:
        wrapped = [sys.executable, "-IS", "-c", _UNDER_PARENT, str(os.getpid()), *command]
        try:
            with log.open("wb") as out:
                child = subprocess.Popen(  # noqa: S603
                    wrapped,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        except OSError as error:
            children.append(error)
            started.set()
            return
        children.append(child)
        started.set()
        child.wait()

    threading.Thread(target=keep, name="pumpwatch-broker", daemon=True).start()
    started.wait()
    child = children[0]
    if isinstance(child, OSError):
        raise BrokerError(f"the broker cannot be started ({child})", f"check {log.parent}")
    return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
