"""What each layer of diagnosis is worth: the same recorded stations judged with one layer less at a time.

A layer is taken out by putting something plainer into its place in `Layers`, never by patching. Three
detectors without any physics of faults (IsolationForest, LOF, ECOD) look at the same residuals of cycles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pumpwatch.cycles.cutter import CycleCutter
from pumpwatch.cycles.features import measure
from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis import causes
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.forest import FOLDS, FitRequest
from pumpwatch.diagnosis.judge import Judge
from pumpwatch.diagnosis.layers import Layers
from pumpwatch.diagnosis.present import PresentFacts
from pumpwatch.diagnosis.references import learn_pump
from pumpwatch.diagnosis.risk import Day, by_day
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.strangeness import Fit
from pumpwatch.domain.alerts import Phase
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.hydraulics import flows
from pumpwatch.services.backtest import fit_now

Line = dict[str, Any]
SHEWHART_SIGMA = 3.0
STRANGE = DiagnosisSettings(strange_halves=2)
"""A generic detector speaks after as many half-days as a chart must wait."""


@dataclass(frozen=True)
class System:
    """One way to judge a station: its layers, its settings, the detector it fits, and what of it counts."""

    layers: Layers = field(default_factory=Layers)
    settings: DiagnosisSettings = field(default_factory=DiagnosisSettings)
    fit: Fit = lambda _: None
    strange_only: bool = False


# -- what stands in the place of a layer ----------------------------------------------------------


class NoFacts(PresentFacts):
    """Present facts removed: no rule speaks, and none makes the level unbelievable."""

    def feed(self, *_: Any) -> list:
        return []


def with_inflow_left_in(cycles, area_m2):
    """Physics without the inflow: a pump's flow is taken to be the fall of the level, ``A |dh/dt|``."""
    out = measure(cycles, area_m2)
    area = 1.0 if area_m2 is None else area_m2
    out["capacity"] = flows.capacity(area, cycles["run_slope"], 0.0)
    out["late_capacity"] = flows.capacity(area, cycles["run_late"], 0.0)
    return out


def one_level(seen, resolution_share, s):
    """References that do not depend on inflow: one level a pump, with the spread around it."""
    real = learn_pump(seen, resolution_share, s)
    flat = learn_pump([(h, c._replace(inflow=1.0)) for h, c in seen], resolution_share, s)
    if real is not None and flat is not None:  # what counts as a usual inflow stays known
        flat.capacity = replace(flat.capacity, low=real.capacity.low, high=real.capacity.high)
    return flat


class Shewhart(Chart):
    """No memory: a value beyond three sigmas speaks at once (Shewhart 1931)."""

    def add(self, z, t_ms, *, slack, limit, clip):
        if abs(self.level) <= SHEWHART_SIGMA:
            self.since_ms = t_ms
        self.level, self.up, self.down = z, max(z, 0.0), max(-z, 0.0)
        self.n += 1

    def fires(self, side, limit, persistence):
        return side * self.level > SHEWHART_SIGMA


class EveryOdd(CountChart):
    """No memory: every odd cycle speaks at once."""

    def add(self, hit, t_ms, *, base, rate, limit):
        super().add(hit, t_ms, base=base, rate=rate, limit=limit)
        self.total = 2.0 * limit if hit else 0.0

    def fires(self, limit, span_ms):
        return self.total > limit


def by_prior(_: Mapping[str, float], pumps: int, control: str | None = None) -> list[causes.Cause]:
    """No ranking: of the causes that explain a sign, the commonest."""
    return causes.rank({}, pumps, control)


class Unfollowed(Judge):
    """No episodes: nothing stays open, so whatever shows is told again each time it shows."""

    def __init__(self, key, site, state, settings):
        super().__init__(key, site, state, settings)
        self._state = state

    def hear(self, now_ms, fired):
        found = super().hear(now_ms, fired)
        self._state.episodes.clear()
        return found

    def half_day(self, now_ms, fired):
        found = super().half_day(now_ms, fired)
        self._state.episodes.clear()
        return found


class Silent(Judge):
    """No rule at all: only what is strange speaks."""

    def hear(self, *_: Any) -> list:
        return []

    half_day = hear


# -- detectors without physics --------------------------------------------------------------------


class Conformal:
    """Any PyOD detector with p-values from days it has not seen, as `fit_site_model` gives the forest."""

    def __init__(self, make: Callable[[], Any], request: FitRequest) -> None:
        rows = np.where(np.isnan(request.rows).all(axis=0), 0.0, request.rows)
        self._median = np.nanmedian(rows, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(rows - self._median), axis=0)
        self._scale = np.where(spread > 1e-3, spread, 1e-3)
        z, days = self._standard(rows), np.unique(request.day)
        fold = np.searchsorted(days, request.day) % FOLDS
        held = [make().fit(z[fold != k]).decision_function(z[fold == k]) for k in range(FOLDS)]
        self._calibration = np.sort(np.concatenate(held))
        self._detector = make().fit(z)

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        return np.clip(np.nan_to_num((rows - self._median) / self._scale, nan=0.0), -20, 20)

    def p_values(self, rows: np.ndarray) -> np.ndarray:
        scores = self._detector.decision_function(self._standard(rows))
        n = len(self._calibration)
        at_least = n - np.searchsorted(self._calibration, scores, "left")
        return (1.0 + at_least) / (n + 1.0)


def lof() -> Any:
    from pyod.models.lof import LOF  # not above: seconds, and every test run reads this file

    return LOF(n_neighbors=20)


def ecod() -> Any:
    from pyod.models.ecod import ECOD

    return ECOD()


def generic(fit: Fit) -> System:
    return System(Layers(present=NoFacts, judge=Silent), STRANGE, fit, strange_only=True)


SYSTEMS: dict[str, System] = {
    "all layers": System(),
    "no present facts": System(Layers(present=NoFacts)),
    "inflow not removed": System(Layers(physics=with_inflow_left_in)),
    "references not by inflow": System(Layers(reference=one_level)),
    "neither of the two": System(Layers(physics=with_inflow_left_in, reference=one_level)),
    "no partner comparison": System(settings=DiagnosisSettings(partner_comparison=False)),
    "3 sigma for CUSUM": System(Layers(chart=Shewhart, count=EveryOdd)),
    "causes by prior alone": System(Layers(judge=partial(Judge, rank=by_prior))),
    "no episodes": System(Layers(judge=Unfollowed)),
    "IsolationForest alone": generic(fit_now),
    "LOF alone": generic(partial(Conformal, lof)),
    "ECOD alone": generic(partial(Conformal, ecod)),
}
"""Without "no forest": what it tells is information, which is never scored (the bench holds it to that)."""

AT_OTHER_LIMITS: dict[str, System] = {
    f"limit {half:g}, cycle_limit {cycle:g}": System(
        settings=DiagnosisSettings(limit=half, cycle_limit=cycle)
    )
    for half, cycle in ((5.0, 16.0), (10.0, 16.0), (7.0, 11.0), (7.0, 23.0))
}
"""All layers, with either decision limit a step lower or higher: what cross-validation may choose instead."""


# -- one station, judged by each ------------------------------------------------------------------


class _Once:
    """The cycles and facts of a recording, made once for all the systems that judge it."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._made: dict[str, Any] = {}

    def shared(self, layers: Layers) -> Layers:
        made = self._made

        class Cut(CycleCutter):
            def feed(self, chunk, edges=()):
                if "cycles" not in made:
                    made["cycles"] = super().feed(chunk, edges)
                    made["last_ms"] = super().last_ms
                return made["cycles"]

            @property
            def last_ms(self):
                return made.get("last_ms", super().last_ms)

        class Facts(PresentFacts):
            def feed(self, chunk, edges=()):
                if "facts" not in made:
                    made["facts"] = super().feed(chunk, edges)
                return list(made["facts"])

        facts = Facts if layers.present is PresentFacts else layers.present
        return replace(layers, cutter=Cut, present=facts)

    def judge(self, system: System) -> Assessment:
        return assess(self.recording, replace(system, layers=self.shared(system.layers)))


def assess(recording: Recording, system: System) -> Assessment:
    """The whole of one recording under ``system``."""
    assessor = SiteAssessor(
        SiteKey(DEFAULT_TENANT, recording.site.site),
        recording.site,
        fit=system.fit,
        settings=system.settings,
        log=recording.log,
        layers=system.layers,
    )
    return assessor.feed(recording.chunk)


def told(assessment: Assessment, system: System) -> list[Line]:
    """The alerts that are scored; a generic detector's are all it says, as warnings without a name."""
    found = [f for f in assessment.findings if f.phase != Phase.RESOLVED]
    if not system.strange_only:
        return [f.to_line() for f in found]
    return [
        f.to_line() | {"kind": "predictive", "severity": "warning", "fault": None}
        for f in found
        if f.cause == "unusual"
    ]


def counted(lines: Sequence[Line]) -> list[Line]:
    """Lines that are more than information, without the forest's word in their evidence."""
    alike = []
    for line in lines:
        if "info" not in (line["kind"], line["severity"]):
            evidence = {k: v for k, v in line["evidence"].items() if k != "anomaly_p"}
            alike.append(line | {"evidence": evidence})
    return alike


@dataclass
class Judged:
    """One station's alerts and the days of its risk by system, and CPU seconds spent."""

    site: str
    lines: dict[str, list[Line]]
    days: dict[str, list[Day]]
    site_days: float
    read_s: float
    cpu_s: dict[str, float]


def judge_site(folder: Path, systems: Sequence[str]) -> Judged:
    """Read one station once and judge it under each of ``systems``."""
    began = time.process_time()
    once = _Once(read_recording(folder))
    read_s = time.process_time() - began
    chunk, site = once.recording.chunk, once.recording.site.site
    out = Judged(site, {}, {}, float(chunk.t_ms[-1] - chunk.t_ms[0]) / 86_400_000, read_s, {})
    span = int(chunk.t_ms[0]), int(chunk.t_ms[-1])
    for name in systems:
        began = time.process_time()
        system = (SYSTEMS | AT_OTHER_LIMITS)[name]
        assessment = once.judge(system)
        out.lines[name] = told(assessment, system)
        out.days[name] = list(by_day(assessment.findings, assessment.evidence, *span))
        out.cpu_s[name] = time.process_time() - began
    return out


@dataclass
class Timed:
    """One station judged by one system alone, cutting and facts included: CPU seconds, and its alerts."""

    lines: list[Line]
    read_s: float
    judge_s: float


def timed(folder: Path, system: System) -> Timed:
    """Read one station and judge it under ``system``, nothing shared."""
    began = time.process_time()
    recording = read_recording(folder)
    read = time.process_time()
    assessment = assess(recording, system)
    return Timed(told(assessment, system), read - began, time.process_time() - read)


# -- the table ------------------------------------------------------------------------------------

COLUMNS: tuple[tuple[str, str], ...] = (
    ("recall", "recall_before_breakdown"),
    (">= 24 h", "recall_24h_ahead"),
    ("right group", "recall_right_group"),
    ("chance", "chance_recall"),
    ("skill", "skill"),
    ("lead d, misses 0", "median_lead_days_missed_as_0"),
    ("severity at alert", "median_severity_at_alert"),
    ("abrupt in time", "abrupt_in_time"),
    ("false / site-month", "false_per_site_month"),
    ("storm", "storm_false_per_site_month"),
    ("dry", "dry_false_per_site_month"),
    ("top-1", "diagnosis_top1"),
    ("group", "diagnosis_group"),
    ("pump", "pump_named_right"),
)


def table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A Markdown table, a row a system."""
    head = ["system", *(name for name, _ in COLUMNS)]
    rows = [head, ["---"] * len(head)]
    rows += [[name, *(_cell(s.get(key)) for _, key in COLUMNS)] for name, s in scores.items()]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"
