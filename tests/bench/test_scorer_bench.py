"""The product's scorer beside the independent one that came with the development set."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.services.scoring import score_alerts
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import SiteTruth, read_truth

SHARED = Path(__file__).parents[3] / "shared"
DEV = Path(os.environ.get("PUMPWATCH_DEV_DATA") or SHARED / "data" / "dev")
SCORER = SHARED / "tools" / "score.py"

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not (SCORER.is_file() and DEV.is_dir()), reason="no development set"),
]
CODES = ["pump_wear", "pump_ragging", "check_valve_leak", "power_outage", "frozen_level", None]


def independent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("independent_scorer", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(truth: dict[str, SiteTruth], seed: int, per_site: float) -> list[dict[str, Any]]:
    """Alerts of a poor detector: some near the faults, most anywhere."""
    rng = np.random.default_rng(seed)
    lines = []
    for site in truth.values():
        times = [float(t) for t in rng.uniform(site.scored_from_ms - 5e8, site.scored_to_ms, rng.poisson(per_site))]  # fmt: skip
        times += [rng.uniform(f.onset_ms, f.repair_ms) for f in site.faults]
        for t in times:
            first = str(rng.choice(CODES[:-1]))
            lines.append(
                {
                    "site": site.site,
                    "ts": iso_utc(round(t / 1000) * 1000),
                    "kind": str(rng.choice(["predictive", "predictive", "condition", "info"])),
                    "severity": str(rng.choice(["warning", "alarm", "info"])),
                    "fault": [first, "pump_wear"] if rng.random() < 0.8 else None,
                    "target": str(rng.choice(["pump1", "pump2"])),
                }
            )
    return lines


def differences(known: Any, got: Any, where: str = "") -> list[str]:
    if isinstance(known, dict):
        assert set(known) == set(got), where
        return [d for k in known for d in differences(known[k], got[k], f"{where}.{k}")]
    a = np.atleast_1d(np.array(np.nan if known is None else known, float))
    b = np.atleast_1d(np.array(np.nan if got is None else got, float))
    equal = np.allclose(a, b, rtol=1e-12, atol=0, equal_nan=True)
    return [] if equal else [f"{where}: {known} {got}"]


@pytest.mark.parametrize("per_site", [0.3, 3, 40])
@pytest.mark.parametrize("kinds", [("predictive",), ("predictive", "condition")])
def test_both_scorers_give_the_same_figures(per_site: float, kinds: tuple[str, ...]) -> None:
    theirs, truth = independent(), read_truth(DEV)
    lines = made_up(truth, 3, per_site)
    labels = json.loads((SCORER.parent / "labels.json").read_text())
    known = theirs.summary(theirs.score(theirs.load_truth(str(DEV)), lines, labels, kinds))
    got = score_alerts(read_truth(DEV), lines, kinds)
    assert differences(known, got) == []


def test_both_score_a_daily_risk_alike() -> None:
    theirs, truth = independent(), read_truth(DEV)
    rng = np.random.default_rng(5)
    lines = [
        {"site": s.site, "ts": iso_utc(t), "risk": round(float(rng.beta(1, 6)), 2)}
        for s in truth.values()
        for t in range(s.scored_from_ms - 86_400_000, s.scored_to_ms, 86_400_000)
    ]
    known = theirs.risk_scores(theirs.load_truth(str(DEV)), lines)
    assert differences(known, score_risk(truth, lines)) == []
