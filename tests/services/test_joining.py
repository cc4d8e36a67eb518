"""However a record is cut into messages, and however they are joined again: one result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from threading import RLock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.alerting.policy import Policy
from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, fit_site_model
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import EdgeEvent, Lane, Message, Poison, Stamp, Telemetry
from pumpwatch.domain.ports import InboxRow
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.services import assess
from pumpwatch.services.assess import AssessService
from pumpwatch.services.joining import Joiner, joined
from pumpwatch.services.live import LiveFeed
from pumpwatch.stores.inbox import MemoryInbox
from pumpwatch.stores.memory import MemoryLedger

DATA = Path(__file__).parent.parent / "data" / "recorded"
KEY = SiteKey("default", "well")
DAY_MS = 86_400_000
EARLY = DiagnosisSettings(reference_days=4.0, fit_days=6)


def chunk(*t_ms: int, **signals: float) -> Chunk:
    return Chunk(np.array(t_ms), {n: np.full(len(t_ms), v) for n, v in signals.items()})


def given_out(*chunks: Chunk) -> list[list[int]]:
    joiner = Joiner()
    out = [c for one in chunks for c in joiner.add(one)]
    return [c.t_ms.tolist() for c in [*out, *joiner.take()]]


def test_messages_whose_time_goes_on_become_one() -> None:
    assert given_out(chunk(1, 2, a=1), chunk(3, a=2), chunk(4, 5, a=3)) == [[1, 2, 3, 4, 5]]
    assert joined([chunk(1, a=1), chunk(2, a=2)]).signals["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "other",
    [chunk(2, a=1), chunk(5, 4, a=1), chunk(3, b=1), chunk(3, a=1, b=1)],
    ids=["a time of before", "times out of order", "another signal", "a signal more"],
)
def test_what_does_not_go_on_is_judged_apart(other: Chunk) -> None:
    assert given_out(chunk(1, 2, a=1), other) == [[1, 2], other.t_ms.tolist()]
    assert given_out(other, chunk(9, a=1)) in ([other.t_ms.tolist(), [9]], [[2, 9]])


def test_no_more_rows_are_joined_than_is_good() -> None:
    hours = [chunk(*range(n, n + 1000), a=1) for n in range(0, 10_000, 1000)]
    assert [len(rows) for rows in given_out(*hours)] == [4000, 4000, 2000]


# -- the whole of a site's diagnosis ---------------------------------------------------------------


class Town:
    """One recorded site, sent in pieces, judged in steps of so many messages."""

    def __init__(self, recording: Recording, step: int) -> None:
        self.site, self.step = recording.site, step
        self.inbox, self.ledger = MemoryInbox(), MemoryLedger()
        self.bodies: dict[bytes, Message] = {}
        self.sent = dict.fromkeys(Lane, 0)
        self.ledger.put_site(KEY, recording.site, SYSTEM, 0)

    def send(self, lane: Lane, body: Chunk | Edge) -> None:
        self.sent[lane] += 1
        stamp = Stamp(KEY, "e", lane, self.sent[lane], 0, low=1)
        name = f"{lane}/{stamp.seq}".encode()
        self.bodies[name] = (
            EdgeEvent(stamp, body) if isinstance(body, Edge) else Telemetry(stamp, body)
        )
        self.inbox.commit([InboxRow(stamp, "t", name, 0)], [], 0)

    def judge(self, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
        monkeypatch.setattr(assess, "BATCH_MESSAGES", self.step)
        service = AssessService(
            inbox=self.inbox, alerts=self.ledger, sites=self.ledger, decode=self._decode,
            make_assessor=_assessor, policy=Policy(()), alert_lock=RLock(), feed=LiveFeed(),
            now_ms=0,
        )  # fmt: skip
        while service.step(0):
            pass
        service.settle(0)
        told = sorted(self.ledger.alerts(limit=10_000), key=lambda a: a.id)
        return (
            told,
            [self.ledger.transitions(alert.id) for alert in told],
            self.ledger.cycles(KEY, 0, 2**60),
            service.failed,
        )

    def _decode(self, _topic: str, payload: bytes, _now_ms: int) -> Message | Poison:
        return self.bodies[payload]


def _assessor(
    key: SiteKey, site: Site, log: Sequence[LogEntry], state: bytes | None
) -> SiteAssessor:
    return SiteAssessor(key, site, fit=_fit, settings=EARLY, log=log, state=state)


def _fit(request: FitRequest) -> SiteModel:
    return fit_site_model(request.rows, request.day, request.names, request.seed, trees=20)


def edges_of(record: Chunk) -> list[Edge]:
    """Changes of the pumps' run signals, as a panel stamps them: a little before the row."""
    edges = []
    for name in ("pump1_run", "pump2_run"):
        told = record.signals[name]
        at = np.flatnonzero(np.diff(told) != 0) + 1
        edges += [Edge(int(record.t_ms[i]) - 1_500, name, float(told[i])) for i in at]
    return sorted(edges, key=lambda edge: edge.t_ms)


@pytest.fixture(scope="module")
def ragging() -> Recording:
    return read_recording(DATA / "ragging")


@pytest.mark.parametrize("with_edges", [False, True])
@settings(max_examples=1, deadline=None)
@given(
    days=st.integers(7, 9),
    step=st.integers(2, 3_000),
    lead_ms=st.sampled_from([0, 60_000, 3_600_000, 10 * 86_400_000]),
    longest=st.integers(30, 400),
    seed=st.integers(0, 2**32 - 1),
)
def test_joined_messages_give_what_single_ones_give(
    ragging: Recording,
    with_edges: bool,
    days: int,
    step: int,
    lead_ms: int,
    longest: int,
    seed: int,
) -> None:
    record = span(ragging.chunk, 0, days * DAY_MS)
    edges = edges_of(record) if with_edges else []
    single, together = judged(ragging, record, edges, step, lead_ms, longest, seed)
    assert msgspec.msgpack.encode(together) == msgspec.msgpack.encode(single)
    assert len(single[2]) > 100  # type: ignore[arg-type]


@settings(max_examples=8, deadline=None)
@given(
    begin_ms=st.integers(0, 20 * DAY_MS),
    hours=st.integers(1, 12),
    contacts=st.lists(
        st.tuples(
            st.sampled_from(["high_level", "pump1_fault", "power_ok"]),
            st.floats(0, 1),
            st.integers(0, 1),
        ),
        max_size=12,
    ),
    step=st.integers(2, 300),
    lead_ms=st.sampled_from([-3_600_000, -60_000, 0, 60_000, 3_600_000]),
    longest=st.integers(1, 120),
    seed=st.integers(0, 2**32 - 1),
)
def test_contacts_that_come_and_go_are_judged_alike_though_edges_come_early_or_late(
    ragging: Recording,
    begin_ms: int,
    hours: int,
    contacts: list[tuple[str, float, int]],
    step: int,
    lead_ms: int,
    longest: int,
    seed: int,
) -> None:
    record = span(ragging.chunk, begin_ms, begin_ms + hours * 3_600_000)
    width_ms = int(record.t_ms[-1] - record.t_ms[0])
    told = [
        Edge(int(record.t_ms[0] + share * width_ms), name, float(value))
        for name, share, value in contacts
    ]
    edges = sorted([*edges_of(record), *told], key=lambda edge: edge.t_ms)
    single, together = judged(ragging, record, edges, step, lead_ms, longest, seed)
    assert msgspec.msgpack.encode(together) == msgspec.msgpack.encode(single)


def span(record: Chunk, begin_ms: int, end_ms: int) -> Chunk:
    """The rows from ``begin_ms`` to ``end_ms`` after the first one."""
    first, last = np.searchsorted(record.t_ms, record.t_ms[0] + np.array([begin_ms, end_ms]))
    kept = slice(int(first), int(last))
    return Chunk(record.t_ms[kept], {n: v[kept] for n, v in record.signals.items()})


def judged(
    recording: Recording,
    record: Chunk,
    edges: Sequence[Edge],
    step: int,
    lead_ms: int,
    longest: int,
    seed: int,
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What is found one message a step, and ``step`` messages a step.

    The record is cut into messages of 1 to ``longest`` rows; an edge travels before the first message
    that begins ``lead_ms`` before it or later (negative: so much after it).
    """
    rows = len(record)
    steps = np.random.default_rng(seed).integers(1, longest + 1, rows).cumsum()
    cuts = [0, *steps[steps < rows].tolist(), rows]
    towns = [Town(recording, 1), Town(recording, step)]
    for town in towns:
        left = list(edges)
        for a, b in pairwise(cuts):
            while left and left[0].t_ms <= record.t_ms[a] + lead_ms:
                town.send(Lane.EVENT, left.pop(0))
            part = {name: values[a:b] for name, values in record.signals.items()}
            town.send(Lane.TELEMETRY, Chunk(record.t_ms[a:b], part))
    with pytest.MonkeyPatch.context() as patch:
        single, together = (town.judge(patch) for town in towns)
    return single, together
