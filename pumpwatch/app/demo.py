"""The demo: a simulated town, its own broker and hub, and time that runs faster than life."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pumpwatch.app.datadir import DataDir
from pumpwatch.app.fleet_process import FleetPlan, FleetProcess, fault_codes
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS, MINUTE_MS, ScaledClock, WallClock
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.keys import DEMO_TENANT, SiteKey
from pumpwatch.domain.ports import ActiveFault, Notifier
from pumpwatch.simulator.fleet import demo_fleet
from pumpwatch.transports.broker import EmbeddedBroker

HISTORY_DAYS = 30
FASTEST = 3_600
_CATCH_UP_SPEED = 60
"""Time runs while the history is judged, so that agents close the batches they have open."""

Progress = Callable[[str, float], None]
"""What is being done, and the share of it that is done."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    stations: int = 12
    seed: int = 1
    speed: float = 600
    fault: bool = True
    """Whether one pump has been gathering rags for some days."""


class Demo:
    """Broker, hub and fleet of the demo. `start` returns when the history is judged and time runs."""

    def __init__(
        self, settings: Settings, path: Path, options: DemoOptions, notifiers: list[Notifier]
    ) -> None:
        self._options, self._settings, self._notifiers = options, settings, notifiers
        self._directory = DataDir(path)
        self._held = ExitStack()
        self._begin_ms = WallClock().now_ms() // MINUTE_MS * MINUTE_MS
        self.clock = ScaledClock(self._begin_ms, 0, WallClock())
        self.sites = {
            SiteKey(DEMO_TENANT, spec.site.site): spec.site
            for spec in demo_fleet(options.seed, options.stations)
        }
        self._broker: EmbeddedBroker | None = None
        self._fleet: FleetProcess | None = None
        self._hub: Hub | None = None

    @property
    def hub(self) -> Hub:
        if self._hub is None:
            raise PumpwatchError("the demo has not been started", "call start first")
        return self._hub

    @property
    def fleet(self) -> FleetProcess:
        if self._fleet is None:
            raise PumpwatchError("the demo has not been started", "call start first")
        return self._fleet

    def start(self, progress: Progress) -> None:
        """Bring everything up and let the hub judge the history. Raises `PumpwatchError`."""
        self._held.enter_context(fresh(self._directory))
        self._broker = EmbeddedBroker(self._directory.path)
        self._broker.start()
        plan = FleetPlan(
            self._options.stations,
            self._options.seed,
            self._begin_ms,
            HISTORY_DAYS,
            self._options.fault,
            self._directory.agents,
            (self._broker.host, self._broker.port),
        )
        self._fleet = FleetProcess(plan)
        # The first fit would wait seconds for this import; now the hub has nothing else to do.
        threading.Thread(target=import_module, args=["sklearn.ensemble"], daemon=True).start()
        self._fleet.make_history(lambda share: progress("30 days of history", share))
        self._hub = Hub(
            self._settings,
            self._directory,
            self.clock,
            self._notifiers,
            broker_host=self._broker.host,
            broker_port=self._broker.port,
            tenants=[DEMO_TENANT],
        )
        for key, site in self.sites.items():
            self._hub.stores.ledger.put_site(key, site, SYSTEM, self._begin_ms)
        self._hub.telling = False
        self._hub.start()
        self.set_speed(_CATCH_UP_SPEED)
        self._fleet.start_agents()
        self._wait_for_history(progress)
        self.set_speed(self._options.speed)

    def stop(self) -> None:
        """Time stands still first: a fleet that takes its leave must not look like a silent one."""
        self.clock.set_factor(0)
        if self._hub is not None:
            self._hub.stop()
        if self._fleet is not None:
            self._fleet.stop()
        if self._broker is not None:
            self._broker.stop()
        self._held.close()

    # -- DemoControls --------------------------------------------------------------------------

    def speed(self) -> float:
        return self.clock.factor

    def set_speed(self, factor: float) -> None:
        if not 0 <= factor <= FASTEST:
            raise InvalidInput("speed", f"{factor:g} cannot be used", f"use 0 to {FASTEST}")
        self.clock.set_factor(factor)
        self.fleet.run_clock(*self.clock.run)

    def fault_codes(self) -> list[str]:
        return fault_codes()

    def check_fault(self, site: str, fault: str) -> None:
        """Name what does not exist before half a minute is spent on a history."""
        for field, value, known in (
            ("site", site, sorted(key.site for key in self.sites)),
            ("fault", fault, self.fault_codes()),
        ):
            if value not in known:
                raise InvalidInput(field, f"{value!r} is not simulated", f"use {', '.join(known)}")

    def targets(self, site: str) -> list[str]:
        return self.fleet.targets(site)

    def start_fault(self, site: str, fault: str, target: str | None) -> ActiveFault:
        return self.fleet.start_fault(site, fault, target)

    def clear_fault(self, site: str, fault: str, target: str | None) -> None:
        self.fleet.clear_fault(site, fault, target)

    def active_faults(self) -> list[ActiveFault]:
        return self.fleet.active_faults()

    # -- inside --------------------------------------------------------------------------------

    def _wait_for_history(self, progress: Progress) -> None:
        """Until the agents have sent and the hub has judged what the fleet said in 30 days."""
        hub, n = self.hub, len(self.sites)
        while True:
            reached = [t_ms for t_ms, _ in hub.stores.series.latest(self.sites).values()]
            if len(reached) == n and min(reached) >= self._begin_ms and hub.caught_up():
                progress("history judged", 1)
                return
            behind = sum(self._begin_ms - t for t in reached) / DAY_MS / HISTORY_DAYS
            share = 1 - (behind + n - len(reached)) / n
            progress("history judged", min(max(share, 0.0), 0.99))
            broken = [*self.fleet.problems(), *hub.status().problems]
            if broken:
                raise PumpwatchError(f"the demo cannot go on: {broken[0]}", "see the log")
            time.sleep(0.2)


@contextmanager
def fresh(directory: DataDir) -> Iterator[None]:
    """An empty directory for one demo; only one that was made by a demo, and is not at work, is ever
    emptied."""
    directory.claim("demo")
    with directory.locked():
        directory.clear()
        yield
