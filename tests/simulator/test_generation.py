"""The way from a drawn fleet and its events to what was published and what was true."""

import numpy as np
import pytest

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.fleet import draw_fleet
from pumpwatch.simulator.generation import generate
from pumpwatch.simulator.weather import DRY, Sky, Storm


@pytest.fixture(name="fleet")
def _fleet(start_ms):
    return draw_fleet(4, 3, start_ms)


def test_parts_are_days_and_hold_what_was_published_and_what_was_true(fleet, start_ms):
    ragging = Event("mh-02", "pump_ragging", "pump2", start_ms + HOUR_MS, start_ms + 20 * HOUR_MS)
    parts = list(generate(fleet, Sky(4, DRY), [ragging], start_ms, start_ms + 30 * HOUR_MS))
    assert [p.end_ms for p in parts][-1] == start_ms + 30 * HOUR_MS
    assert all(p.start_ms // DAY_MS == (p.end_ms - 1) // DAY_MS for p in parts)
    for part in parts:
        assert len(part.stations) == 3
        for station in part.stations.values():
            assert (
                part.start_ms < station.samples.t_ms[0] <= station.samples.t_ms[-1] <= part.end_ms
            )
            assert station.truth.t_ms[0] == part.start_ms
            assert len(station.truth.t_ms) == (part.end_ms - part.start_ms) // 60_000
            assert (station.truth.inflow_m3s > 0).all()
            assert not station.truth.spilled_m3.any()
    (truth,) = parts[0].events
    assert truth.severity(start_ms) == 0
    assert truth.severity(start_ms + 21 * HOUR_MS) == 1


def test_a_storm_falls_where_it_was_ordered_with_all_its_depth(start_ms):
    sky = Sky(1, DRY, [Storm(start_ms + 20 * HOUR_MS, 6, 80.0, "town")])
    first = start_ms // DAY_MS
    assert sum(sky.over("town").rain_mm(first + d).sum() for d in range(4)) == pytest.approx(80)
    assert sum(sky.over("hill").rain_mm(first + d).sum() for d in range(4)) == 0


def test_the_same_arguments_give_the_same_bits(fleet, start_ms):
    def whole():
        parts = generate(fleet, Sky(4), [], start_ms, start_ms + 6 * HOUR_MS)
        return [
            (s.samples.t_ms.tobytes(), [v.tobytes() for v in s.samples.signals.values()], s.edges,
             s.truth.inflow_m3s.tobytes())
            for part in parts for s in part.stations.values()
        ]  # fmt: skip

    assert whole() == whole()


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({"station": "mh-99"}, "station"),
        ({"code": "gremlins"}, "code"),
        ({"target": None}, "target"),
        ({"code": "power_outage"}, "target"),
        ({"breakdown_ms": 5}, "breakdown_ms"),
        ({"repair_ms": 10}, "repair_ms"),
        ({"params": {"colour": 1.0}}, "params"),
    ],
)
def test_an_event_that_cannot_happen_is_named_before_anything_runs(fleet, event, named):
    plain = {"station": "mh-01", "code": "pump_wear", "target": "pump1", "start_ms": 10}
    with pytest.raises(InvalidInput) as refused:
        generate(fleet, Sky(4), [Event(**(plain | event))], 0, DAY_MS)
    assert refused.value.field == named


def test_the_same_fault_twice_at_once_is_refused(fleet):
    twice = [Event("mh-01", "pump_wear", "pump1", 0, repair_ms=HOUR_MS),
             Event("mh-01", "pump_wear", "pump1", HOUR_MS // 2)]  # fmt: skip
    with pytest.raises(InvalidInput, match="already"):
        generate(fleet, Sky(4), twice, 0, DAY_MS)


def test_a_drawn_fleet_begins_alike_whatever_its_size():
    assert draw_fleet(7, 12).stations[:4] == draw_fleet(7, 4).stations
    assert np.unique([s.site.site for s in draw_fleet(7).stations]).size == 232
