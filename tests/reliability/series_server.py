"""The time-series server is killed and stays away, while alerts must be as fast as before."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pumpwatch.app.settings import SeriesSettings

from .checker import Verdict, check
from .nursery import ROOT, Nursery
from .report import percentiles
from .station import SAMPLE_MS
from .town import Plan, town

sys.path.append(str(ROOT / "tests" / "servers"))


def series_server_away(
    folder: Path, nursery: Nursery, seed: int, away_s: float, take: Callable[[Verdict], None]
) -> dict[str, Any]:
    """Run a town on VictoriaMetrics, kill that for ``away_s`` of the wall's time, and compare."""
    from line_servers import VictoriaServer

    folder.mkdir(parents=True)
    server = VictoriaServer(folder)
    server.start()
    try:
        plan = Plan(rate_hz=6.0, series=server.url)
        with town(folder / "town", plan, seed, nursery=nursery) as made:
            time.sleep(away_s / 2)
            gone_ms = time.time() * 1000
            server.kill()
            time.sleep(away_s)
            server.start()
            back_ms = time.time() * 1000
            began = time.monotonic()
            made.until(
                lambda: not (made.ask("/api/v1/status") or {"inbox_lag": {"series": 1}})["inbox_lag"]["series"],
                "the series has caught up", 300,
            )  # fmt: skip
            caught_up_s = time.monotonic() - began
            made.settle()
            verdict = check(made, SeriesSettings(engine="victoria", url=server.url))
    finally:
        server.stop()
    take(verdict)
    before = [s for at, s in verdict.alert_times if at < gone_ms]
    during = [s for at, s in verdict.alert_times if gone_ms <= at < back_ms]
    return {
        "away_s": away_s,
        "away_event_h": round(away_s * plan.rate_hz * SAMPLE_MS / 3_600_000, 2),
        "latency_before_s": percentiles(before),
        "latency_during_s": percentiles(during),
        "caught_up_s": round(caught_up_s, 1),
    }
