"""Sums belong to every engine alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.rollups import RolledSeries

A = SiteKey("default", "mh0001")


def test_a_long_chart_from_sums_is_the_chart_from_samples(
    series: TimeSeriesStore, tmp_path: Path
) -> None:
    store = RolledSeries(series, tmp_path / "rollups.db", tmp_path)
    t_ms = np.arange(0, 5 * DAY_MS, 7 * MINUTE_MS)
    store.write([(A, Chunk(t_ms, {"level_m": t_ms % 97 / 10}))], 1)
    store.adopt([A])
    while store.upkeep(2**62):
        pass
    late = np.array([DAY_MS + 1, 2 * DAY_MS + 2])
    store.write([(A, Chunk(late, {"level_m": np.array([50.0, 60.0])}))], 2)
    for span in ((0, 5 * DAY_MS, 60), (HOUR_MS + 5, 4 * DAY_MS, 1_000)):
        from_sums = store.read_downsampled(A, "level_m", *span)
        from_samples = series.read_downsampled(A, "level_m", *span)
        assert from_sums.t_ms.tolist() == from_samples.t_ms.tolist()
        for name, values in from_samples.signals.items():
            assert from_sums.signals[name] == pytest.approx(values)
    store._notes.close()
