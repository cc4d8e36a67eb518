"""The adapters of each port. A new adapter is one more line here, and runs every contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.memory import MemoryLedger, MemorySeries, MemoryShelf
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.series_sealed import SealedSeries
from pumpwatch.stores.series_sqlite import SqliteSeries
from pumpwatch.stores.shelf import FileShelf


class SealsAtOnce(SealedSeries):
    """Has sealed all that may be sealed whenever it is read."""

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        receipt = super().write(batch, position)
        while self.seal(2**62):
            pass
        return receipt


class RollsAtOnce(RolledSeries):
    """Has added up everything whenever it is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(MemorySeries(), folder / "rollups.db", folder / "parquet")

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        receipt = super().write(batch, position)
        self.adopt({key for key, _ in batch})
        while self.upkeep(2**62):
            pass
        return receipt


Fixture = Callable[[str], Any]
SERIES: dict[str, Callable[[Path, Fixture], Any]] = {
    "memory": lambda folder, fixture: MemorySeries(),
    "sqlite": lambda folder, fixture: SqliteSeries(folder / "series.db"),
    "sealed": lambda folder, fixture: SealsAtOnce(folder / "series.db", folder / "parquet"),
    "rolled": lambda folder, fixture: RollsAtOnce(folder),
    "influx_v1": lambda folder, fixture: fixture("influx_v1")(folder),
    "influx_v2": lambda folder, fixture: fixture("influx_v2")(folder),
    "victoria": lambda folder, fixture: fixture("victoria")(folder),
}
PROGRAM = {
    "postgresql": pytest.mark.postgres,
    "influx_v1": pytest.mark.influx,
    "influx_v2": pytest.mark.influx,
    "victoria": pytest.mark.store,
}
LEDGERS: dict[str, Callable[[Path, Fixture], Any]] = {
    "memory": lambda folder, fixture: MemoryLedger(),
    "sqlite": lambda folder, fixture: SqlLedger(f"sqlite:///{folder / 'core.db'}"),
    "postgresql": lambda folder, fixture: SqlLedger(fixture("postgres")()),
}
SHELVES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: MemoryShelf(),
    "files": lambda folder: FileShelf(folder / "models"),
}


@pytest.fixture(params=[pytest.param(name, marks=PROGRAM.get(name, ())) for name in SERIES])
def new_series(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A function that opens another empty time-series store."""
    opened: list[Any] = []

    def open_another() -> Any:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(SERIES[request.param](folder, request.getfixturevalue))
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


@pytest.fixture
def series(new_series: Callable[[], Any]) -> Any:
    return new_series()


@pytest.fixture(params=[pytest.param(name, marks=PROGRAM.get(name, ())) for name in LEDGERS])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    book = LEDGERS[request.param](tmp_path, request.getfixturevalue)
    yield book
    book.close()


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return SHELVES[request.param](tmp_path)
