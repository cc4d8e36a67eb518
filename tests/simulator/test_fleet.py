import pytest

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import SiteMode
from pumpwatch.simulator import DEMO_CLIMATE, Simulation, demo_fleet, demo_ragging, make_history
from pumpwatch.simulator.fleet import RAGGING_PUMP, RAGGING_SITE


def test_the_demo_fleet_is_mixed_and_named():
    sites = [spec.site for spec in demo_fleet()]
    assert [s.site for s in sites] == [f"mh-{n:02d}" for n in range(1, 13)]
    assert len({s.name for s in sites}) == 12
    assert {s.mode for s in sites} == {SiteMode.DEMO}
    assert {s.has_current for s in sites} == {True, False}
    assert [s.has_rain for s in sites].count(False) == 1
    assert {s.sample_s for s in sites} == {10, 60}
    assert len({s.well_diameter_m for s in sites}) > 1
    assert len({(s.latitude, s.longitude) for s in sites}) == 12
    speeds = [s.capacity_m3s / (0.7854 * s.rising_main_d_m**2) for s in sites]
    assert all(0.5 < v < 2.2 for v in speeds)


@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_of_any_size_can_be_built_and_begins_alike(seed):
    big, small = demo_fleet(seed, 232), demo_fleet(seed, 5)
    assert big[:5] == small
    assert len({s.site.site for s in big}) == len({s.site.name for s in big}) == 232


@pytest.mark.parametrize("stations", [0, -1, 10_000])
def test_a_fleet_that_cannot_be_made_is_named(stations):
    with pytest.raises(InvalidInput, match="stations"):
        demo_fleet(1, stations)


@pytest.mark.parametrize("seed", range(12))
def test_the_ragging_pump_of_the_demo_is_half_gone_when_its_page_opens(start_ms, seed):
    end_ms = start_ms + 30 * DAY_MS
    simulation = Simulation(demo_fleet(seed), seed, start_ms)
    ragging = demo_ragging(simulation, end_ms)
    assert (ragging.site, ragging.target) == (RAGGING_SITE, RAGGING_PUMP)
    assert ragging.severity(end_ms - 6 * DAY_MS) == 0
    assert 0.4 < ragging.severity(end_ms) < 0.72
    assert simulation.spec(RAGGING_SITE).site.has_current


@pytest.mark.slow
@pytest.mark.parametrize("month_start_ms", [1_780_239_600_000, 1_788_188_400_000])
def test_a_healthy_rainy_month_gives_no_reason_for_an_alarm(month_start_ms):
    simulation = Simulation(demo_fleet(), 1, month_start_ms, DEMO_CLIMATE)
    make_history(simulation, 30)
    assert simulation.balance().spilled.max() == 0
    for spec in simulation.specs:
        chunk, edges = simulation.take(spec.site.site)
        assert not chunk.signals["high_level"].any()
        assert chunk.signals["level_m"].max() < spec.site.lag_start_level_m
        assert not any(e.signal in ("high_level", "power_ok") for e in edges)
