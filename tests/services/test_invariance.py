"""Neither the way that messages take nor anything that comes later changes what is found, to the digit.

Below the network everything here is the product's own: inbox, decoding, ordering, joining, assessment with
its nightly fit, ledger; and a backtest with its reading. The limits within which it holds are in
docs/architecture.md, "What the way of a message may change".
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pumpwatch.alerting.policy import Policy
from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, fit_site_model, to_stored
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Finding, Kind, iso_utc, ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane
from pumpwatch.domain.ports import InboxRow
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.services import assess, backtest
from pumpwatch.services.assess import AssessService
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.ordering import HOLD_MS
from pumpwatch.stores.inbox import MemoryInbox
from pumpwatch.stores.memory import MemoryLedger
from pumpwatch.transports.wire import decode, inspect

RAGGING = Path(__file__).parent.parent / "data" / "recorded" / "ragging"
EARLY = DiagnosisSettings(reference_days=3.0, fit_days=4)
"""References and forest early enough for twelve days to show everything."""
CONTACTS = ("power_ok", "high_level", "pump1_fault")
RUNS = ("pump1_run", "pump2_run")
ROWS_A_DAY = 1_440


# -- the record ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Twelve days, some of them wet, of a pump that rags from the seventh on, with other faults added."""
    whole = read_recording(RAGGING)
    chunk = rows(whole.chunk, 5 * ROWS_A_DAY, 17 * ROWS_A_DAY)
    signals = {name: values.copy() for name, values in chunk.signals.items()}
    signals["pump1_fault"] = np.zeros(len(chunk))
    for name, value, day, minutes in (
        ("pump1_fault", 1, 0.7, 12),
        ("power_ok", 0, 1.2, 9),
        ("level_m", np.nan, 6.1, 100),
        ("high_level", 1, 7.7, 6),
        ("power_ok", 0, 9.5, 40),
        ("pump1_fault", 1, 10.3, 3),
    ):
        first = int(day * ROWS_A_DAY)
        signals[name][first : first + minutes] = value
    return replace(whole, chunk=Chunk(chunk.t_ms, signals))


def rows(chunk: Chunk, first: int, last: int) -> Chunk:
    return Chunk(chunk.t_ms[first:last], {n: v[first:last] for n, v in chunk.signals.items()})


def edges_of(chunk: Chunk, names: Sequence[str]) -> list[Edge]:
    """The changes of these signals, as a panel stamps them: a little before the row that shows them."""
    edges = []
    for name in names:
        told = chunk.signals[name]
        at = np.flatnonzero(np.diff(told) != 0) + 1
        edges += [Edge(int(chunk.t_ms[i]) - 1_500, name, float(told[i])) for i in at]
    return sorted(edges, key=lambda edge: edge.t_ms)


def fit(request: FitRequest) -> SiteModel:
    """As a backtest fits, with fewer trees."""
    return fit_site_model(request.rows, request.day, request.names, request.seed, trees=20)


def by_time(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (f.t_ms, f.cause, f.phase))


# -- the way of a message ------------------------------------------------------------------------


class Letter(NamedTuple):
    """A message, and the time of the newest thing it tells."""

    end_ms: int
    lane: Lane
    topic: str
    payload: bytes


@dataclass(repr=False)
class Station:
    """What one station recorded, and what is found when all of it is judged at once."""

    site: Site
    chunk: Chunk
    edges: Sequence[Edge]
    whole: Assessment = field(init=False)

    def __post_init__(self) -> None:
        whole = SiteAssessor(self.key, self.site, fit=fit, settings=EARLY)
        self.whole = whole.feed(self.chunk, self.edges)

    @property
    def key(self) -> SiteKey:
        return SiteKey("default", self.site.site)

    def letters(self, rng: np.random.Generator, longest: int) -> list[Letter]:
        """The record as messages of up to ``longest`` rows, some with rows that an earlier one had."""
        n = len(self.chunk)
        ends = rng.integers(1, longest + 1, n).cumsum()
        contents: list[tuple[int, Lane, dict[str, Any]]] = [
            (e.t_ms, Lane.EVENT, {"t": e.t_ms, "signal": e.signal, "value": e.value})
            for e in self.edges
        ]
        for a, b in pairwise([0, *ends[ends < n].tolist(), n]):
            again = int(rng.integers(1, 20)) if rng.random() < 0.1 else 0
            part = rows(self.chunk, max(0, a - again), b)
            signals = {name: _blanks(values) for name, values in part.signals.items()}
            content = {"t": part.t_ms.tolist(), "signals": signals}
            contents.append((int(part.t_ms[-1]), Lane.TELEMETRY, content))
        letters, sent = [], Counter[Lane]()
        for end_ms, lane, content in sorted(contents, key=lambda c: c[0]):
            sent[lane] += 1
            stamp = {"schema": 1, "epoch": "e", "seq": sent[lane], "low": 1, "sent": end_ms}
            topic = f"pumpwatch/v1/{self.key}/{lane}"
            letters.append(Letter(end_ms, lane, topic, json.dumps(stamp | content).encode()))
        return letters


def _blanks(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def arrivals(
    letters: Sequence[Letter], rng: np.random.Generator, longest: int
) -> list[tuple[int, Letter]]:
    """(received_ms, letter) over a line that is down again and again.

    When it is back, up to ``longest`` messages that were written meanwhile arrive in any order within the
    time that `Resequencer` waits, edges in the first half of it and rows in the second; one edge in
    five comes among the rows, or after them, and one message in three comes again, at any later time.
    """
    came: list[tuple[int, Letter]] = []
    first = 0
    while first < len(letters):
        burst = letters[first : first + int(rng.integers(1, longest + 1))]
        first += len(burst)
        newest_edge = max((k for k, x in enumerate(burst) if x.lane is Lane.EVENT), default=None)
        for k, letter in enumerate(burst):
            share = rng.random()
            if letter.lane is Lane.TELEMETRY:
                share = 0.5 + share / 2
            elif k == newest_edge or rng.random() < 0.8:
                share /= 2
            received_ms = burst[-1].end_ms + int(share * HOLD_MS)
            came.append((received_ms, letter))
            if rng.random() < 1 / 3:
                came.append((received_ms + int(rng.exponential(DAY_MS)), letter))
    return came


class Hub:
    """Inbox, assessment and ledger for these stations."""

    def __init__(self, stations: Sequence[Station]) -> None:
        self.inbox, self.ledger = MemoryInbox(), MemoryLedger()
        self.findings: dict[SiteKey, list[Finding]] = {}
        self.was_late: set[SiteKey] = set()
        for station in stations:
            self.ledger.put_site(station.key, station.site, SYSTEM, 0)

    def receive(self, came: Sequence[tuple[int, Letter]]) -> None:
        for received_ms, letter in sorted(came, key=lambda one: one[0]):
            message = inspect(letter.topic, letter.payload, received_ms)
            stamp = getattr(message, "stamp", message)
            row = InboxRow(stamp, letter.topic, letter.payload, received_ms)
            self.inbox.commit([row], [], received_ms)

    def judge(self, batch: int) -> None:
        """All that came, ``batch`` messages a step."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assess, "BATCH_MESSAGES", batch)
            service = AssessService(
                inbox=self.inbox, alerts=self.ledger, sites=self.ledger, decode=decode,
                make_assessor=self._assessor, policy=Policy(()), alert_lock=RLock(),
                feed=LiveFeed(), now_ms=0,
            )  # fmt: skip
            while service.step(0):
                self.was_late |= service.late[0]
            service.settle(0)
            assert service.failed == {}

    def told(self, key: SiteKey) -> list[tuple[int, str, str]]:
        """(time, cause, step) of all that the ledger's alerts went through."""
        return sorted(
            (step.t_ms, alert.cause, str(step.step))
            for alert in self.ledger.alerts(*key, limit=10_000)
            for step in self.ledger.transitions(alert.id)
        )

    def _assessor(
        self, key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None
    ) -> SiteAssessor:
        made = SiteAssessor(key, site, fit=fit, settings=EARLY, log=log, state=state)
        findings = self.findings[key] = []
        feed = made.feed

        def listen(chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
            assessment = feed(chunk, edges)
            findings.extend(assessment.findings)
            return assessment

        made.feed = listen  # type: ignore[method-assign]
        return made


@pytest.fixture(scope="module")
def stations(recording: Recording) -> list[Station]:
    """The well, and a neighbour of which each row is a message: a storm beside the others."""
    part = rows(recording.chunk, ROWS_A_DAY // 2, 13 * ROWS_A_DAY // 10)
    return [
        Station(
            replace(recording.site, site="well"),
            recording.chunk,
            edges_of(recording.chunk, CONTACTS + RUNS),
        ),
        Station(replace(recording.site, site="neighbour"), part, edges_of(part, CONTACTS)),
    ]


def test_the_record_shows_what_is_to_be_kept(stations: list[Station]) -> None:
    """Findings of rules, of cycles, of the comparison of two pumps and of the nightly model."""
    well, neighbour = (station.whole.findings for station in stations)
    causes = {f.cause for f in well}
    assert causes >= {"contact:pump1_fault", "power", "high_level", "sensor_failed"}
    ragging = [f for f in well if f.cause == "capacity:pump2"]
    assert len(ragging) > 1
    assert all("anomaly_p" in f.evidence and "pair_log_ratio" in str(f.evidence) for f in ragging)
    assert {f.cause for f in neighbour} == {"contact:pump1_fault", "power"}


@settings(max_examples=2, phases=[Phase.generate])
@given(
    seed=st.integers(0, 2**32 - 1),
    longest=st.integers(60, 100),
    burst=st.integers(2, 50),
    batch=st.integers(400, 1_000),
)
def test_split_repeated_delayed_and_disordered_messages_change_nothing(
    stations: list[Station], seed: int, longest: int, burst: int, batch: int
) -> None:
    rng = np.random.default_rng(seed)
    hub = Hub(stations)
    sent = [stations[0].letters(rng, longest), stations[1].letters(rng, 1)]
    hub.receive([one for letters in sent for one in arrivals(letters, rng, burst)])
    hub.judge(batch)
    assert stations[1].key in hub.was_late, "it storms"
    for station in stations:
        whole = by_time(station.whole.findings)
        assert firm(hub.findings[station.key]) == firm(whole)
        assert hub.ledger.cycles(station.key, 0, 2**60) == station.whole.cycles
        assert hub.told(station.key) == [(f.t_ms, f.cause, str(f.phase)) for f in whole]


def firm(findings: Sequence[Finding]) -> list[Finding]:
    """All but the level that a present fact quotes: edges are judged at once, with the newest row there is."""
    return [
        replace(
            f, evidence=f.evidence | {"signs": [x for x in _signs(f) if "level_m" not in str(x)]}
        )
        if f.kind is Kind.CONDITION
        else f
        for f in by_time(findings)
    ]


def _signs(finding: Finding) -> list[Any]:
    signs = finding.evidence["signs"]
    assert isinstance(signs, list)
    return signs


# -- what comes later ----------------------------------------------------------------------------


@dataclass(repr=False)
class Backtested:
    """One backtest of a folder, and what its assessor and its fits said underway."""

    alerts: list[dict[str, Any]]
    risk: list[dict[str, Any]]
    assessment: Assessment
    models: list[tuple[FitRequest, dict[str, bytes]]]

    def known_by(self, t_ms: int) -> tuple[object, ...]:
        """All that was said by ``t_ms``, and the models that were fitted by then, bit for bit."""
        return (
            [line for line in self.alerts if ms_from_iso(line["ts"]) <= t_ms],
            [line for line in self.risk if ms_from_iso(line["ts"]) <= t_ms],
            [f for f in self.assessment.findings if f.t_ms <= t_ms],
            [told for told in self.assessment.evidence if told[0] <= t_ms],
            [
                (request.up_to_ms, request.effective_ms, arrays)
                for request, arrays in self.models
                if request.up_to_ms <= t_ms
            ],
        )


def backtested(folder: Path, chunk: Chunk, log: str = "") -> Backtested:
    """The backtest of these rows and this site log, read from a folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(RAGGING / "site.json", folder)
    frame = pd.DataFrame({"ts": pd.to_datetime(chunk.t_ms, unit="ms", utc=True), **chunk.signals})
    frame.to_parquet(folder / "data.parquet")
    (folder / "events.csv").write_text("ts,kind,target,note\n" + log)
    assessments: list[Assessment] = []
    models: list[tuple[FitRequest, dict[str, bytes]]] = []
    feed = SiteAssessor.feed

    def listen(self: SiteAssessor, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        assessments.append(feed(self, chunk, edges))
        return assessments[-1]

    def keep(request: FitRequest) -> SiteModel:
        model = fit(request)
        arrays = to_stored(model, request.key, request.effective_ms, {}).arrays
        models.append((request, {name: array.tobytes() for name, array in arrays.items()}))
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SiteAssessor, "feed", listen)
        patch.setattr(backtest, "fit_now", keep)
        result = backtest.diagnose_folder(folder, True, EARLY)
    assert result.problem == ""
    [assessment] = assessments
    return Backtested(list(result.lines), list(result.risk), assessment, models)


@pytest.fixture(scope="module")
def whole(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Backtested:
    return backtested(tmp_path_factory.mktemp("whole"), recording.chunk)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


def test_the_whole_backtest_says_what_is_to_be_kept(whole: Backtested) -> None:
    assert {line["target"] for line in whole.alerts if line["kind"] == "predictive"} >= {"pump2"}
    assert max(line["risk"] for line in whole.risk) > 0.1
    assert len(whole.models) == 1


def other_levels(after: Chunk, rng: np.random.Generator) -> Chunk:
    return Chunk(after.t_ms, {**after.signals, "level_m": rng.uniform(0, 3.6, len(after))})


def other_runs(after: Chunk, rng: np.random.Generator) -> Chunk:
    states = {
        name: np.repeat(rng.integers(0, 2, len(after) // 7 + 1), 7)[: len(after)].astype(float)
        for name in RUNS + CONTACTS
    }
    return Chunk(after.t_ms, {**after.signals, **states})


def no_values(after: Chunk, rng: np.random.Generator) -> Chunk:
    return Chunk(after.t_ms, {name: np.full(len(after), np.nan) for name in after.signals})


def played_backwards(after: Chunk, rng: np.random.Generator) -> Chunk:
    return Chunk(after.t_ms, {name: values[::-1] for name, values in after.signals.items()})


@settings(max_examples=4, phases=[Phase.generate])
@given(
    data=st.data(),
    shift=st.integers(-2, 2),
    garbage=st.sampled_from([other_levels, other_runs, no_values, played_backwards]),
    seed=st.integers(0, 2**32 - 1),
)
def test_nothing_that_is_said_depends_on_what_comes_later(
    recording: Recording,
    whole: Backtested,
    folder: Path,
    data: st.DataObject,
    shift: int,
    garbage: Callable[[Chunk, np.random.Generator], Chunk],
    seed: int,
) -> None:
    """Cut at a random moment, or near one at which something was said or a model was fitted or took effect."""
    chunk = recording.chunk
    turns = [f.t_ms for f in whole.assessment.findings]
    turns += [t for request, _ in whole.models for t in (request.up_to_ms, request.effective_ms)]
    near = st.sampled_from(np.searchsorted(chunk.t_ms, turns).tolist())
    row = data.draw(near | st.integers(ROWS_A_DAY, len(chunk) - 10)) + shift
    t_ms = int(chunk.t_ms[row])
    before, after = rows(chunk, 0, row + 1), rows(chunk, row + 1, len(chunk))

    cut = backtested(folder, before)
    assert cut.known_by(t_ms) == whole.known_by(t_ms)
    assert cut.known_by(t_ms) == cut.known_by(2**62), "nothing is said ahead of its time"
    known = len(cut.assessment.cycles)
    assert cut.assessment.cycles == whole.assessment.cycles[:known]

    other = garbage(after, np.random.default_rng(seed))
    signals = {n: np.concatenate([v, other.signals[n]]) for n, v in before.signals.items()}
    log = f"{iso_utc(t_ms + HOUR_MS)},cleaning,pump2,\n{iso_utc(t_ms + DAY_MS)},visit,,\n"
    spoilt = backtested(folder, Chunk(chunk.t_ms, signals), log)
    assert spoilt.known_by(t_ms) == whole.known_by(t_ms)
    assert spoilt.assessment.cycles[:known] == cut.assessment.cycles
