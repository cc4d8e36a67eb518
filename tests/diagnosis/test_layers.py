"""Diagnosis is composed of layers, and each of them can be another's."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.causes import Cause
from pumpwatch.diagnosis.judge import Judge
from pumpwatch.diagnosis.layers import Layers
from pumpwatch.domain.sites import Site
from tests.diagnosis.test_assessor_inputs import EARLY, KEY, no_fit, well

NAMES = [f.name for f in fields(Layers)]


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_in_the_place_of_another_is_the_one_that_works(name: str) -> None:
    own, calls = getattr(Layers(), name), 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return own(*arguments)

    site = Site(site="x", pumps=2, sample_s=30)
    layers = Layers(**{name: counted})
    SiteAssessor(KEY, site, fit=no_fit, settings=EARLY, layers=layers).feed(well(2, 5))
    assert calls


def test_another_ranking_names_another_cause_and_changes_nothing_else() -> None:
    def of_wear(*_: Any) -> list[Cause]:
        return [Cause("pump_wear", "pump2", 1.0, (), ())]

    chunk, site = well(2, 7, dead_from_h=110), Site(site="x", pumps=2, sample_s=30)
    other = Layers(judge=partial(Judge, rank=of_wear))
    usual, renamed = (
        SiteAssessor(KEY, site, fit=no_fit, settings=EARLY, layers=layers).feed(chunk).findings
        for layers in (None, other)
    )
    assert usual
    assert [f.t_ms for f in renamed] == [f.t_ms for f in usual]
    assert {f.fault for f in usual} != {f.fault for f in renamed} == {("pump_wear",)}
