"""The hub's door in its own process: `python durable_hub.py PORT MESSAGES FOLDER`.

Prints "ready" when it is subscribed, and the moment at which the last message was on disk.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from pathlib import Path

from pumpwatch.domain.clock import WallClock
from pumpwatch.services.ingest import Door
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.transports.mqtt import HubClient, IngestLoop
from pumpwatch.transports.wire import inspect


def main(port: int, messages: int, folder: Path) -> None:
    gc.set_threshold(50_000, 20, 50)  # a batch is thousands of short-lived objects
    clock = WallClock()
    inbox = SqliteInbox(folder / "inbox.db")
    door = Door(inbox, inspect, known_sites=frozenset)
    hub = HubClient("127.0.0.1", port, install_id="bench", clock=clock)
    loop = IngestLoop(hub, door, clock)
    hub.start()
    loop.start()
    while not hub.subscribed:
        time.sleep(0.01)
    print("ready", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF)
    while door.health().counters["stored"] < messages:
        time.sleep(0.01)
    done = time.time()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done, cpu_s, loop.counters["commits"], flush=True)
    loop.stop()
    hub.stop()
    inbox.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
