"""A ledger with a row in every table, and all that a ledger holds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pumpwatch.domain.actors import LOCAL, SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Owed, Severity, Step, Transition
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, Said
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import AlertChange, Checkpoint
from pumpwatch.domain.sites import LogEntry, LogKind, Site
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.stores import tables
from pumpwatch.stores.database import Database
from pumpwatch.stores.ledger import SqlLedger

KEY, OTHER = SiteKey("default", "mh0001"), SiteKey("default", "mh-0002")
FIRST = Transition(1, Step.OPENED, 5, 5, SYSTEM, Severity.ALARM, ("pump_wear",), "遅い")
ALERT = Alert(
    "one", KEY, "capacity:pump1", Kind.PREDICTIVE, Severity.ALARM, FIRST.fault, None, 0.5,
    {"since": None, "signs": [1.5]}, 5, 5,
)  # fmt: skip


def fill(url: str) -> None:
    """At least one row into every table."""
    ledger = SqlLedger(url)
    ledger.put_site(KEY, Site("mh0001", name="第一"), LOCAL, 1)
    ledger.hold(OTHER, 2, 3, Birth(OTHER, online=True))
    ledger.put_birth(Birth(KEY, online=True, signals={"level_m": {"unit": "m"}}), 3)
    ledger.add_log(KEY, LogEntry(4, LogKind.CLEANING, "pump1", "布"), LOCAL, 4)
    cycles = [(KEY, CycleRow(n, n + 5, "pump1", "", {"level_m": 0.1 * n})) for n in range(20)]
    change = AlertChange(ALERT, [FIRST], [Owed("one", 1, "console", 5)])
    ledger.commit_assessment([Checkpoint(KEY, 7, b"\x00\xff")], [change], cycles)
    ledger.attempt(ledger.due(5)[0], 6)
    said = Said(Kind.PREDICTIVE, "pump_wear", None, 5)
    ledger.add_label(Label("one", 1, KEY, "other", "pump1", "石", 6, 7, LOCAL, said))
    version = TuningVersion(1, 8, 7, LOCAL, "雨が多い", {"set": {"limit": 12.0}})
    ledger.add_tuning(KEY, version)
    ledger.close()


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored of what this version knows, by table."""
    database = Database(url, migrate=False)
    with database.read() as connection:
        found = {
            name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for name, table in tables.metadata.tables.items()
        }
    database.close()
    return found
