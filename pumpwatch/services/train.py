"""The trainer: fit requests in, models on the shelf out. Nobody who watches pumps waits for it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any

import numpy as np
import structlog

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import (
    FitRequest,
    SiteModel,
    fit_site_model,
    from_stored,
    to_stored,
)
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.errors import InvalidInput, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import ModelShelf
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, Site

log = structlog.get_logger()

NICE = 15
ATTEMPTS = 2
"""A worker that dies takes the fits of its neighbours with it: these are tried once more."""


@dataclass(slots=True)
class _Job:
    request: FitRequest
    future: Future[SiteModel]
    why: str
    attempts: int = 1


@dataclass(slots=True)
class TrainerCounters:
    """What the trainer did since it began."""

    fitted: int = 0
    failed: int = 0
    refused: int = 0
    """Models on the shelf that could not be trusted."""
    problems: dict[SiteKey, str] = field(default_factory=dict)
    """The last problem of each site that has one."""


class Trainer:
    """Fits models, in this process (`fit_now`) or in worker processes of low priority (`submit`).

    Not safe for threads: one thread owns it. ``pool`` makes the executor when the first request comes;
    the default is ``workers`` processes.
    """

    def __init__(
        self,
        shelf: ModelShelf | None,
        *,
        workers: int = 1,
        actor: Actor = SYSTEM,
        pool: Callable[[], Executor] | None = None,
    ) -> None:
        self._shelf, self._actor = shelf, actor
        self._make_pool = pool or (lambda: worker_pool(workers))
        self._pool: Executor | None = None
        self._jobs: dict[tuple[SiteKey, int], _Job] = {}
        self.counters = TrainerCounters()

    def fit_now(self, request: FitRequest, why: str = "scheduled") -> SiteModel | None:
        """Fit and wait, for recordings. None when the request cannot be fitted, which is counted."""
        try:
            model = fit(request)
        except Exception as error:  # one site's bad rows must not end a whole backtest
            self._failed(request.key, error)
            return None
        self._keep(request, model, why)
        return model

    def submit(self, request: FitRequest, why: str = "scheduled") -> None:
        """Fit later; `collect` hands the model over. The same request again changes nothing."""
        name = (request.key, request.effective_ms)
        if name not in self._jobs:
            self._jobs[name] = _Job(request, self._start(request), why)

    def collect(self) -> list[tuple[SiteKey, SiteModel, int]]:
        """(key, model, effective_ms) of every fit that ended well since the last call.

        They are on the shelf by then. A fit that failed is counted, logged and forgotten.
        """
        ended = [(name, job) for name, job in self._jobs.items() if job.future.done()]
        models = []
        for name, job in ended:
            del self._jobs[name]
            try:
                model = job.future.result()
            except BrokenProcessPool as error:
                self._again(name, job, error)
            except Exception as error:
                self._failed(job.request.key, error)
            else:
                self._keep(job.request, model, job.why)
                models.append((job.request.key, model, job.request.effective_ms))
        return models

    @property
    def waiting(self) -> int:
        """Requests that were submitted and not collected yet."""
        return len(self._jobs)

    def load(self, key: SiteKey, at_ms: int) -> tuple[SiteModel, int] | None:
        """The site's model in effect at ``at_ms`` and since when, or None.

        One that could not have been written by us is refused: counted, logged with the reason.
        """
        stored = None if self._shelf is None else self._shelf.effective(key, at_ms)
        if stored is None:
            return None
        try:
            return from_stored(stored), stored.effective_ms
        except InvalidInput as error:
            self.counters.refused += 1
            self.counters.problems[key] = str(error)
            log.warning("model refused", site=str(key), reason=str(error))
            return None

    def close(self) -> None:
        """Drop what has not begun and let the workers go."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._jobs.clear()

    def _start(self, request: FitRequest) -> Future[SiteModel]:
        if self._pool is None:
            self._pool = self._make_pool()
        try:
            return self._pool.submit(fit, request)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = self._make_pool()
            return self._pool.submit(fit, request)

    def _again(self, name: tuple[SiteKey, int], job: _Job, error: Exception) -> None:
        if job.attempts >= ATTEMPTS:
            self._failed(job.request.key, error)
            return
        self._jobs[name] = _Job(job.request, self._start(job.request), job.why, job.attempts + 1)

    def _failed(self, key: SiteKey, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        self.counters.failed += 1
        self.counters.problems[key] = reason
        log.warning("fit failed", site=str(key), reason=reason)

    def _keep(self, request: FitRequest, model: SiteModel, why: str) -> None:
        """Count the model and put it on the shelf; a shelf that refuses does not take it from us."""
        self.counters.fitted += 1
        self.counters.problems.pop(request.key, None)
        if self._shelf is None:
            return
        card = card_of(request, model, self._actor, why)
        try:
            self._shelf.put(to_stored(model, request.key, request.effective_ms, card))
        except (StoreUnavailable, InvalidInput) as error:
            self.counters.problems[request.key] = str(error)
            log.warning("model not kept", site=str(request.key), reason=str(error))


def fit(request: FitRequest) -> SiteModel:
    """The model of a request; what a worker process runs."""
    return fit_site_model(request.rows, request.day, request.names, request.seed)


def latest_request(
    key: SiteKey, site: Site, chunk: Chunk, entries: Sequence[LogEntry] = ()
) -> FitRequest | None:
    """The newest fit that diagnosis itself asks for on this record, or None while there is too little.

    Fitted by hand or at midnight, a model is made of the same rows.
    """
    asked: list[FitRequest] = []
    SiteAssessor(key, site, fit=asked.append, log=entries).feed(chunk)
    return asked[-1] if asked else None


def card_of(request: FitRequest, model: SiteModel, actor: Actor, why: str) -> dict[str, Any]:
    """What a model was made of, by what, by whom and why, as JSON. The same request, the same card."""
    days = np.unique(request.day)
    return {
        "up_to": iso_utc(request.up_to_ms),
        "effective": iso_utc(request.effective_ms),
        "rows": len(request.rows),
        "days": len(days),
        "first_day": int(days[0]),
        "last_day": int(days[-1]),
        "known": {
            name: round(float(share), 4)
            for name, share in zip(
                request.names, np.isfinite(request.rows).mean(axis=0), strict=True
            )
        },
        "held_back": len(model.calibration),
        "seed": request.seed,
        "who": actor.id,
        "role": actor.role,
        "why": why,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pumpwatch", "numpy", "scikit-learn")},
        },
    }


def worker_pool(workers: int) -> Executor:
    """Processes of their own that yield to everything else. Spawned: the hub has threads."""
    return ProcessPoolExecutor(
        max_workers=workers, mp_context=get_context("spawn"), initializer=_yield_to_others
    )


def _yield_to_others() -> None:
    os.nice(NICE)
