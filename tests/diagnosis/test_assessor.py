"""The whole of one site's diagnosis: what it finds, and that nothing but the record decides it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, fit_site_model
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Finding, Kind, Phase
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, LogKind, Site

DATA = Path(__file__).parent.parent / "data" / "recorded"
KEY = SiteKey("default", "well")
EARLY = DiagnosisSettings(reference_days=4.0, fit_days=6)
"""References and forest early enough for twenty days to show everything."""


def fit(request: FitRequest) -> SiteModel:
    return fit_site_model(request.rows, request.day, request.names, request.seed, trees=20)


class Shelf:
    """Fits at once and remembers, as a hub's model shelf does."""

    def __init__(self) -> None:
        self.models: list[tuple[SiteModel, int]] = []

    def __call__(self, request: FitRequest) -> SiteModel:
        model = fit(request)
        self.models.append((model, request.effective_ms))
        return model


@pytest.fixture(scope="module")
def ragging() -> Recording:
    return read_recording(DATA / "ragging")


@pytest.fixture(scope="module")
def whole(ragging: Recording) -> tuple[list[Finding], list[CycleRow]]:
    return assess(ragging.site, ragging.chunk, [])


def part(chunk: Chunk, a: int, b: int) -> Chunk:
    return Chunk(chunk.t_ms[a:b], {k: v[a:b] for k, v in chunk.signals.items()})


def assess(
    site: Site,
    chunk: Chunk,
    cuts: list[int],
    *,
    restart: bool = False,
    log: list[LogEntry] | None = None,
) -> tuple[list[Finding], list[CycleRow]]:
    shelf = Shelf()
    assessor = SiteAssessor(KEY, site, fit=shelf, settings=EARLY, log=log or [])
    findings, cycles = [], []
    for a, b in pairwise([0, *sorted(cuts), len(chunk)]):
        got = assessor.feed(part(chunk, a, b))
        findings += got.findings
        cycles += got.cycles
        if restart:
            state = assessor.snapshot()
            assessor = SiteAssessor(
                KEY, site, fit=shelf, settings=EARLY, log=log or [], state=state
            )
            for model, effective_ms in shelf.models:
                assessor.install(model, effective_ms)
    return findings, cycles


def in_order(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (f.t_ms, f.cause, f.phase))


Whole = tuple[list[Finding], list[CycleRow]]


def test_a_ragging_pump_is_found_and_named(whole: Whole) -> None:
    findings, _ = whole
    opened = [f for f in findings if f.phase == Phase.OPENED and f.kind == Kind.PREDICTIVE]
    assert opened
    assert all(f.t_ms >= np.datetime64("2024-12-12T17:25", "ms").astype(int) for f in opened)
    last = [f for f in findings if f.kind == Kind.PREDICTIVE][-1]
    assert last.target == "pump2"
    assert last.fault[0] == "pump_ragging"
    assert last.evidence["capacity_index"]["pump2"] < 0.9  # type: ignore[index,call-overload,operator]


def test_evidence_speaks_the_nomenclature(whole: Whole) -> None:
    findings, cycles = whole
    for f in findings:
        assert set(f.fault) <= set(FAULT_GROUP)
        assert 0 <= f.score <= 1
        for sign in f.evidence["signs"]:  # type: ignore[union-attr]
            assert sign["feature"] in FEATURE_UNITS  # type: ignore[index,call-overload]
            assert {"feature", "target", "now", "normal", "deviation"} <= set(sign)  # type: ignore[arg-type]
        for cause in f.evidence.get("causes", []):  # type: ignore[union-attr]
            assert {"fault", "p", "for", "against"} <= set(cause)  # type: ignore[arg-type]
    assert all(set(c.features) <= set(FEATURE_UNITS) for c in cycles)
    assert len(cycles) > 1000


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_split_gives_the_same_findings_and_cycles(
    data: st.DataObject, ragging: Recording, whole: Whole
) -> None:
    n = len(ragging.chunk)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=25))
    restart = data.draw(st.booleans())
    split = assess(ragging.site, ragging.chunk, cuts, restart=restart)
    assert in_order(split[0]) == in_order(whole[0])
    assert split[1] == whole[1]


def test_message_by_message_with_restarts_gives_the_same(ragging: Recording, whole: Whole) -> None:
    cuts = list(range(0, len(ragging.chunk), 97))
    split = assess(ragging.site, ragging.chunk, cuts, restart=True)
    assert in_order(split[0]) == in_order(whole[0])
    assert split[1] == whole[1]


def test_row_by_row_gives_the_same_as_at_once() -> None:
    recording = read_recording(DATA / "quiet10s")
    chunk = part(recording.chunk, 0, 3000)
    assert assess(recording.site, chunk, list(range(3000))) == assess(recording.site, chunk, [])


def test_nothing_found_depends_on_what_comes_later(ragging: Recording, whole: Whole) -> None:
    chunk = ragging.chunk
    for row in (18_000, 22_345):
        known = assess(ragging.site, part(chunk, 0, row), [])[0]
        end = int(chunk.t_ms[row - 1])
        assert in_order(known) == in_order([f for f in whole[0] if f.t_ms <= end])


def test_the_name_of_the_site_changes_no_opinion(ragging: Recording, whole: Whole) -> None:
    other = replace(ragging.site, site="another", name="x")
    assert assess(other, ragging.chunk, [])[0] == whole[0]


def test_without_geometry_current_or_rain_the_fault_is_still_found(ragging: Recording) -> None:
    bare = Site(site="bare", sample_s=60)
    keep = ("level_m", "pump1_run", "pump2_run")
    chunk = Chunk(ragging.chunk.t_ms, {k: ragging.chunk.signals[k] for k in keep})
    findings, cycles = assess(bare, chunk, [])
    hits = [f for f in findings if f.kind == Kind.PREDICTIVE and f.target == "pump2"]
    assert hits
    assert all("capacity_m3s" not in c.features for c in cycles)


def test_the_state_stays_small(ragging: Recording) -> None:
    assessor = SiteAssessor(KEY, ragging.site, fit=fit, settings=EARLY)
    largest = 0
    for a, b in pairwise([*range(0, len(ragging.chunk), 500), len(ragging.chunk)]):
        assessor.feed(part(ragging.chunk, a, b))
        largest = max(largest, len(assessor.snapshot()))
    assert largest < 300_000


def test_a_logged_cleaning_learns_that_pump_anew(ragging: Recording, whole: Whole) -> None:
    at = int(ragging.chunk.t_ms[20_000])
    log = [LogEntry(at, LogKind.CLEANING, "pump2")]
    with_log = [
        f for f in assess(ragging.site, ragging.chunk, [], log=log)[0] if f.target == "pump2"
    ]
    without = [f for f in whole[0] if f.target == "pump2"]
    before = [f for f in without if f.t_ms <= at]
    assert [f for f in with_log if f.t_ms <= at] == before
    assert with_log != without


def test_partner_comparison_can_be_turned_off(ragging: Recording) -> None:
    quiet = replace(EARLY, partner_comparison=False)
    assessor = SiteAssessor(KEY, ragging.site, fit=fit, settings=quiet)
    findings = assessor.feed(ragging.chunk).findings
    assert any(f.target == "pump2" for f in findings)
    assert not any(
        sign["feature"] == "pair_log_ratio"  # type: ignore[index,call-overload]
        for f in findings
        for sign in f.evidence["signs"]  # type: ignore[union-attr]
    )


def test_a_model_that_comes_later_is_used_from_then_on(ragging: Recording) -> None:
    asked: list[FitRequest] = []

    def later(request: FitRequest) -> None:
        asked.append(request)

    assessor = SiteAssessor(KEY, ragging.site, fit=later, settings=EARLY)
    findings = []
    for a, b in pairwise([*range(0, len(ragging.chunk), 1440), len(ragging.chunk)]):
        findings += assessor.feed(part(ragging.chunk, a, b)).findings
        if asked:
            request = asked.pop()
            assert (request.effective_ms - request.up_to_ms) == 86_400_000
            assessor.install(fit(request), request.effective_ms)
    assert not asked
    assert any("anomaly_p" in f.evidence for f in findings)


def test_a_clock_set_back_begins_a_new_record(ragging: Recording) -> None:
    chunk = ragging.chunk
    assessor = SiteAssessor(KEY, ragging.site, fit=fit, settings=EARLY)
    ahead = part(chunk, 0, 4000)
    assessor.feed(Chunk(ahead.t_ms + 400 * 86_400_000, ahead.signals))
    cycles = []
    for a in range(4000, 9000, 100):
        cycles += assessor.feed(part(chunk, a, a + 100)).cycles
    assert len(cycles) > 100


def test_a_logged_visit_is_not_judged(ragging: Recording) -> None:
    at = int(np.datetime64("2024-12-12T17:25", "ms").astype(int))
    visits = [LogEntry(at + k * 3 * 3_600_000, LogKind.VISIT) for k in range(70)]
    findings = assess(ragging.site, ragging.chunk, [], log=visits)[0]
    assert not [f for f in findings if f.kind == Kind.PREDICTIVE]


def test_edges_sent_at_once_change_nothing_in_a_record(ragging: Recording, whole: Whole) -> None:
    chunk = ragging.chunk
    moves = [
        Edge(int(chunk.t_ms[k + 1]), name, float(chunk.signals[name][k + 1]))
        for name in ("pump1_run", "pump2_run", "power_ok", "high_level")
        for k in np.flatnonzero(np.diff(np.nan_to_num(chunk.signals[name])))
    ]
    moves.sort(key=lambda e: e.t_ms)
    empty = part(chunk, 0, 0)
    assessor = SiteAssessor(KEY, ragging.site, fit=fit, settings=EARLY)
    findings, cycles = [], []
    for a in range(0, len(chunk), 10):
        batch = part(chunk, a, a + 10)
        while moves and moves[0].t_ms <= batch.t_ms[-1]:
            findings += assessor.feed(empty, [moves.pop(0)]).findings
        got = assessor.feed(batch)
        findings, cycles = findings + got.findings, cycles + got.cycles
    assert cycles == whole[1]
    assert in_order(findings) == in_order(whole[0])


def test_a_model_that_was_lost_is_asked_for_again(ragging: Recording) -> None:
    asked: list[int] = []

    def lose(request: FitRequest) -> None:
        asked.append(request.effective_ms)

    SiteAssessor(KEY, ragging.site, fit=lose, settings=EARLY).feed(part(ragging.chunk, 0, 14_400))
    assert len(asked) >= 2
    assert all(b - a == 86_400_000 for a, b in pairwise(asked))
