"""The restore drill: an archive is taken while a town speaks, its hub is lost, another goes on.

`python -m tests.reliability.drill` prints what it found; ends with 1 when something is missing that the
archive or an agent held, or when somebody was told twice of what the archive says was told.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pumpwatch.app import backup
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import open_stores
from pumpwatch.domain.alerts import OwedState
from pumpwatch.domain.messages import EdgeEvent, Telemetry
from pumpwatch.transports.wire import decode
from pumpwatch_edge.clock import wall_ms

from .checker import check
from .faults import recovery_s
from .town import Plan, Town, town

LOAD_S = 20.0


def drill(folder: Path, seed: int = 1) -> dict[str, Any]:
    """Figures of one drill; times in seconds."""
    archive, new = folder / "hub.tar.gz", folder / "new"
    with town(folder / "town", Plan(), seed) as made:
        time.sleep(LOAD_S)
        began = time.monotonic()
        manifest = backup.create(made.data_dir, archive, wall_ms())
        taken_s = time.monotonic() - began
        made.children["hub"].send(signal.SIGKILL)
        made.children["hub"].ended.wait(10)
        lost, made.data_dir = made.data_dir, new
        began = time.monotonic()
        backup.restore(archive, new)
        settled = _settled_notices(new)
        told_before = len(_accepted(made))
        made.start("hub")
        restored_s = time.monotonic() - began + recovery_s(made)
        time.sleep(LOAD_S / 4)
        made.settle()
        verdict = check(made)
        told_after = _accepted(made)[told_before:]
    only_there = _received(lost)
    return {
        "in_the_archive": manifest.positions,
        "archive_taken_s": round(taken_s, 2),
        "restored_and_heard_again_s": round(restored_s, 2),
        "acknowledged": verdict.acknowledged,
        "missing": sum(name not in only_there for name in verdict.lost),
        "confirmed_after_the_archive_and_gone": sum(name in only_there for name in verdict.lost),
        "notices_settled_in_the_archive": len(settled),
        "told_twice": len(settled & set(told_after)),
        "told_again_after_the_archive": verdict.duplicate_notices,
        "owed_and_unsent": len(verdict.unsent),
    }


def _settled_notices(data_dir: Path) -> set[str]:
    """What an archive says was accepted, by the key under which it was sent."""
    stores = open_stores(DataDir(data_dir))
    try:
        return {
            f"{row.alert_id}-{row.transition_n}-{row.notifier}"
            for alert in stores.ledger.alerts(limit=1_000_000)
            for row in stores.ledger.owed_for(alert.id)
            if row.state is OwedState.SENT
        }
    finally:
        stores.close()


def _accepted(made: Town) -> list[str]:
    lines = (made.folder / "accepted").read_text().splitlines()
    return [line.split()[1] for line in lines]


def _received(data_dir: Path) -> set[str]:
    """What the inbox of the lost hub holds, in the checker's words."""
    stores, found, after = open_stores(DataDir(data_dir)), set[str](), 0
    try:
        while rows := stores.inbox.read(after, 5_000):
            for row in rows:
                site, message = row.stamp.key.site, decode(row.topic, row.payload, row.received_ms)
                if isinstance(message, EdgeEvent):
                    found.add(f"{site} event {message.edge.t_ms}")
                elif isinstance(message, Telemetry):
                    found |= {f"{site} sample {t}" for t in message.chunk.t_ms.tolist()}
            after = rows[-1].id
    finally:
        stores.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pumpwatch-drill-") as folder:
        figures = drill(Path(folder), options.seed)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):45} {value}")
    kept = not (figures["missing"] or figures["told_twice"] or figures["owed_and_unsent"])
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
