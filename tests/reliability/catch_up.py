"""How fast a hub that was away works off what waits for it, against the pace at which stations speak.

`python -m tests.reliability.catch_up --messages 20000`: the broker holds so many messages of 232 stations (six
samples each, a minute's worth at 10 s) for the hub, which then starts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pumpwatch.app.datadir import DataDir
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site
from pumpwatch.stores.ledger import SqlLedger

from .nursery import ROOT, Nursery
from .town import Plan, Town

sys.path.append(str(ROOT / "tests" / "bench"))

SITES = 232
SAMPLES = 6
LIVE_HZ = {"232": 232 / 60, "50000": 50_000 / 60}
"""Messages a second of so many stations that send each minute what they measured every 10 s."""


class Away(Town):
    """A town without stations: only broker, line and hub."""

    def _found(self) -> None:
        directory = DataDir(self.data_dir)
        directory.claim("live")
        ledger = SqlLedger(directory.core_url)
        for n in range(SITES):
            site = Site(f"s{n:04d}", sample_s=10, start_level_m=1.2, stop_level_m=0.6)
            ledger.put_site(SiteKey("bench", site.site), site, SYSTEM, 1)
        ledger.close()

    def connect(self) -> None:
        self.start("hub")
        self.until(lambda: (self.ask("/api/v1/status") or {}).get("broker_connected"), "connected")


def catch_up(folder: Path, messages: int) -> dict[str, Any]:
    from flood import flood

    nursery = Nursery(folder / "nursery.log")
    made = Away(folder / "town", nursery, Plan(), 1, folder / "town" / "hub")
    try:
        made._found()
        made.broker.start()
        made.start("to-hub")
        made.connect()  # from now on the broker keeps what comes for this hub
        made.stop("hub")
        flood(made.ports["broker"], messages, SITES)
        began = time.monotonic()
        made.connect()
        took_s = {"up": time.monotonic() - began}

        def done(stage: str) -> bool:
            status = made.ask("/api/v1/status") or {}
            if status.get("counters", {}).get("stored", 0) < messages:
                return False
            took_s.setdefault("kept", time.monotonic() - began)
            return status["inbox_lag"][stage] == 0

        for stage in ("series", "assess"):
            made.until(lambda stage=stage: done(stage), f"{stage} has caught up", 900)  # type: ignore[misc]
            took_s[stage] = time.monotonic() - began
    finally:
        made.close()
        nursery.close()
    rates = {stage: messages / took_s[stage] for stage in ("kept", "series", "assess")}
    return {
        "messages": messages,
        "samples": messages * SAMPLES,
        "heard_after_s": round(took_s["up"], 2),
        "messages_per_s": {stage: round(rate) for stage, rate in rates.items()},
        "times_the_pace_of_stations": {
            f"{n}": {stage: round(rate / hz, 1) for stage, rate in rates.items()}
            for n, hz in LIVE_HZ.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pumpwatch-catch-up-") as folder:
        figures = catch_up(Path(folder), options.messages)
    print(json.dumps(figures, indent=None if options.json else 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
