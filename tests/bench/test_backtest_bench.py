"""How many site-days a second diagnosis reads and judges, the two measured apart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report

from pumpwatch.services.backtest import backtest

pytestmark = pytest.mark.bench


def synthetic(folder: Path, days: int = 30, step_s: int = 10) -> None:
    """One well filled at 1 mm/s and emptied by two pumps in turn."""
    n = days * 86_400 // step_s
    level, running, turn = 0.5, 0, 0
    levels, states = np.empty(n), np.empty(n, int)
    for k in range(n):
        level += (0.001 - (0.003 if running else 0.0)) * step_s
        if running and level <= 0.4:
            running = 0
        elif not running and level >= 1.0:
            turn, running = 1 - turn, 1 + turn
        levels[k], states[k] = level, running
    ts = pd.date_range("2024-05-01", periods=n, freq=f"{step_s}s", tz="UTC")
    noise = np.random.default_rng(1).normal(0, 0.003, n)
    folder.mkdir()
    pd.DataFrame(
        {
            "ts": ts.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "level_m": (levels + noise).round(3),
            "pump1_run": (states == 1).astype(int),
            "pump2_run": (states == 2).astype(int),
        }
    ).to_csv(folder / "data.csv.gz", index=False)
    (folder / "site.json").write_text(json.dumps({"site": folder.name, "sample_s": step_s}))


def test_site_days_per_second(tmp_path: Path) -> None:
    given = os.environ.get("PUMPWATCH_DEV_DATA")
    if given:
        folder, sites = Path(given), sorted(p.name for p in Path(given).iterdir())[:6]
    else:
        folder, sites = tmp_path / "sites", None
        folder.mkdir()
        for name in ("one", "two"):
            synthetic(folder / name)
    summary = backtest(folder, tmp_path / "alerts.jsonl", sites=sites, workers=1)
    assert not summary.failed
    note = f"{summary.sites} sites, {summary.rows:,} rows, one core"
    read = summary.site_days / summary.read_s
    report.row("backtest, diagnosis alone", summary.site_days_per_s, "site-days/s", note)
    report.row("backtest, reading alone", read, "site-days/s", "compressed CSV")
