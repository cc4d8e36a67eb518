"""What the diagnosis of a site is composed of: each layer may be replaced, and what it is worth be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pumpwatch.cycles.cutter import CycleCutter, Cycles
from pumpwatch.cycles.features import Measures, measure
from pumpwatch.cycles.phases import PhaseRules
from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.judge import Judge
from pumpwatch.diagnosis.learning import LearnPump
from pumpwatch.diagnosis.present import PresentFacts, PresentState
from pumpwatch.diagnosis.references import learn_pump
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site


@dataclass(frozen=True, slots=True)
class Layers:
    """One maker a layer. The forest is not among them: an assessor is handed its ``fit``."""

    present: Callable[[SiteKey, Site, Any, PresentState], PresentFacts] = PresentFacts
    cutter: Callable[[PhaseRules, bytes | None], CycleCutter] = CycleCutter
    physics: Callable[[Cycles, float | None], Measures] = measure
    reference: LearnPump = learn_pump
    chart: Callable[[], Chart] = Chart
    count: Callable[[], CountChart] = CountChart
    judge: Callable[[SiteKey, Site, AssessorState, DiagnosisSettings], Judge] = Judge
