"""The page and the API on which a challenger is looked at and decided about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pumpwatch.diagnosis.forest import FitRequest
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AuditEntry, StoredModel
from pumpwatch.services.models import ModelService
from pumpwatch.services.train import Trainer
from pumpwatch.stores.memory import MemoryShelf
from pumpwatch.web.app import create_app

KEY = SiteKey("demo", "mh0003")
PAGE, API = "/sites/demo/mh0003/models", "/api/v1/sites/demo/mh0003/models"
BASE = "http://127.0.0.1:8080"
BACKTEST = {
    "days": 89.6, "champion_alerts": 3, "challenger_alerts": 2, "appear": 0, "vanish": 1,
    "appearing": [],
    "vanishing": [
        {"t": "2026-10-11T03:00:00Z", "kind": "predictive", "cause": "x", "fault": "pump_ragging"}
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def first() -> StoredModel:
    rows, days = np.random.default_rng(1).normal(size=(60, 2)), 20_000 + np.arange(60) // 5
    names = ("capacity", "run")
    request = FitRequest(KEY, 20_013 * DAY_MS, 20_014 * DAY_MS, names, rows, days, 4)
    shelf = MemoryShelf()
    Trainer(shelf).fit_now(request)
    stored = shelf.effective(KEY, request.effective_ms)
    assert stored is not None
    return stored


@pytest.fixture
def shelves() -> tuple[MemoryShelf, MemoryShelf]:
    return MemoryShelf(), MemoryShelf()


@pytest.fixture
def client(world: Any, shelves: tuple[MemoryShelf, MemoryShelf]) -> Iterator[TestClient]:
    shelf, waiting = shelves
    service = ModelService(
        shelf=shelf, waiting=waiting, sites=world.ledger, alerts=world.ledger, audit=world.ledger,
        series=world.series, clock=world.clock, state_of=lambda key: None,
    )  # fmt: skip
    app = create_app(replace(world.deps(), models=service))
    with TestClient(app, BASE, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def challenged(shelves: tuple[MemoryShelf, MemoryShelf], first: StoredModel) -> None:
    shelf, waiting = shelves
    shelf.put(first)
    at_ms = first.effective_ms + 30 * DAY_MS
    card = {
        **first.card,
        "origin_ms": at_ms,
        "backtest": BACKTEST,
        "proposed": "2026-10-12T00:00:00Z",
    }
    waiting.put(replace(first, effective_ms=at_ms, card=card))


@pytest.mark.parametrize(("lang", "said"), [("en", "There is none yet"), ("ja", "まだありません")])
def test_a_station_without_a_model_says_when_one_comes(
    client: TestClient, lang: str, said: str
) -> None:
    text = client.get(PAGE, params={"lang": lang}).text
    assert said in text
    assert "/models/promote" not in text
    assert client.get(API).json()["models"] == []


@pytest.mark.usefixtures("challenged")
def test_a_challenger_is_shown_with_what_would_change_promoted_and_taken_back(
    client: TestClient, world: Any, send: Callable[..., Any]
) -> None:
    text = client.get(PAGE, params={"lang": "en"}).text
    for said in (
        "3 alerts as it is, 2 with",
        "Would vanish",
        "Clogging with rags",
        "pump capacity",
    ):
        assert said in text
    assert "Would appear" not in text
    assert "notice=nothing-said" in send(client, f"{PAGE}/promote", why=" ").headers["location"]
    answer = send(client, f"{PAGE}/promote", why="<b>calmer</b>", name="山本")
    text = client.get(answer.headers["location"]).text
    assert "&lt;b&gt;calmer&lt;/b&gt;" in text
    assert "No challenger waits" in text
    again = send(client, f"{PAGE}/promote", why="twice")
    assert "notice=model-gone" in again.headers["location"]
    assert "notice=rolled-back" in send(client, f"{PAGE}/rollback", why="no").headers["location"]
    decided = [e.actor.id for e in world.ledger.audit(key=KEY) if e.action.startswith("model_")]
    assert decided == ["local", "local:山本"]


@pytest.mark.usefixtures("challenged")
def test_the_api_gives_cards_and_takes_decisions(client: TestClient) -> None:
    told = client.get(API).json()
    assert told["challenger"]["card"]["backtest"]["vanish"] == 1
    assert told["models"][0]["card"]["versions"]["scikit-learn"]
    assert not told["can_roll_back"]
    assert client.post(f"{API}/promote", json={"why": ""}).json()["field"] == "why"
    told = client.post(f"{API}/promote", json={"why": "calmer", "name": "sato"}).json()
    assert (len(told["models"]), told["challenger"], told["can_roll_back"]) == (2, None, True)
    assert client.post(f"{API}/promote", json={"why": "calmer"}).status_code == 409
    told = client.post(f"{API}/rollback", json={"why": "no"}).json()
    assert told["models"][-1]["origin_ms"] == told["models"][0]["origin_ms"]


def test_all_accepted_changes_stay_visible(client: TestClient, world: Any) -> None:
    values = [["capacity_m3s", "pump1", 5, 0.005], ["capacity_m3s", "pump1", 9, 0.0048],
              ["start_level_m", None, 5, 1.2], ["start_level_m", None, 8, 1.25]]  # fmt: skip
    entry = AuditEntry(9, SYSTEM, "reference_set", KEY, None, {"values": values})
    world.ledger.add_audit(entry)
    text = client.get(PAGE, params={"lang": "en"}).text
    assert "−4.0%" in text
    assert "+0.05 m" in text
    capacity = client.get(API).json()["references"][0]
    assert (capacity["first"], capacity["now"], capacity["changes"]) == (0.005, 0.0048, 1)


def test_pages_without_a_hub_have_no_models(world: Any, serve: Callable[..., TestClient]) -> None:
    assert serve(world).get(API).status_code == 404
