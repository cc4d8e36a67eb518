"""The web server's thread, and a port that says clearly when it is taken."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from fastapi import FastAPI

from pumpwatch.app.settings import WebSettings
from pumpwatch.domain.errors import InvalidInput, PumpwatchError

START_S = 20.0


LOOPBACK = ("127.0.0.1", "::1", "localhost")


def names_of(web: WebSettings) -> tuple[str, ...]:
    """The names by which the pages may be called. Raises `InvalidInput` when others than this machine
    may come and none was given: a foreign page could then speak in a visitor's name."""
    if web.host not in LOOPBACK and not web.hosts:
        raise InvalidInput(
            "web.hosts",
            f"missing, and web.host is {web.host}",
            "list the names people type, e.g. ['hub.town.example'], or listen on 127.0.0.1",
        )
    return ("127.0.0.1", "localhost", "[::1]", *web.hosts)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `PumpwatchError` naming the port and the way out when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except socket.gaierror as error:
        bound.close()
        raise InvalidInput(
            "web.host",
            f"{host} cannot be found ({error.strerror})",
            "give an address of this machine",
        ) from None
    except OSError as error:
        bound.close()
        raise PumpwatchError(
            f"port {port} of {host} cannot be used ({error.strerror})",
            "stop what listens there, or choose another with --port (0 takes a free one)",
        ) from None
    return bound


class WebServer:
    """Serves ``app`` on a bound socket in a thread of its own, so that the main thread may wait."""

    def __init__(self, app: FastAPI, bound: socket.socket) -> None:
        self._socket = bound
        host, port = bound.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{port}"
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=3, lifespan="off"
        )
        self._server = _Quiet(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name="web", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        for _ in range(int(START_S / 0.02)):
            if self._server.started or not self._thread.is_alive():
                break
            self._thread.join(0.02)
        if not self._server.started:
            raise PumpwatchError(f"the web server at {self.url} did not start", "see the log")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever owns the process."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def wait_for_stop(alive: Callable[[], bool], seconds: float | None = None) -> None:
    """Sleep until SIGINT or SIGTERM, until ``alive`` says no, or for ``seconds``."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    end_s = None if seconds is None else time.monotonic() + seconds
    try:
        while alive() and not stop.wait(0.2):
            if end_s is not None and time.monotonic() >= end_s:
                return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
