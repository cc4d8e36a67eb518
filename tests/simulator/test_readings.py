import numpy as np
import pytest

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.domain.samples import Edge
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.simulator import Sensors, SimulatedStation, Simulation
from pumpwatch_edge import source


@pytest.mark.parametrize("step_m", [0.001, 0.005, 0.01])
def test_the_level_is_read_with_the_resolution_of_its_sensor(make_spec, start_ms, step_m):
    simulation = Simulation([make_spec(sensors=Sensors(level_step_m=step_m))], 1, start_ms)
    simulation.advance(start_ms + 2 * HOUR_MS)
    level = simulation.take("mh-01")[0].signals["level_m"]
    assert np.abs(level / step_m - np.rint(level / step_m)).max() < 1e-6
    assert len(np.unique(level)) > 10


def test_the_noise_of_a_reading_is_that_of_its_sensor(make_spec, start_ms):
    quiet, noisy = (
        Simulation([make_spec(sensors=Sensors(level_noise_m=noise))], 1, start_ms)
        for noise in (0.0, 0.01)
    )
    for simulation in (quiet, noisy):
        simulation.advance(start_ms + 6 * HOUR_MS)
    a, b = (s.take("mh-01")[0].signals for s in (quiet, noisy))
    still = (a["pump1_run"] + a["pump2_run"]) == 0
    assert np.std((b["level_m"] - a["level_m"])[still]) == pytest.approx(0.01, rel=0.1)
    assert np.std((b["level_m"] - a["level_m"])[~still]) > 0.012


def test_a_station_publishes_what_it_has_and_every_sample_second(make_spec, start_ms):
    spec = make_spec(sample_s=60, has_current=False, has_rain=False)
    simulation = Simulation([spec], 1, start_ms)
    simulation.advance(start_ms + HOUR_MS)
    chunk, _ = simulation.take("mh-01")
    assert set(chunk.signals) == {"level_m", "pump1_run", "pump2_run", "high_level", "power_ok"}
    assert set(chunk.signals) == set(simulation.signals("mh-01"))
    assert len(chunk) == 60
    assert (np.diff(chunk.t_ms) == 60_000).all()


def test_every_published_signal_is_of_the_nomenclature_and_within_its_bounds(make_spec, start_ms):
    simulation = Simulation([make_spec()], 1, start_ms)
    simulation.inject("mh-01", "power_outage", until_ms=start_ms + 3 * HOUR_MS)
    simulation.advance(start_ms + 4 * HOUR_MS)
    chunk, edges = simulation.take("mh-01")
    for name, values in chunk.signals.items():
        assert SIGNALS[name].low <= values.min()
        assert values.max() <= SIGNALS[name].high
    for name, words in simulation.signals("mh-01").items():
        assert words["unit"] == SIGNALS[name].unit
    assert {e.signal for e in edges} <= set(SIGNALS)


def test_a_motor_draws_current_when_and_only_when_it_runs(make_spec, start_ms):
    simulation = Simulation([make_spec()], 1, start_ms)
    simulation.advance(start_ms + 6 * HOUR_MS)
    signals = simulation.take("mh-01")[0].signals
    on = signals["pump1_run"] > 0
    assert signals["pump1_current_a"][on].min() > 1.8
    assert signals["pump1_current_a"][~on].max() < 0.1


def test_a_station_hands_an_agent_everything_once_in_order_at_its_pace(make_spec, start_ms):
    specs = [make_spec(), make_spec(site="mh-02")]
    polled, whole = Simulation(specs, 1, start_ms), Simulation(specs, 1, start_ms)
    station: source.Source = SimulatedStation(polled, "mh-01")
    end_ms = start_ms + 3 * HOUR_MS
    got = []
    while part := station.poll(end_ms, 37):
        assert len(part) <= 37
        got += part
    whole.advance(end_ms)
    chunk, edges = whole.take("mh-01")
    readings = [g for g in got if isinstance(g, source.Reading)]
    assert [r.t_ms for r in readings] == chunk.t_ms.tolist()
    for name, values in chunk.signals.items():
        assert [r.values[name] for r in readings] == values.tolist()
    handed = [Edge(g.t_ms, g.signal, g.value) for g in got if isinstance(g, source.Edge)]
    assert handed == edges
    times = [g.t_ms for g in got]
    assert times == sorted(times)
    assert station.poll(end_ms, 37) == []
    assert station.period_s == 10
    assert not station.finished


def test_an_agent_is_told_nothing_from_after_its_own_now(make_spec, start_ms):
    simulation = Simulation([make_spec(), make_spec(site="mh-02")], 1, start_ms)
    ahead, behind = SimulatedStation(simulation, "mh-01"), SimulatedStation(simulation, "mh-02")
    ahead.poll(start_ms + 2 * HOUR_MS, 10)
    got = behind.poll(start_ms + HOUR_MS, 10_000)
    assert got
    assert max(g.t_ms for g in got) <= start_ms + HOUR_MS
    rest = behind.poll(start_ms + 2 * HOUR_MS, 10_000)
    assert min(g.t_ms for g in rest) > start_ms + HOUR_MS


def test_taking_after_polling_gives_only_the_rest(make_spec, start_ms):
    simulation = Simulation([make_spec()], 1, start_ms)
    station = SimulatedStation(simulation, "mh-01")
    seen = station.poll(start_ms + HOUR_MS, 100)
    rest, _ = simulation.take("mh-01")
    assert rest.t_ms[0] > max(g.t_ms for g in seen if isinstance(g, source.Reading))
    assert len(rest) + sum(isinstance(g, source.Reading) for g in seen) == 360
    assert len(simulation.take("mh-01")[0]) == 0
