"""The simulator against pyswmm, which steps one comparable station with the same step and outputs.

Both are driven from Python and give level, run and current (or flow) of every step; neither is
charged for making its model. Each turn measures all sides one after the other, in CPU time, since a busy
machine falsifies the clock on the wall; the ratio is that of the medians, and its range over the turns is told.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import report

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.simulator.engine import Engine
from pumpwatch.simulator.fleet import draw_fleet
from pumpwatch.simulator.inflow import Inflow
from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.stepping import stepper
from pumpwatch.simulator.weather import Sky

START_MS = 1_769_904_000_000
"""A UTC midnight: a day is then one block."""
STEP_S, STATIONS, TURNS = 10, 232, 7

STATION = """\
[OPTIONS]
FLOW_UNITS CMS
FLOW_ROUTING DYNWAVE
THREADS 1
START_DATE 02/01/2026
START_TIME 00:00:00
END_DATE 02/0{days}/2026
END_TIME 00:00:00
REPORT_STEP 01:00:00
ROUTING_STEP {step}
VARIABLE_STEP 0
[OUTFALLS]
end 8.0 FREE NO
[STORAGE]
well 0 3.4 0.6 FUNCTIONAL 1.767 0 0 0 0
[PUMPS]
pump1 well end curve1 ON 1.2 0.45
[CURVES]
curve1 PUMP3 0.0 0.018
curve1 5.0 0.015
curve1 9.0 0.010
curve1 11.5 0.005
curve1 13.0 0.0
[INFLOWS]
well FLOW "" FLOW 1.0 1.0 0.0021
[REPORT]
INPUT NO
CONTROLS NO
"""


def swmm_s_per_step(folder: Path, days: int) -> float:
    """Seconds per step of pyswmm's loop over one station, level, run and flow read in each step."""
    from pyswmm import Links, Nodes
    from pyswmm import Simulation as Swmm

    path = folder / "station.inp"
    path.write_text(STATION.format(days=1 + days, step=STEP_S), encoding="ascii")
    steps = days * 86_400 // STEP_S
    level, run, flow = np.empty(steps + 9), np.empty(steps + 9), np.empty(steps + 9)
    with Swmm(str(path)) as swmm:
        well, pump = Nodes(swmm)["well"], Links(swmm)["pump1"]
        begin = time.process_time()
        n = 0
        for _ in swmm:
            level[n], flow[n] = well.depth, pump.flow
            run[n] = flow[n] > 0
            n += 1
        spent = time.process_time() - begin
    assert abs(n - steps) < 5
    assert 0.3 < level[n // 2 : n].min() < level[n // 2 : n].max() < 1.4
    assert 0.1 < run[:n].mean() < 0.9
    return spent / n


class Stepping:
    """A town, so many hours a turn, until level, run and current of every step are there, as pyswmm's are.

    Weather, inflow, water, pumps and panel; neither instruments nor rows. The first turn is its run-in:
    making the model is no part of pyswmm's loop either.
    """

    def __init__(self, specs: list[StationSpec], compiled: bool, hours: int) -> None:
        sky = Sky(1)
        inflows = [
            Inflow(s.site.site, s.catchment, "Asia/Tokyo", sky.over(s.district), 1) for s in specs
        ]
        self._engine = Engine(specs, inflows, 1, STEP_S, START_MS, stepper(compiled))
        self._hours, self._now_ms = hours, START_MS
        self.s_per_step()

    def s_per_step(self) -> float:
        """Seconds per station and step of the next turn."""
        begin_ms, self._now_ms = self._now_ms, self._now_ms + self._hours * HOUR_MS
        begin = time.process_time()
        record, room = self._engine.block(begin_ms, self._now_ms)
        self._engine.run(record, room, begin_ms, begin_ms, self._now_ms)
        spent = time.process_time() - begin
        assert np.isfinite(record.level).all()
        assert (record.bits & 3).any()
        return spent / record.level.size


class Publishing:
    """The same, and all that follows: noise, resolution, edges, rows in columns."""

    def __init__(self, specs: list[StationSpec]) -> None:
        self._simulation = Simulation(specs, 1, START_MS, compiled=True)
        self.s_per_step()

    def s_per_step(self) -> float:
        simulation = self._simulation
        begin = time.process_time()
        simulation.advance(simulation.now_ms + DAY_MS)
        taken = [simulation.take(spec.site.site) for spec in simulation.specs]
        spent = time.process_time() - begin
        rows = sum(len(chunk) for chunk, _ in taken)
        assert rows == 86_400 // STEP_S * len(simulation.specs)
        return spent / rows


@pytest.fixture(name="town")
def _town() -> list[StationSpec]:
    """Every station at 10 s: 232 of the kind a town is drawn from."""
    drawn = draw_fleet(1, 2 * STATIONS).stations
    return [s for s in drawn if s.site.sample_s == STEP_S and s.site.pumps == 2][:STATIONS]


@pytest.mark.bench
def test_stepping_a_town_against_pyswmm_stepping_one_station(
    town: list[StationSpec], tmp_path: Path
) -> None:
    pytest.importorskip("pyswmm", reason="pyswmm is a development dependency")
    numba = pytest.importorskip("numba", reason="extra fast")
    assert len(town) == STATIONS
    sides = {
        "pyswmm, one station": lambda: swmm_s_per_step(tmp_path, 1),
        "stepping, numba": Stepping(town, True, 24).s_per_step,
        "stepping, numpy": Stepping(town, False, 1).s_per_step,
        "stepping and publishing, numba": Publishing(town).s_per_step,
    }
    next(iter(sides.values()))()  # what is done once, is done
    turns = [{name: side() for name, side in sides.items()} for _ in range(TURNS)]
    (theirs, swmm), *ours = (
        (name, statistics.median(turn[name] for turn in turns)) for name in sides
    )
    report.row(theirs, swmm * 1e6, "us/step", f"{STEP_S} s steps, CPU, median of {TURNS}")
    for name, cost in ours:
        each = sorted(turn[theirs] / turn[name] for turn in turns)
        conditions = f"{len(town)} stations; pyswmm / it {swmm / cost:.3g}, in one turn {each[0]:.3g} to {each[-1]:.3g}"
        report.row(f"simulator, {name}", cost * 1e9, "ns/site-step", conditions)
    ratio = swmm / ours[0][1]
    report.row("pyswmm / simulator, stepping", ratio, "x", f"goal 100, numba {numba.__version__}")
    assert ratio >= 100
