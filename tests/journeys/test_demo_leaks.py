"""A leak that a visitor of the demo starts, at any station and hour: told as what it is, and as nothing else."""

from __future__ import annotations

import pytest

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.domain.alerts import Finding, Kind, ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import DEMO_TENANT, SiteKey
from pumpwatch.simulator.fleet import demo_fleet
from pumpwatch.simulator.simulation import Simulation

pytestmark = pytest.mark.slow

STATIONS = 6
GROWTH_H, WATCHED_H = 12.0, 60


def told(
    simulation: Simulation, assessors: dict[str, SiteAssessor], until_ms: int
) -> list[Finding]:
    found: list[Finding] = []
    while simulation.now_ms < until_ms:
        simulation.advance(min(simulation.now_ms + 6 * HOUR_MS, until_ms))
        for site, assessor in assessors.items():
            found += assessor.feed(*simulation.take(site)).findings
    return [f for f in found if f.kind is Kind.PREDICTIVE]


@pytest.mark.parametrize("at", ["2026-11-21T22:40:00Z", "2026-11-25T01:20:00Z"])
def test_a_leak_started_in_the_demo_is_told_with_its_pump_and_nothing_else_is(at: str) -> None:
    begin_ms = ms_from_iso(at)
    fleet = demo_fleet(1, STATIONS)
    simulation = Simulation(fleet, 1, begin_ms - 30 * DAY_MS)
    sites = {spec.site.site: spec.site for spec in fleet}
    assessors = {
        name: SiteAssessor(SiteKey(DEMO_TENANT, name), site, fit=lambda request: None)
        for name, site in sites.items()
    }
    assert told(simulation, assessors, begin_ms) == []

    pumps = {name: f"pump{1 + n % 2}" for n, name in enumerate(sites)}
    for name, pump in pumps.items():
        simulation.inject(name, "check_valve_leak", pump, growth_h=GROWTH_H)
    found = told(simulation, assessors, begin_ms + WATCHED_H * HOUR_MS)

    named = {(f.key.site, f.fault[0], f.target) for f in found}
    assert named == {(name, "check_valve_leak", pump) for name, pump in pumps.items()}
