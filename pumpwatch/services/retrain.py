"""Challengers in time: fitted in a process of low priority, one site after the other, beside everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import structlog

from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS, Clock
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import SiteBook
from pumpwatch.domain.sites import SiteMode
from pumpwatch.services.challengers import Challenger, challenge
from pumpwatch.services.models import SCHEDULED, ModelService
from pumpwatch.services.train import worker_pool

log = structlog.get_logger(__name__)

REST_S = 1.0
"""Between two sites."""
ROUND_S = 600.0
"""Between two rounds over all sites."""
AGAIN_MS = DAY_MS
"""A site that gave no challenger is tried again after so long."""


@dataclass(slots=True)
class _Job:
    key: SiteKey
    future: Future[Challenger | None]


class Retraining:
    """Does a short piece of work at each `step`. One thread owns it; ``pool`` makes the executor.

    A site's model is challenged when it is ``challenger_days`` old (0: never). With ``promote_unchanged``
    the rule of `ModelService.promote_by_rule` decides, else people do.
    """

    def __init__(
        self,
        models: ModelService,
        sites: SiteBook,
        clock: Clock,
        *,
        challenger_days: float,
        promote_unchanged: bool = False,
        pool: Callable[[], Executor] | None = None,
    ) -> None:
        self._models, self._sites, self._clock = models, sites, clock
        self._days, self._by_rule = challenger_days, promote_unchanged
        self._make_pool = pool or (lambda: worker_pool(1))
        self._pool: Executor | None = None
        self._job: _Job | None = None
        self._round: Iterator[SiteKey] = iter(())
        self._tried_ms: dict[SiteKey, int] = {}
        self.proposed = 0
        self.problem = ""

    def step(self) -> float:
        """Look after one site; returns the seconds to rest."""
        if self._job is not None:
            if not self._job.future.done():
                return REST_S
            job, self._job = self._job, None
            self._take(job)
        key = next(self._round, None)
        if key is None:
            live = self._sites.sites().items()
            self._round = iter([k for k, site in live if site.mode is not SiteMode.RECORDING])
            return ROUND_S
        self._models.note_references(key)
        if self._is_due(key):
            self._begin(key)
        return REST_S

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _is_due(self, key: SiteKey) -> bool:
        tried_ms = self._tried_ms.get(key)
        rests = tried_ms is not None and self._clock.now_ms() - tried_ms < AGAIN_MS
        return self._days > 0 and not rests and self._models.due(key, self._days)

    def _begin(self, key: SiteKey) -> None:
        self._tried_ms[key] = self._clock.now_ms()
        trial = self._models.trial(key)
        if trial is not None:
            self._pool = self._pool or self._make_pool()
            self._job = _Job(key, self._pool.submit(challenge, trial))

    def _take(self, job: _Job) -> None:
        """One site's failure is told and stops no other."""
        try:
            challenger = job.future.result()
            if challenger is not None:
                self._models.keep(job.key, challenger, SYSTEM, SCHEDULED)
                self.proposed += 1
                if self._by_rule:
                    self._models.promote_by_rule(job.key)
            self.problem = ""
        except Exception as error:
            self.problem = f"no challenger for {job.key} ({error}): see the log"
            log.warning("challenger failed", site=str(job.key), reason=str(error))
            if not isinstance(error, PumpwatchError):
                self.close()  # a broken pool takes no more work
