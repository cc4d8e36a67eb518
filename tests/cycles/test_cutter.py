"""Cutting: the same cycles however the record is split, and nothing invented from bad rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.cycles.cutter import REASONS, CycleCutter
from pumpwatch.cycles.phases import PhaseRules
from pumpwatch.domain.samples import Chunk, Edge

START = 1_700_000_000_000
RULES = PhaseRules(gap_s=25.0)


def well(hours: float = 6.0, step_s: int = 10, *, runs: bool = True, seed: int = 1) -> Chunk:
    """A well of 1 m2 filled at 1 mm/s and emptied at 3 mm/s by pumps 1 and 2 in turn."""
    rng = np.random.default_rng(seed)
    level, running, turn = 0.5, 0, 0
    t, levels, states = [], [], []
    for k in range(int(hours * 3600 / step_s)):
        level += (0.001 - (0.003 if running else 0)) * step_s
        if running and level <= 0.4:
            running = 0
        elif not running and level >= 1.0 and runs:
            turn = 1 - turn
            running = 1 + turn
        t.append(START + k * step_s * 1000)
        levels.append(level + rng.normal(0, 0.002))
        states.append(running)
    state = np.array(states)
    return Chunk(
        np.array(t),
        {
            "level_m": np.array(levels),
            "pump1_run": (state == 1).astype(float),
            "pump2_run": (state == 2).astype(float),
            "pump1_current_a": np.where(state == 1, 3.0, 0.0),
        },
    )


def part(chunk: Chunk, a: int, b: int) -> Chunk:
    return Chunk(chunk.t_ms[a:b], {k: v[a:b] for k, v in chunk.signals.items()})


def without(chunk: Chunk, keep: np.ndarray) -> Chunk:
    return Chunk(chunk.t_ms[keep], {k: v[keep] for k, v in chunk.signals.items()})


def damaged() -> Chunk:
    """Repeated rows, blanks, a short gap, a long one, a hand-over and a parallel run."""
    chunk = well(12.0)
    signals = {k: v.copy() for k, v in chunk.signals.items()}
    n = len(chunk)
    signals["level_m"][np.arange(50, n, 37)] = np.nan
    signals["pump1_run"][np.arange(90, n, 211)] = np.nan
    signals["pump2_run"][1500:1530] = 1.0
    signals["level_m"][700] += 2.0
    keep = np.sort(np.concatenate([np.arange(n), np.arange(0, n, 100)]))
    keep = keep[(keep < 2000) | (keep > 2012)]
    keep = keep[(keep < 3000) | (keep > 3300)]
    return without(Chunk(chunk.t_ms, signals), keep)


WHOLE = damaged()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=30), st.booleans())
def test_the_same_cycles_come_out_however_the_record_is_split(
    cuts: list[int], restart: bool
) -> None:
    whole = CycleCutter(RULES).feed(WHOLE)
    cutter, got = CycleCutter(RULES), []
    bounds = [0, *sorted(cuts), len(WHOLE)]
    for a, b in itertools.pairwise(bounds):
        got.append(cutter.feed(part(WHOLE, a, b)))
        if restart:
            cutter = CycleCutter(RULES, cutter.snapshot())
    assert np.concatenate(got).tobytes() == whole.tobytes()
    assert len(whole) > 40


def test_row_by_row_gives_the_same_cycles() -> None:
    chunk = well(3.0)
    cutter = CycleCutter(RULES)
    got = np.concatenate([cutter.feed(part(chunk, k, k + 1)) for k in range(len(chunk))])
    assert got.tobytes() == CycleCutter(RULES).feed(chunk).tobytes()


def test_a_steady_well_gives_its_own_flows_back() -> None:
    cycles = CycleCutter(RULES).feed(well())
    good = cycles[cycles["reason"] == 0]
    assert len(good) > 15
    assert np.median(good["run_slope"]) == pytest.approx(-0.002, rel=0.02)
    assert np.median(good["fill_slope"]) == pytest.approx(0.001, rel=0.02)
    assert np.median(good["run_s"]) == pytest.approx(300, abs=8)
    assert np.nanmedian(good["fill_s"]) == pytest.approx(600, abs=12)
    assert set(good["pump"]) == {1, 2}
    assert np.allclose(np.diff(good["start_ms"]) / 1000.0, 900, atol=40)


def test_a_minute_between_samples_still_gives_the_flows() -> None:
    cycles = CycleCutter(PhaseRules(gap_s=150.0)).feed(
        without(well(24.0), np.arange(8640) % 6 == 0)
    )
    good = cycles[cycles["reason"] == 0]
    assert np.median(good["run_slope"]) == pytest.approx(-0.002, rel=0.03)
    assert np.median(good["run_s"]) == pytest.approx(300, abs=20)


def test_a_repeated_row_changes_nothing_and_is_counted() -> None:
    chunk = well(3.0)
    twice = without(chunk, np.sort(np.concatenate([np.arange(len(chunk)), np.arange(0, 900, 3)])))
    cutter = CycleCutter(RULES)
    assert cutter.feed(twice).tobytes() == CycleCutter(RULES).feed(chunk).tobytes()
    assert cutter.dropped == 300


def test_rows_out_of_order_within_a_message_are_put_in_order() -> None:
    chunk = well(3.0)
    mixed = np.random.default_rng(3).permutation(len(chunk))
    got = CycleCutter(RULES).feed(without(chunk, mixed))
    assert got.tobytes() == CycleCutter(RULES).feed(chunk).tobytes()


def test_a_gap_in_a_run_makes_the_cycle_incomplete() -> None:
    chunk = well(6.0)
    first = CycleCutter(RULES).feed(chunk)[5]
    inside = (chunk.t_ms > first["start_ms"] + 60_000) & (chunk.t_ms < first["start_ms"] + 200_000)
    cycles = CycleCutter(RULES).feed(without(chunk, ~inside))
    hit = cycles[np.abs(cycles["start_ms"] - first["start_ms"]) < 30_000]
    assert [REASONS[r] for r in hit["reason"]] == ["gap"]


def test_a_long_silence_leaves_no_fill_behind_it() -> None:
    chunk = well(12.0)
    keep = (chunk.t_ms < START + 4 * 3_600_000) | (chunk.t_ms > START + 6 * 3_600_000)
    cycles = CycleCutter(RULES).feed(without(chunk, keep))
    assert np.nanmax(cycles["fill_s"]) < 700
    assert (cycles["end_ms"] - cycles["start_ms"]).max() < 400_000


def test_a_stamped_edge_gives_the_run_its_time() -> None:
    chunk = well(3.0, 60)
    row = int(np.flatnonzero(np.diff(chunk.signals["pump2_run"]) > 0)[0])
    at = int(chunk.t_ms[row]) + 21_500
    cycles = CycleCutter(PhaseRules(gap_s=150.0)).feed(chunk, [Edge(at, "pump2_run", 1.0)])
    assert at in cycles["start_ms"]


def test_an_edge_at_a_samples_own_time_changes_nothing() -> None:
    chunk = well(3.0)
    edges = [
        Edge(int(chunk.t_ms[k + 1]), "pump2_run", float(chunk.signals["pump2_run"][k + 1]))
        for k in np.flatnonzero(np.diff(chunk.signals["pump2_run"]))
    ]
    assert (
        CycleCutter(RULES).feed(chunk, edges).tobytes() == CycleCutter(RULES).feed(chunk).tobytes()
    )


def test_edges_sent_before_their_samples_wait_for_them() -> None:
    chunk = well(3.0, 60)
    row = int(np.flatnonzero(np.diff(chunk.signals["pump2_run"]) > 0)[0])
    edge = Edge(int(chunk.t_ms[row]) + 21_500, "pump2_run", 1.0)
    cutter = CycleCutter(PhaseRules(gap_s=150.0))
    empty = part(chunk, 0, 0)
    got = [cutter.feed(part(chunk, 0, row + 1)), cutter.feed(empty, [edge])]
    got.append(cutter.feed(part(chunk, row + 1, len(chunk))))
    whole = CycleCutter(PhaseRules(gap_s=150.0)).feed(chunk, [edge])
    assert np.concatenate(got).tobytes() == whole.tobytes()


def test_runs_known_from_edges_alone_are_cut_too() -> None:
    chunk = well(3.0)
    edges = []
    for name in ("pump1_run", "pump2_run"):
        state = chunk.signals[name]
        edges += [
            Edge(int(chunk.t_ms[k + 1]) - 4_000, name, float(state[k + 1]))
            for k in np.flatnonzero(np.diff(state))
        ]
    level_only = Chunk(chunk.t_ms, {"level_m": chunk.signals["level_m"]})
    cycles = CycleCutter(RULES).feed(level_only, edges)
    assert len(cycles) == len(CycleCutter(RULES).feed(chunk))


def test_both_pumps_together_are_a_parallel_run() -> None:
    chunk = well(3.0)
    signals = {k: v.copy() for k, v in chunk.signals.items()}
    on = np.flatnonzero(signals["pump2_run"])
    signals["pump1_run"][on[5:15]] = 1.0
    cycles = CycleCutter(RULES).feed(Chunk(chunk.t_ms, signals))
    assert REASONS[cycles[0]["reason"]] == "parallel_run"
    assert cycles[0]["pumps"] == 3


def test_a_manual_run_is_not_a_valid_cycle() -> None:
    chunk = well(3.0)
    first = CycleCutter(RULES).feed(chunk)[1]
    auto = ((chunk.t_ms < first["start_ms"]) | (chunk.t_ms > first["end_ms"])).astype(float)
    cycles = CycleCutter(RULES).feed(Chunk(chunk.t_ms, {**chunk.signals, "mode_auto": auto}))
    assert REASONS[cycles[1]["reason"]] == "manual"
    assert REASONS[cycles[2]["reason"]] == ""


def test_a_run_of_many_hours_is_told_before_it_ends() -> None:
    chunk = well(12.0)
    state = np.zeros(len(chunk))
    state[360:] = 1.0
    cycles = CycleCutter(RULES).feed(
        Chunk(chunk.t_ms, {"level_m": np.full(len(chunk), 0.3), "pump1_run": state})
    )
    assert [REASONS[r] for r in cycles["reason"]] == ["long_run", "long_run"]


def test_a_well_that_is_never_pumped_keeps_little_in_memory() -> None:
    cutter = CycleCutter(RULES)
    cutter.feed(well(72.0, runs=False))
    assert len(cutter.snapshot()) < 150_000


def test_an_empty_chunk_is_no_error() -> None:
    cutter = CycleCutter(RULES)
    assert len(cutter.feed(Chunk(np.zeros(0, np.int64), {"level_m": np.zeros(0)}))) == 0
