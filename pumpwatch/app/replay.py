"""Recorded sites sent down the ordinary road, and the account of every row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pumpwatch.app.agents import edge_errors, make_agent
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.keys import SiteKey, check_id
from pumpwatch.services.registry import choose_recordings, register_recording
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.runner import AgentRunner

Progress = Callable[[str, float], None]

_REST_S = 0.2
_ACCOUNT = ("site", "sent", "stored", "duplicate", "rejected", "alerts", "problem")


class Replay:
    """Agents for recorded sites and, unless a broker elsewhere is given, a broker and hub of its own.

    The hub's directory is kept: a replay that was interrupted is gone on with by running it again.
    A site that cannot be replayed is reported and stops no other.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        sites: Sequence[str],
        tenant: str,
        speed: float,
        broker: tuple[str, int] | None,
    ) -> None:
        chosen = choose_recordings(folder, sites)
        self._folders, self._problems = chosen.folders, chosen.broken
        self._tenant = check_id(tenant, "--tenant")
        self._settings, self._speed, self._address = settings, speed, broker
        self._directory = DataDir(settings.data_dir)

    def run(self, progress: Progress) -> dict[str, Any]:
        """Send everything; returns once the hub has stored and judged it (or has it on disk,
        when it runs elsewhere). Raises `PumpwatchError`."""
        began = time.monotonic()
        self._directory.claim("recording")
        with self._directory.locked(), edge_errors():
            if self._address is None:
                result = self._with_own_hub(progress)
            else:
                result = self._to_elsewhere(self._address, progress)
        return result | {"seconds": round(time.monotonic() - began, 1)}

    # -- inside --------------------------------------------------------------------------------

    def _with_own_hub(self, progress: Progress) -> dict[str, Any]:
        with EmbeddedBroker(self._directory.path) as broker:
            address = (broker.host, broker.port)
            hub = Hub(
                self._settings,
                self._directory,
                WallClock(),
                [],
                broker_host=broker.host,
                broker_port=broker.port,
            )
            try:
                for site, folder in list(self._folders.items()):
                    with self._minding(site):
                        book, now_ms = hub.stores.ledger, hub.clock.now_ms()
                        register_recording(book, folder, self._tenant, now_ms, SYSTEM)
                hub.start()
                runners = self._agents(address)
                self._wait(runners, progress)
                while not hub.caught_up():
                    time.sleep(_REST_S)
                return self._account(runners, hub)
            finally:
                hub.stop()

    def _to_elsewhere(self, address: tuple[str, int], progress: Progress) -> dict[str, Any]:
        runners = self._agents(address)
        self._wait(runners, progress)
        return self._account(runners, None)

    def _agents(self, address: tuple[str, int]) -> dict[SiteKey, AgentRunner]:
        runners = {}
        for site, folder in list(self._folders.items()):
            with self._minding(site), edge_errors():
                source = ReplaySource(folder, self._speed)
                key = SiteKey(self._tenant, site)
                outboxes = self._directory.agents
                runners[key] = make_agent(key, source, outboxes, address, WallClock().now_ms)
        for runner in runners.values():
            runner.start()
        return runners

    @contextmanager
    def _minding(self, site: str) -> Iterator[None]:
        """What is wrong with one site is written down, and the site left out."""
        try:
            yield
        except PumpwatchError as error:
            self._problems[site] = str(error)
            del self._folders[site]

    def _wait(self, runners: dict[SiteKey, AgentRunner], progress: Progress) -> None:
        """Until every agent has sent all that it could read, or has ended."""
        while not all(r.finished or not r.alive for r in runners.values()):
            done = sum(r.finished for r in runners.values())
            progress("replaying", done / len(runners))
            time.sleep(_REST_S)
        progress("replaying", 1)
        for runner in runners.values():
            runner.stop(5, "recording ended")

    def _account(self, runners: dict[SiteKey, AgentRunner], hub: Hub | None) -> dict[str, Any]:
        """sent = stored + duplicate + rejected, site by site, for what this run sent."""
        rows: list[dict[str, Any]] = [
            dict.fromkeys(_ACCOUNT, None) | {"site": site, "problem": why}
            for site, why in self._problems.items()
        ]
        for key, runner in runners.items():
            sent = runner.counters["samples"]
            row: dict[str, Any] = {
                "site": key.site,
                "sent": sent,
                "stored": None,
                "duplicate": None,
                "rejected": runner.counters["bad_rows"],
                "alerts": None,
                "problem": runner.error,
            }
            if hub is not None:
                counts = hub.recorder.counts[key]
                row["stored"] = hub.stores.series.count(key)
                row["duplicate"] = counts.duplicate
                row["rejected"] += counts.rejected
                if aside := _set_aside(hub, key):
                    row["rejected"] = sent - row["stored"] - row["duplicate"]
                    row["problem"] = row["problem"] or aside
                row["alerts"] = len(hub.stores.ledger.alerts(key.tenant, key.site, limit=100_000))
            rows.append(row)
        rows.sort(key=lambda row: str(row["site"]))
        failed = {row["site"]: row["problem"] for row in rows if row["problem"]}
        return {"sites": rows, "failed": failed, "complete": not failed}


def _set_aside(hub: Hub, key: SiteKey) -> str:
    """What the door did not let in of a site, in one line; empty when it took everything."""
    tail = f"/{key}/telemetry"
    rows = [row for row in hub.stores.inbox.quarantine(10_000) if row.topic.endswith(tail)]
    if not rows:
        return ""
    return f"{sum(row.count for row in rows)} messages set aside: {rows[0].detail}"
