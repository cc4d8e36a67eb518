"""The forest's part: how strange a half-day's cycles are as a whole, whatever rule may know them.

It confirms, and alone it only informs: an outlier score has no direction and names no cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.forest import FitRequest, SiteModel
from pumpwatch.diagnosis.references import PumpReference, SiteReference
from pumpwatch.diagnosis.seen import NAN, Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey

DAY_MS = 86_400_000
NAMES = ("capacity", "current", "backflow", "start_level_m", "stop_level_m", "run")

Fit = Callable[[FitRequest], SiteModel | None]


@dataclass
class StrangenessState:
    """Training rows until a model was asked for, and how strange things have been since."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    asked: bool = False
    installed: bool = False
    p: float | None = None
    """Median p-value of the last half-day scored."""
    strange: int = 0
    """Half-days in a row with too many strange cycles."""


def vector(
    c: Seen, site: SiteReference, ref: PumpReference, offsets: dict[str, float]
) -> tuple[float, ...]:
    """A cycle's residuals, in the order of `NAMES`; NaN where unknown."""
    tail = f":pump{c.pump}"
    expected = ref.capacity.expect(c.log_inflow)
    size = math.exp(ref.capacity.value)
    net = math.exp(expected) - c.inflow
    normal_run = size * c.run_s / net if net > 0.05 * size else NAN
    current = c.log_current - ref.current.expect(c.log_inflow) if ref.current.known else NAN
    return (
        c.log_capacity - expected - offsets.get("capacity" + tail, 0.0),
        current - offsets.get("current" + tail, 0.0),
        c.backflow / size,
        c.start_m - site.start_m - offsets.get("start_level", 0.0),
        c.stop_m - site.stop_m - offsets.get("stop_level", 0.0),
        math.log(c.run_s / normal_run) if normal_run > 0 and c.run_s > 0 else NAN,
    )


class Strangeness:
    """Asks for a site's forest when there is enough to learn from, and scores half-days with it."""

    def __init__(
        self, key: SiteKey, fit: Fit, state: StrangenessState, settings: DiagnosisSettings
    ) -> None:
        self._key, self._fit, self._s, self._set = key, fit, state, settings
        self._models: list[tuple[int, SiteModel]] = []

    def install(self, model: SiteModel, effective_ms: int) -> None:
        """Use ``model`` for half-days that end after ``effective_ms``."""
        self._models = sorted([*self._models, (effective_ms, model)], key=lambda m: m[0])
        self._s.asked = self._s.installed = True
        self._s.rows, self._s.days = [], []

    def retune(self, settings: DiagnosisSettings) -> None:
        self._set = settings

    def learn(self, vectors: Sequence[tuple[float, ...]], day: int) -> None:
        """Keep a clean half-day's residuals (evenly thinned) until a model is asked for."""
        if not self._s.asked and vectors:
            step = -(-len(vectors) // self._set.forest_half_rows)
            kept = vectors[::step]
            self._s.rows += kept
            self._s.days += [day] * len(kept)

    def midnight(self, now_ms: int, next_ms: int) -> None:
        """A site-local midnight: ask for a model to be used from the next one on.

        Who asks in vain (it comes later, or was lost with a restart) asks again at the next midnight.
        """
        s = self._s
        if s.installed or len(set(s.days)) < self._set.fit_days:
            return
        request = FitRequest(
            key=self._key,
            up_to_ms=now_ms,
            effective_ms=next_ms,
            names=NAMES,
            rows=np.array(s.rows, np.float64),
            day=np.array(s.days, np.int64),
            seed=now_ms // DAY_MS,
        )
        try:
            model = self._fit(request)
        except InvalidInput:
            return
        s.asked = True
        if model is not None:
            self.install(model, next_ms)

    def score(self, vectors: Sequence[tuple[float, ...]], now_ms: int) -> None:
        """Take a half-day's residuals: too many small p-values make it strange."""
        model = next((m for at, m in reversed(self._models) if at < now_ms), None)
        if model is None or len(vectors) < self._set.min_cycles:
            return
        p: NDArray[np.float64] = model.p_values(np.array(vectors, np.float64))
        self._s.p = robust.median(p)
        rare, n = self._set.rare_p, len(p)
        z = (float(np.mean(p <= rare)) - rare) / math.sqrt(rare * (1 - rare) / n)
        self._s.strange = self._s.strange + 1 if z > self._set.strange_sigma else 0

    @property
    def unusual(self) -> bool:
        """Strange for long enough to say so, though nothing names it."""
        return self._s.strange == self._set.strange_halves
