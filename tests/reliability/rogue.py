"""A client that repeats what stations said, late and in any order, and says what nobody can read."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from .crash import obey
from .station import TENANT

REMEMBERED = 300


def poison(random: Random) -> bytes:
    """One payload that is no message: never the same twice, never with a stamp of a station."""
    mark = random.randbytes(8).hex()
    return random.choice(
        [
            random.randbytes(random.randrange(8, 200)),
            f'{{"schema":1,"mark":"{mark}"'.encode(),
            f'{{"schema":1,"mark":"{mark}","seq":NaN,"t":[Infinity],"signals":{{}}}}'.encode(),
            b"[" * random.randrange(1_000, 5_000) + mark.encode(),
            json.dumps({"schema": 99, "mark": mark, "t": "soon"}).encode(),
            json.dumps({"schema": 1, "epoch": mark, "seq": -1, "t": [], "signals": 7}).encode(),
            f"{mark}\x00\ufffe".encode("utf-16"),
        ]
    )


def run(folder: str, port: int, sites: list[str], seed: int) -> None:
    """Listen until killed; ``poison`` and ``repeat`` send so many messages at once."""
    random, heard = Random(seed), deque[tuple[str, bytes]](maxlen=REMEMBERED)
    log = os.open(Path(folder) / "poison", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="rogue")
    client.max_queued_messages_set(10_000)

    def connected(*_: Any) -> None:
        client.subscribe(
            [(f"pumpwatch/v1/{TENANT}/+/{channel}", 0) for channel in ("telemetry", "event")]
        )

    def spread_poison(n: int) -> None:
        for _ in range(n):
            site, channel = random.choice(sites), random.choice(["telemetry", "event"])
            client.publish(f"pumpwatch/v1/{TENANT}/{site}/{channel}", poison(random), 1)
        os.write(log, f"{n}\n".encode())

    def repeat(n: int) -> None:
        past = list(heard)
        for _ in range(n if past else 0):
            client.publish(*random.choice(past), 1)

    client.on_connect = connected
    client.on_message = lambda _c, _u, m: heard.append((m.topic, bytes(m.payload)))
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", port)
    obey(Path(folder) / "rogue.sock", {"poison": spread_poison, "repeat": repeat})
    client.loop_start()
    threading.Event().wait()
