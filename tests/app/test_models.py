"""Models where people meet them: the command line, and a hub that hears of a decision while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.diagnosis.forest import FitRequest
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS, WallClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AuditEntry, StoredModel
from pumpwatch.domain.sites import Site
from pumpwatch.services.train import Trainer
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.memory import MemoryShelf
from pumpwatch.stores.shelf import FileShelf

KEY = SiteKey("default", "mh-01")
BACKTEST = {
    "days": 30.0, "champion_alerts": 1, "challenger_alerts": 1, "appear": 1, "vanish": 1,
    "appearing": [{"t": "2026-04-01T00:00:00Z", "kind": "info", "cause": "unusual", "fault": "unusual"}],
    "vanishing": [{"t": "2026-04-02T00:00:00Z", "kind": "info", "cause": "unusual", "fault": "unusual"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def first() -> StoredModel:
    rows = np.random.default_rng(1).normal(size=(60, 2))
    days = 20_000 + np.arange(60) // 5
    names = ("capacity", "run")
    request = FitRequest(KEY, 20_013 * DAY_MS, 20_014 * DAY_MS, names, rows, days, 4)
    shelf = MemoryShelf()
    Trainer(shelf).fit_now(request)
    stored = shelf.effective(KEY, request.effective_ms)
    assert stored is not None
    return stored


@pytest.fixture
def town(tmp_path: Path, first: StoredModel) -> DataDir:
    """A directory with a station, its model, and a challenger that waits."""
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(KEY, Site(KEY.site), SYSTEM, 1)
    ledger.close()
    FileShelf(directory.models).put(first)
    at_ms = first.effective_ms + 30 * DAY_MS
    card = {**first.card, "origin_ms": at_ms, "backtest": BACKTEST, "proposed": "2026-04-03"}
    FileShelf(directory.challengers).put(replace(first, effective_ms=at_ms, card=card))
    return directory


def said(town: DataDir, *words: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["models", *words, "--data-dir", str(town.path)])
    assert answer.exit_code == code, answer.output
    return answer.output


def test_a_challenger_is_looked_at_promoted_and_taken_back(town: DataDir) -> None:
    (row,) = json.loads(said(town, "list", "--json"))
    assert (row["site"], row["challenger"], row["appear"]) == (KEY.site, "2026-04-03", 1)
    shown = said(town, "show", KEY.site)
    for told in ("A challenger waits", "appearing 1", "scikit-learn", "none noted yet"):
        assert told in shown
    assert "why" in said(town, "promote", KEY.site, "--why", " ", code=2)
    placed = json.loads(said(town, "promote", KEY.site, "--why", "same", "--by", "sato", "--json"))
    assert (placed["card"]["placed_by"], placed["card"]["placed_why"]) == ("local:sato", "same")
    view = json.loads(said(town, "show", KEY.site, "--json"))
    assert (len(view["models"]), view["challenger"], view["can_roll_back"]) == (2, None, True)
    assert "no challenger" in said(town, "promote", KEY.site, "--why", "again", code=1)
    assert "in force from" in said(town, "rollback", KEY.site, "--why", "a mistake")
    assert "no model before" in said(town, "rollback", KEY.site, "--why", "more", code=1)


def test_where_nothing_was_recorded_no_challenger_is_made(town: DataDir) -> None:
    assert "has no model to challenge" in said(town, "propose", KEY.site, code=1)
    assert "no site default/mh-9" in said(town, "show", "mh-9", code=1)


@pytest.fixture
def make_hub(town: DataDir) -> Iterator[Callable[[], Hub]]:
    made: list[Hub] = []

    def make() -> Hub:
        made.append(Hub(Settings(), town, WallClock(), [], broker_port=1))
        return made[-1]

    yield make
    for hub in made:
        hub.stop()


def installed(hub: Hub) -> list[int]:
    assessor: Any = hub.assess._runs[KEY].assessor
    return [at_ms for at_ms, _ in assessor.inner._strangeness._models]


def test_a_running_hub_hears_of_a_decision_and_a_restarted_one_has_it(
    town: DataDir, make_hub: Callable[[], Hub], first: StoredModel
) -> None:
    hub = make_hub()
    before = installed(hub)
    placed = hub.models.promote(KEY, SYSTEM, "same")
    hub._tend()
    hub._assess()
    assert installed(hub) == [*before, placed.effective_ms]
    hub.stores.ledger.add_audit(AuditEntry(1, SYSTEM, "another", KEY))
    hub._tend()
    hub._assess()
    assert installed(hub) == [*before, placed.effective_ms], "nothing is installed twice"
    hub.assess.settle(1)
    again = make_hub()
    assert installed(again) == [first.effective_ms, placed.effective_ms]
