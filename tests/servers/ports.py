"""Ports for the servers of tests: ones the kernel gives to nobody who asks it for any."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _COUNT = 20_000, 12_000
"""Below those of outgoing connections and of port 0, on Linux from 32,768 on."""
_APART = 97
"""Processes begin so far from each other: the workers of one run have neighbouring ids."""

_numbers = itertools.count()


def free_port() -> int:
    """A loopback port that was free a moment ago. Raises `RuntimeError` when none is."""
    for number in itertools.islice(_numbers, _COUNT):
        port = _FIRST + (os.getpid() * _APART + number) % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20,000 and 32,000")
