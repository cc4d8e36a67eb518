"""In a process under test: dies, as by ``kill -9``, when it passes a point it was told of."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENT = "pumpwatch.reached"


class Fuse:
    """Ends the process at the ``n``-th passing of a label."""

    def __init__(self) -> None:
        self._label, self._left = "", 0
        sys.addaudithook(self._hear)

    def arm(self, label: str, n: int) -> None:
        self._left = n
        self._label = label

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == EVENT and arguments[0] == self._label:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


Command = dict[str, Any]


def obey(where: Path, commands: dict[str, Callable[..., None]]) -> None:
    """Carry out commands that are sent to the socket ``where``, each a JSON object with ``do``."""
    where.unlink(missing_ok=True)
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(where))

    def listen() -> None:
        while True:
            command = json.loads(ear.recv(4096))
            commands[command.pop("do")](**command)

    threading.Thread(target=listen, name="obey", daemon=True).start()


def tell(where: Path, do: str, **arguments: Any) -> bool:
    """Send a command; False when nobody listens there (any more)."""
    mouth = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mouth.sendto(json.dumps({"do": do, **arguments}).encode(), str(where))
    except OSError:
        return False
    finally:
        mouth.close()
    return True
