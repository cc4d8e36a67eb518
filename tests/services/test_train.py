"""The trainer: what is fitted lands on the shelf with its card, and one bad fit stops nobody."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pumpwatch.diagnosis.forest import FitRequest, fit_site_model
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import StoredModel
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site
from pumpwatch.services import train
from pumpwatch.services.train import Trainer
from pumpwatch.stores.memory import MemoryShelf

NAMES = ("capacity_index", "inflow_m3s")


def request(site: str = "mh0001", *, n: int = 60, day: int = 20_000) -> FitRequest:
    rows = np.random.default_rng(1).normal(size=(n, 2))
    rows[:6, 1] = np.nan
    days = day - 30 + np.arange(n) // 5
    return FitRequest(
        SiteKey("default", site), day * DAY_MS, (day + 1) * DAY_MS, NAMES, rows, days, 4
    )


def impossible(site: str) -> FitRequest:
    return replace(request(site), rows=np.zeros((1, 2)), day=np.zeros(1, int))


class Later(Executor):
    """Does the work when told to; ``die`` breaks everything that waits."""

    def __init__(self) -> None:
        self.queue: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.broken = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.broken:
            raise BrokenProcessPool("a worker died")
        future: Future[Any] = Future()
        self.queue.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        for future, work in self.queue:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
        self.queue.clear()

    def die(self) -> None:
        self.broken = True
        for future, _ in self.queue:
            future.set_exception(BrokenProcessPool("a worker died"))
        self.queue.clear()


@pytest.fixture
def pools() -> list[Later]:
    return []


@pytest.fixture
def shelf() -> MemoryShelf:
    return MemoryShelf()


@pytest.fixture
def trainer(shelf: MemoryShelf, pools: list[Later]) -> Trainer:
    def pool() -> Later:
        pools.append(Later())
        return pools[-1]

    return Trainer(shelf, pool=pool)


def test_a_fit_waited_for_is_on_the_shelf_with_its_card(
    trainer: Trainer, shelf: MemoryShelf
) -> None:
    asked = request()
    model = trainer.fit_now(asked, why="backtest")
    assert model is not None
    found = trainer.load(asked.key, asked.effective_ms)
    assert found is not None
    assert found[1] == asked.effective_ms
    assert np.array_equal(found[0].p_values(asked.rows), model.p_values(asked.rows))
    ((_, _, card),) = shelf.cards()
    assert json.loads(json.dumps(card)) == card
    assert card["rows"] == 60
    assert (card["days"], card["first_day"], card["last_day"]) == (12, 19_970, 19_981)
    assert card["features"] == list(NAMES)
    assert card["known"] == {"capacity_index": 1.0, "inflow_m3s": 0.9}
    assert (card["seed"], card["who"], card["role"], card["why"]) == (
        4,
        "pumpwatch",
        "system",
        "backtest",
    )
    assert card["up_to"] == "2024-10-04T00:00:00Z"
    assert card["versions"].keys() == {"python", "pumpwatch", "numpy", "scikit-learn"}


def test_a_model_takes_effect_at_its_moment_and_not_before(trainer: Trainer) -> None:
    asked = request()
    trainer.fit_now(asked)
    assert trainer.load(asked.key, asked.effective_ms - 1) is None
    assert trainer.load(SiteKey("default", "other"), asked.effective_ms) is None


def test_without_a_shelf_models_are_fitted_and_not_kept() -> None:
    trainer = Trainer(None)
    assert trainer.fit_now(request()) is not None
    assert trainer.load(request().key, 2**62) is None


def test_a_fit_that_fails_is_counted_and_gives_none(trainer: Trainer) -> None:
    assert trainer.fit_now(impossible("mh0002")) is None
    assert trainer.counters.failed == 1
    assert "two days" in trainer.counters.problems[SiteKey("default", "mh0002")]


def test_submitted_fits_are_collected_when_done_and_equal_those_waited_for(
    trainer: Trainer, pools: list[Later]
) -> None:
    asked = request()
    trainer.submit(asked)
    trainer.submit(asked)
    assert (trainer.waiting, trainer.collect()) == (1, [])
    pools[0].run()
    ((key, model, effective_ms),) = trainer.collect()
    assert (key, effective_ms) == (asked.key, asked.effective_ms)
    now = fit_site_model(asked.rows, asked.day, asked.names, asked.seed)
    assert np.array_equal(model.calibration, now.calibration)
    assert trainer.load(key, effective_ms) is not None
    assert (trainer.waiting, trainer.collect()) == (0, [])


def test_a_failed_fit_never_stops_the_others(trainer: Trainer, pools: list[Later]) -> None:
    trainer.submit(request("mh0001"))
    trainer.submit(impossible("mh0002"))
    trainer.submit(request("mh0003"))
    pools[0].run()
    assert [key.site for key, _, _ in trainer.collect()] == ["mh0001", "mh0003"]
    assert (trainer.counters.fitted, trainer.counters.failed) == (2, 1)


def test_a_later_success_clears_a_site_s_problem(trainer: Trainer) -> None:
    trainer.fit_now(impossible("mh0001"))
    trainer.fit_now(request("mh0001"))
    assert trainer.counters.problems == {}


def test_fits_lost_with_a_dead_worker_are_tried_once_more(
    trainer: Trainer, pools: list[Later]
) -> None:
    trainer.submit(request("mh0001"))
    trainer.submit(request("mh0002"))
    pools[0].die()
    assert trainer.collect() == []
    assert (len(pools), trainer.waiting) == (2, 2)
    pools[1].run()
    assert len(trainer.collect()) == 2
    assert trainer.counters.failed == 0


def test_a_request_that_kills_every_worker_is_given_up(
    trainer: Trainer, pools: list[Later]
) -> None:
    trainer.submit(request())
    for n in range(2):
        pools[n].die()
        assert trainer.collect() == []
    assert (trainer.waiting, trainer.counters.failed, len(pools)) == (0, 1, 2)
    trainer.submit(request("mh0009"))
    assert len(pools) == 3


class FullShelf(MemoryShelf):
    def put(self, model: StoredModel) -> None:
        raise StoreUnavailable("no space left", "free some")


def test_a_shelf_that_refuses_takes_nothing_from_the_site() -> None:
    trainer = Trainer(FullShelf())
    assert trainer.fit_now(request()) is not None
    assert "no space" in trainer.counters.problems[request().key]


def test_a_damaged_model_is_refused_with_its_reason(trainer: Trainer, shelf: MemoryShelf) -> None:
    asked = request()
    trainer.fit_now(asked)
    kept = shelf.effective(asked.key, asked.effective_ms)
    assert kept is not None
    child = kept.arrays["child"].copy()
    child[0] = 0
    shelf.put(replace(kept, arrays={**kept.arrays, "child": child}))
    assert trainer.load(asked.key, asked.effective_ms) is None
    assert trainer.counters.refused == 1
    assert "a node points back" in trainer.counters.problems[asked.key]


def test_closing_drops_what_has_not_begun(trainer: Trainer) -> None:
    trainer.submit(request())
    trainer.close()
    assert (trainer.waiting, trainer.collect()) == (0, [])
    trainer.close()


@pytest.mark.slow
def test_worker_processes_fit_the_same_model_at_low_priority(shelf: MemoryShelf) -> None:
    trainer = Trainer(shelf, workers=1)
    try:
        asked = request()
        trainer.submit(asked)
        # at low priority, beside a whole test run
        wait([job.future for job in trainer._jobs.values()], timeout=500)
        ((_, model, _),) = trainer.collect()
        here = train.fit(asked)
        assert np.array_equal(model.calibration, here.calibration)
        assert np.array_equal(model.forest.value, here.forest.value)
        assert trainer._pool is not None
        assert trainer._pool.submit(os.nice, 0).result(60) >= min(os.nice(0) + train.NICE, 19)
    finally:
        trainer.close()


class Asks:
    """In the place of diagnosis: asks for as many fits as the record has rows."""

    def __init__(self, key: SiteKey, site: Site, *, fit: Any, log: Any) -> None:
        self.fit = fit

    def feed(self, chunk: Chunk) -> None:
        for i in range(len(chunk)):
            assert self.fit(request(day=20_000 + i)) is None


def test_training_by_hand_uses_the_newest_request_of_diagnosis_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "SiteAssessor", Asks)
    site = Site("mh0001")
    key = SiteKey("default", "mh0001")
    newest = train.latest_request(key, site, Chunk(np.arange(3), {}))
    assert newest is not None
    assert newest.effective_ms == 20_003 * DAY_MS
    assert train.latest_request(key, site, Chunk(np.arange(0), {})) is None
