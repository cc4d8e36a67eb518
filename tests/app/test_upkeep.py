"""The hub's upkeep of samples: a piece a step, and nothing forgotten by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.app.settings import RetentionSettings, Settings
from pumpwatch.app.upkeep import BETWEEN_S, REST_S, Upkeep
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site
from pumpwatch.stores.memory import MemoryLedger
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.series_sealed import SealedSeries

A = SiteKey("default", "mh0001")
FIRST_MS = 1_735_689_600_000
"""2025-01-01T00:00Z"""


class Rig:
    def __init__(self, folder: Path, retention: RetentionSettings) -> None:
        self.folder, self.ledger = folder, MemoryLedger()
        self.ledger.put_site(A, Site("mh0001"), SYSTEM, FIRST_MS)
        own = SealedSeries(folder / "series.db", folder / "raw")
        self.store = RolledSeries(own, folder / "rollups.db", folder)
        self.upkeep = Upkeep(self.store, self.ledger, retention)

    def write(self, first_day: int, days: int) -> int:
        """One row an hour; the number that the store took."""
        start_ms = FIRST_MS + first_day * DAY_MS
        t_ms = np.arange(start_ms, start_ms + days * DAY_MS, HOUR_MS)
        return self.store.write([(A, Chunk(t_ms, {"level_m": np.ones(len(t_ms))}))], 1).stored

    def settle(self, day: float) -> int:
        """Step until it rests; how many pieces it was."""
        pieces = 0
        while self.upkeep.step(FIRST_MS + int(day * DAY_MS)) == BETWEEN_S:
            pieces += 1
        return pieces

    def first_day(self, points: int = 400) -> int:
        chart = self.store.read_downsampled(
            A, "level_m", FIRST_MS, FIRST_MS + points * DAY_MS, points
        )
        return int(chart.t_ms[0] - FIRST_MS) // DAY_MS


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, RetentionSettings(samples_days=60, minutes_days=90, hours_days=150))
    yield rig
    rig.store.close()


def test_each_step_is_a_piece_and_then_it_rests(rig: Rig) -> None:
    rig.write(0, 45)
    assert rig.settle(45) == 4, "two months are added up, two are sealed"
    assert rig.upkeep.step(FIRST_MS + 45 * DAY_MS) == REST_S
    assert rig.upkeep.last_done_ms == FIRST_MS + 45 * DAY_MS
    assert rig.store.counters == {"rows_sealed": 44 * 24, "files_sealed": 2, "days_added_up": 44}


def test_samples_minutes_and_hours_go_each_in_its_own_time(rig: Rig) -> None:
    rig.write(0, 200)
    rig.settle(200)
    assert rig.upkeep.forgotten == 24 * (199 - 60)
    assert rig.store.read_raw(A, 0, 2**62).t_ms[0] == FIRST_MS + (199 - 60) * DAY_MS
    assert rig.first_day() == 199 - 150
    assert rig.write(100, 10) == 0, "a late replay of it is refused"


def test_nothing_is_forgotten_for_a_clock_that_jumped_or_a_long_silence(rig: Rig) -> None:
    rig.write(0, 59)
    rig.settle(59)
    rig.settle(20_000)
    assert rig.store.count(A) == 59 * 24
    assert rig.upkeep.forgotten == 0


def test_a_server_that_cannot_delete_is_a_problem_and_no_failure(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_before_ms: int) -> int:
        raise PumpwatchError("it cannot delete rows", "set a retention period there")

    rig.write(0, 200)
    monkeypatch.setattr(rig.store.inner, "apply_retention", refuse)
    rig.settle(200)
    assert "retention period" in rig.upkeep.problem
    assert rig.first_day() == 199 - 150, "sums are ours"
    monkeypatch.undo()
    rig.write(200, 1)
    rig.settle(201)
    assert rig.upkeep.problem == ""
    assert rig.upkeep.forgotten > 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"samples_days": 30}, "retention.samples_days"),
        ({"minutes_days": 1_000}, "retention.minutes_days"),
        ({"hours_days": 1_500}, "retention.hours_days"),
        ({"samples_days": 0}, "retention.minutes_days"),
    ],
)
def test_what_is_coarser_must_last_longer(values: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Settings.model_validate({"retention": values})
    assert refused.value.field == field


def test_everything_may_be_kept_for_ever(tmp_path: Path) -> None:
    rig = Rig(tmp_path, RetentionSettings(samples_days=0, minutes_days=0, hours_days=0))
    rig.write(0, 100)
    rig.settle(5_000)
    assert (rig.upkeep.forgotten, rig.store.count(A), rig.first_day()) == (0, 2_400, 0)
    rig.store.close()
