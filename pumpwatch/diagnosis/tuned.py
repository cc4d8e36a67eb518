"""An assessor that changes its settings where a station's versions say so, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np

from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.forest import SiteModel
from pumpwatch.diagnosis.tuning import Tuning, tuning_as_stored
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry
from pumpwatch.domain.tuning import TuningVersion, in_force


class TunedAssessor:
    """A `SiteAssessor` under a station's `TuningVersion`s.

    Which version a row is judged by follows from its time alone. So however the record is split, and
    wherever a checkpoint was taken, live operation, a replay and a backtest change at the same row; a
    checkpoint needs to remember nothing of it.
    """

    def __init__(self, assessor: SiteAssessor, versions: Sequence[TuningVersion] = ()) -> None:
        self.inner = assessor
        self._now: int | None = None
        """The number of the version the assessor is set to; None: as it was made."""
        self._tuning = Tuning()
        self.tune(versions)

    def tune(self, versions: Sequence[TuningVersion]) -> None:
        """From the next row on, go by these versions, in order of their numbers."""
        self.versions = tuple(versions)
        if versions and self._now is None:
            self._base = self.inner.settings

    @property
    def key(self) -> SiteKey:
        return self.inner.key

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        """As `SiteAssessor.feed`; rows on both sides of a change are judged apart."""
        if not self.versions:
            return self.inner.feed(chunk, edges)
        found: list[Assessment] = []
        for rows, among, t_ms in self._parts(chunk, edges):
            self._turn_to(t_ms)
            told = self.inner.feed(rows, among)
            quieted = [self._tuning.quieted(f) for f in told.findings]
            found.append(replace(told, findings=quieted))
        if len(found) == 1:
            return found[0]
        return Assessment(
            **{
                f.name: [x for part in found for x in getattr(part, f.name)]
                for f in fields(Assessment)
            }
        )

    def tick(self, now_ms: int) -> Assessment:
        return self.inner.tick(now_ms)

    def add_log(self, entry: LogEntry) -> None:
        self.inner.add_log(entry)

    def install(self, model: SiteModel, effective_ms: int) -> None:
        self.inner.install(model, effective_ms)

    def snapshot(self) -> bytes:
        return self.inner.snapshot()

    def _parts(
        self, chunk: Chunk, edges: Sequence[Edge]
    ) -> Iterator[tuple[Chunk, Sequence[Edge], int]]:
        """Rows of one version each with the edges before the next part, and the time of the first."""
        if not len(chunk):
            if edges:
                yield chunk, edges, edges[0].t_ms
            return
        numbers = np.zeros(len(chunk), np.int64)
        for version in self.versions:
            numbers[chunk.t_ms >= version.effective_ms] = version.n
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(chunk)]
        left = list(edges)
        for a, b in pairwise(cuts):
            until = chunk.t_ms[b] if b < len(chunk) else None
            among = [e for e in left if until is None or e.t_ms < until]
            left = [e for e in left if e not in among]
            part = Chunk(chunk.t_ms[a:b], {name: v[a:b] for name, v in chunk.signals.items()})
            yield part, among, int(chunk.t_ms[a])

    def _turn_to(self, t_ms: int) -> None:
        version = in_force(self.versions, t_ms)
        number = version.n if version else 0
        if number == self._now:
            return
        self._now = number
        self._tuning = tuning_as_stored(version.settings) if version else Tuning()
        self.inner.retune(self._tuning.applied_to(self._base))
