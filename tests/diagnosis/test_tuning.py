"""A station's own settings: what may be set, and that they work from their moment on and nowhere else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.knobs import KNOBS
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuned import TunedAssessor
from pumpwatch.diagnosis.tuning import (
    MUTABLE,
    Exclusion,
    Tuning,
    differences,
    tuning_as_stored,
    tuning_from_dict,
)
from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity, ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import CONDITION_FAULTS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.tuning import TuningVersion, in_force

DATA = Path(__file__).parent.parent / "data" / "recorded"
KEY = SiteKey("default", "well")
EARLY = DiagnosisSettings(reference_days=4.0, fit_days=50)
TOLD_MS = ms_from_iso("2024-12-12T17:25:00Z")
"""Before this the recorded pump is healthy."""


@pytest.fixture(scope="module")
def ragging() -> Recording:
    return read_recording(DATA / "ragging")


@pytest.fixture(scope="module")
def plain(ragging: Recording) -> list[Finding]:
    return assess(ragging, [])


def version(n: int, effective_ms: int, **settings: Any) -> TuningVersion:
    return TuningVersion(n, effective_ms, 0, LOCAL, "why", settings)


def assess(
    recording: Recording,
    versions: list[TuningVersion],
    cuts: tuple[int, ...] = (),
    *,
    restart: bool = False,
) -> list[Finding]:
    state, found = None, []
    tuned = None
    chunk = recording.chunk
    for a, b in pairwise([0, *sorted(cuts), len(chunk)]):
        if tuned is None or restart:
            state = tuned.snapshot() if tuned else None
            inner = SiteAssessor(
                KEY, recording.site, fit=lambda _: None, settings=EARLY, state=state
            )
            tuned = TunedAssessor(inner, versions)
        rows = {name: values[a:b] for name, values in chunk.signals.items()}
        found += tuned.feed(Chunk(chunk.t_ms[a:b], rows)).findings
    return found


def predictive(found: list[Finding]) -> list[Finding]:
    return [f for f in found if f.kind is Kind.PREDICTIVE and f.phase is Phase.OPENED]


# -- the value ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_turns_a_field_of_the_settings_and_its_default_lies_within_bounds(
    name: str,
) -> None:
    knob = KNOBS[name]
    assert knob.read(knob.default) == knob.default
    assert getattr(Tuning({name: knob.default}).applied_to(EARLY), name) == knob.default
    for words in (knob.label, knob.raising):
        assert words.en
        assert words.ja
        assert not words.ja.isascii()


@pytest.mark.parametrize(
    ("raw", "field", "said"),
    [
        ({"set": {"limt": 12}}, "limt", "did you mean limit"),
        ({"set": {"limit": 400}}, "limit", "give 4 to 40 σ"),
        ({"set": {"limit": "much"}}, "limit", "is no number"),
        ({"set": {"limit": float("nan")}}, "limit", "out of bounds"),
        ({"set": {"limit": True}}, "limit", "is no number"),
        ({"set": {"persistence": 2.5}}, "persistence", "no whole number"),
        ({"set": {"partner_comparison": "maybe"}}, "partner_comparison", "write on or off"),
        ({"set": [1]}, "set", "no JSON object"),
        ({"muted": ["high_level"]}, "muted", "present fact"),
        ({"muted": ["pump_waer"]}, "muted", "did you mean pump_wear"),
        ({"muted": "pump_wear"}, "muted", "is no list"),
        ({"excluded": [{"start_ms": 5, "end_ms": 5}]}, "excluded", "ends before it begins"),
        ({"excluded": [{"start_ms": 0, "end_ms": 100 * DAY_MS}]}, "excluded", "92 days"),
        ({"excluded": [{"start_ms": "soon"}]}, "excluded", "start_ms and end_ms"),
        ({"excluded": [{"start_ms": i, "end_ms": i + 1} for i in range(51)]}, "excluded", "most"),
        ({"limit": 12}, "limit", "use set, muted, excluded"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_would_do(
    raw: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        tuning_from_dict(raw)
    assert refused.value.field == field


tunings = st.builds(
    Tuning,
    values=st.fixed_dictionaries(
        {},
        optional={
            name: st.booleans()
            if knob.sort == "switch"
            else st.integers(int(np.ceil(knob.low)), int(knob.high))
            if knob.whole
            else st.floats(knob.low, knob.high)
            for name, knob in KNOBS.items()
        },
    ),
    muted=st.sets(st.sampled_from(MUTABLE)).map(lambda codes: tuple(sorted(codes))),
    excluded=st.sets(
        st.tuples(st.integers(0, 2**41), st.integers(1, 92 * DAY_MS)).map(
            lambda span: Exclusion(span[0], span[0] + span[1])
        ),
        max_size=5,
    ).map(lambda spans: tuple(sorted(spans))),
)


@settings(max_examples=30)
@given(tunings, tunings)
def test_a_tuning_is_read_back_as_it_was_stored_and_differs_from_itself_in_nothing(
    one: Tuning, other: Tuning
) -> None:
    assert tuning_from_dict(one.to_dict()) == tuning_as_stored(one.to_dict()) == one
    assert differences(one, one) == []
    assert bool(differences(one, other)) == (one != other)


def test_what_a_newer_program_no_longer_knows_is_left_out_and_the_rest_holds() -> None:
    raw = {
        "set": {"limit": 12, "gone": 1, "persistence": 999},
        "muted": ["pump_wear", "gone", "high_level"],
        "excluded": [{"start_ms": 0, "end_ms": 5}, "gone"],
    }
    assert tuning_as_stored(raw) == Tuning({"limit": 12.0}, ("pump_wear",), (Exclusion(0, 5),))


def test_only_causes_are_muted_and_their_end_is_told() -> None:
    assert not CONDITION_FAULTS & set(MUTABLE)
    opened = Finding(KEY, 1, Phase.OPENED, "c", Kind.PREDICTIVE, Severity.ALARM, ("pump_wear",),
                     "pump1", 0.9)  # fmt: skip
    quiet = Tuning(muted=("pump_wear",)).quieted(opened)
    assert (quiet.kind, quiet.severity, quiet.fault) == (Kind.INFO, Severity.INFO, opened.fault)
    assert Tuning(muted=("air_lock",)).quieted(opened) is opened


def test_the_newest_version_that_has_taken_effect_is_in_force() -> None:
    versions = [version(1, 10), version(2, 30), version(3, 20)]
    assert [v.n if (v := in_force(versions, t)) else 0 for t in (9, 10, 20, 40)] == [0, 1, 3, 3]


# -- at work -----------------------------------------------------------------------------------


def test_nothing_set_changes_nothing(ragging: Recording, plain: list[Finding]) -> None:
    assert predictive(plain)
    assert assess(ragging, [version(1, 2**60, set={"limit": 40})]) == plain


def test_a_higher_threshold_tells_later_or_not_at_all(
    ragging: Recording, plain: list[Finding]
) -> None:
    dull = {"capacity_effect": 0.5, "cycle_limit": 80, "firm_sigma": 6, "limit": 40}
    later = predictive(assess(ragging, [version(1, 0, set=dull)]))
    before = predictive(plain)
    assert len(later) < len(before) or later[0].t_ms > before[0].t_ms


def test_a_muted_cause_is_only_a_notice(ragging: Recording, plain: list[Finding]) -> None:
    codes = sorted({f.fault[0] for f in predictive(plain)})
    muted = assess(ragging, [version(1, 0, muted=codes)])
    assert not predictive(muted)
    assert [f.t_ms for f in muted] == [f.t_ms for f in plain], "it is on record all the same"


def test_what_lies_in_an_excluded_span_is_not_judged(ragging: Recording) -> None:
    end_ms = int(ragging.chunk.t_ms[-1]) + 1
    span = {"start_ms": TOLD_MS - HOUR_MS, "end_ms": end_ms}
    assert not predictive(assess(ragging, [version(1, 0, excluded=[span])]))


def test_a_change_takes_effect_at_its_row_however_the_record_is_split_or_resumed(
    ragging: Recording, plain: list[Finding]
) -> None:
    first = predictive(plain)[0].t_ms
    versions = [
        version(1, first - 2 * DAY_MS, set={"capacity_effect": 0.5, "cycle_limit": 80}),
        version(2, first + DAY_MS + 12_345),
    ]
    whole = assess(ragging, versions)
    assert whole != plain
    n = len(ragging.chunk)
    at = int(np.searchsorted(ragging.chunk.t_ms, versions[1].effective_ms))
    cuts = (n // 3, at - 1, at, at + 1, n - 5)
    assert assess(ragging, versions, cuts, restart=True) == whole
