"""The simulator against pyswmm, which steps one comparable station with the same step and outputs.

Both are driven from Python and give level, run and current (or flow) of every step. Each turn measures
one after the other in CPU time of this one thread, since a busy machine falsifies the clock on the wall; the
ratio is the median of the turns.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import report

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.simulator.engine import Engine
from pumpwatch.simulator.fleet import draw_fleet
from pumpwatch.simulator.inflow import Inflow
from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.stepping import stepper
from pumpwatch.simulator.weather import Sky

START_MS = 1_769_904_000_000
"""A UTC midnight: a day is then one block."""
STEP_S, STATIONS, TURNS = 10, 232, 3

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


def stepping_s_per_step(specs: list[StationSpec], compiled: bool, days: float) -> float:
    """Seconds per station and step until level, run and current of every step are there, as pyswmm's are.

    Weather, inflow, water, pumps and panel; neither instruments nor rows.
    """
    sky = Sky(1)
    inflows = [
        Inflow(s.site.site, s.catchment, "Asia/Tokyo", sky.over(s.district), 1) for s in specs
    ]
    engine = Engine(specs, inflows, 1, STEP_S, START_MS, stepper(compiled))
    end_ms = START_MS + int(days * DAY_MS)
    begin = time.process_time()
    record, room = engine.block(START_MS, end_ms)
    engine.run(record, room, START_MS, START_MS, end_ms)
    spent = time.process_time() - begin
    assert np.isfinite(record.level).all()
    assert (record.bits & 3).any(axis=1).all() or days < 0.5
    return spent / record.level.size


def published_s_per_step(specs: list[StationSpec], compiled: bool, days: float) -> float:
    """Seconds per station and step of the whole: also noise, resolution, edges, rows in columns."""
    simulation = Simulation(specs, 1, START_MS, compiled=compiled)
    begin = time.process_time()
    simulation.advance(START_MS + int(days * DAY_MS))
    taken = [simulation.take(spec.site.site) for spec in specs]
    spent = time.process_time() - begin
    rows = sum(len(chunk) for chunk, _ in taken)
    assert rows == int(days * 86_400 / STEP_S) * len(specs)
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
    assert len(town) > 150
    published_s_per_step(town[:4], True, 0.1)  # compile, or load what was compiled
    turns = [
        (
            swmm_s_per_step(tmp_path, 1),
            stepping_s_per_step(town, True, 1),
            stepping_s_per_step(town, False, 0.05),
            published_s_per_step(town, True, 1),
        )
        for _ in range(TURNS)
    ]
    swmm, *ours = (statistics.median(turn[i] for turn in turns) for i in range(4))
    ratios = [statistics.median(turn[0] / turn[i] for turn in turns) for i in (1, 2, 3)]
    report.row(
        "pyswmm, one station", swmm * 1e6, "us/step", f"{STEP_S} s steps, CPU, median of {TURNS}"
    )
    names = ("stepping, numba", "stepping, numpy", "stepping and publishing, numba")
    for name, cost, ratio in zip(names, ours, ratios, strict=True):
        report.row(
            f"simulator, {name}",
            cost * 1e9,
            "ns/site-step",
            f"{len(town)} stations; pyswmm / it: {ratio:.3g}",
        )
    report.row(
        "pyswmm / simulator, stepping", ratios[0], "x", f"goal 100, numba {numba.__version__}"
    )
    assert ratios[0] > 1
