"""The recorder: from the inbox into the time series, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.errors import NotFound, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import (
    EdgeEvent,
    Lane,
    Message,
    Poison,
    PoisonReason,
    Stamp,
    Telemetry,
)
from pumpwatch.domain.ports import InboxRow, TimeSeriesStore, WriteReceipt
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import Site
from pumpwatch.services import record
from pumpwatch.services.record import Recorder
from pumpwatch.stores.inbox import MemoryInbox
from pumpwatch.stores.memory import MemoryLedger, MemorySeries
from pumpwatch.stores.series_sqlite import SqliteSeries

A = SiteKey("default", "mh0001")
B = SiteKey("default", "mh0002")


def decode(topic: str, payload: bytes, received_ms: int) -> Message | Poison:
    """A decoder for this test's own little payloads."""
    _, _, tenant, site, channel = topic.split("/")
    stamp = Stamp(SiteKey(tenant, site), "e", Lane(channel), 1, received_ms)
    raw = json.loads(payload)
    if raw == "poison":
        return Poison(topic, payload, PoisonReason.SCHEMA, "not what it was", stamp.key, stamp)
    if channel == Lane.EVENT:
        return EdgeEvent(stamp, Edge(raw["t"], raw["signal"], raw["value"]))
    chunk = Chunk(np.array(raw["t"], np.int64), {"level_m": np.array(raw["level_m"], np.float64)})
    return Telemetry(stamp, chunk, raw.get("unknown", {}), raw.get("out_of_range", 0))


class Street:
    """An inbox that fills, a ledger, a store, and a recorder that can be started anew."""

    def __init__(self, store: TimeSeriesStore | None = None) -> None:
        self.inbox = MemoryInbox()
        self.ledger = MemoryLedger()
        self.store: TimeSeriesStore = store or MemorySeries()
        self.seq = 0
        self.start()

    def start(self) -> Recorder:
        self.recorder = Recorder(
            inbox=self.inbox, sites=self.ledger, store=self.store, decode=decode
        )
        return self.recorder

    def approve(self, key: SiteKey, now_ms: int = 0) -> None:
        self.ledger.put_site(key, Site(key.site), LOCAL, now_ms)

    def arrive(self, key: SiteKey, body: object, lane: Lane = Lane.TELEMETRY) -> int:
        self.seq += 1
        stamp = Stamp(key, "e", lane, self.seq, 0)
        topic = f"pumpwatch/v1/{key.tenant}/{key.site}/{lane}"
        row = InboxRow(stamp, topic, json.dumps(body).encode(), 0)
        self.inbox.commit([row], [], 0)
        if self.ledger.site(key) is None:
            self.ledger.hold(key, 0, 1, None)
        return self.inbox.last_id()

    def sample(self, key: SiteKey, *t_ms: int) -> int:
        return self.arrive(key, {"t": t_ms, "level_m": [t / 10 for t in t_ms]})

    def prune(self) -> None:
        """As the hub does it."""
        position = self.recorder.position
        self.inbox.prune(position, dict.fromkeys(self.recorder.waiting(), 0))

    def times(self, key: SiteKey = A) -> list[int]:
        times: list[int] = self.store.read_raw(key, 0, 2**62).t_ms.tolist()
        return times

    def counts(self, key: SiteKey = A) -> tuple[int, int, int]:
        counts = self.recorder.counts[key]
        return counts.stored, counts.duplicate, counts.rejected


@pytest.fixture
def street() -> Street:
    street = Street()
    street.approve(A)
    return street


def test_what_arrives_is_recorded_and_counted(street: Street) -> None:
    street.sample(A, 10, 20)
    street.sample(A, 20, 30)
    assert street.recorder.lag() == 2
    assert street.recorder.step(1_000) == 2
    assert street.times() == [10, 20, 30]
    assert street.counts() == (3, 1, 0)
    assert street.recorder.last_write_ms == 1_000
    assert street.recorder.lag() == 0
    assert street.recorder.step(2_000) == 0
    assert street.recorder.last_write_ms == 1_000


def test_signals_outside_the_nomenclature_are_kept_beside(street: Street) -> None:
    street.arrive(A, {"t": [10, 20], "level_m": [1, None], "unknown": {"h2s_ppm": [None, 5]}})
    street.recorder.step(0)
    found = street.store.read_raw(A, 0, 99, ["level_m", "h2s_ppm"])
    np.testing.assert_array_equal(found.signals["h2s_ppm"], [np.nan, 5])
    np.testing.assert_array_equal(found.signals["level_m"], [1, np.nan])
    assert street.recorder.values["unknown_signals"] == 2


def test_values_no_signal_can_have_are_counted(street: Street) -> None:
    street.arrive(A, {"t": [10, 20], "level_m": [None, 2], "out_of_range": 1})
    street.recorder.step(0)
    assert street.recorder.values["out_of_range"] == 1


def test_edges_are_passed_but_are_no_samples(street: Street) -> None:
    street.arrive(A, {"t": 15, "signal": "pump1_run", "value": 1}, Lane.EVENT)
    assert street.recorder.step(0) == 1
    assert street.times() == []
    assert street.recorder.lag() == 0


def test_a_message_that_can_no_longer_be_read_is_counted_and_loses_nothing_else(
    street: Street,
) -> None:
    street.sample(A, 10)
    street.arrive(A, "poison")
    street.sample(A, 20)
    street.recorder.step(0)
    assert street.times() == [10, 20]
    assert street.counts() == (2, 0, 1)


def test_a_site_nobody_approved_is_not_recorded_and_its_rows_wait(street: Street) -> None:
    street.sample(A, 10)
    held = street.sample(B, 10)
    street.sample(A, 20)
    street.recorder.step(0)
    assert street.times(B) == []
    assert street.recorder.safe_position() == held - 1
    assert street.recorder.waiting() == {B}
    street.prune()
    assert [row.stamp.key for row in street.inbox.read(0, 10)] == [B]


def test_an_approved_site_gets_everything_that_waited(street: Street) -> None:
    street.sample(B, 10)
    street.sample(A, 10)
    street.sample(B, 20)
    street.recorder.step(0)
    street.approve(B)
    assert street.recorder.safe_position() == 0  # approved, but not recorded yet
    street.sample(B, 30)
    street.recorder.step(record.SITES_MS)
    assert street.times(B) == [10, 20, 30]
    assert street.counts(B) == (3, 0, 0)
    street.recorder.step(record.SITES_MS)
    assert street.recorder.waiting() == set()
    assert street.recorder.safe_position() == street.inbox.last_id()


def test_what_waited_is_recorded_a_batch_at_a_time_beside_what_arrives(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "BATCH_MESSAGES", 3)
    for t_ms in range(0, 100, 10):
        street.sample(B, t_ms)
    while street.recorder.step(0):
        pass
    street.approve(B)
    largest = 0
    for n in range(20):
        street.sample(A, 1_000 + n)
        largest = max(largest, street.recorder.step(record.SITES_MS + n))
        assert street.times(A)[-1] == 1_000 + n, "nobody waits for the backfill"
    assert street.times(B) == list(range(0, 100, 10))
    assert largest <= 6


def test_a_kill_in_the_middle_of_a_backfill_loses_nothing(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "BATCH_MESSAGES", 3)
    for t_ms in range(0, 100, 10):
        street.sample(B, t_ms)
    while street.recorder.step(0):
        pass
    street.approve(B)
    street.recorder.step(record.SITES_MS)
    assert 0 < len(street.times(B)) < 10
    street.start()
    street.prune()
    while street.recorder.step(2 * record.SITES_MS):
        street.prune()
    assert street.times(B) == list(range(0, 100, 10))


def test_a_site_retired_and_approved_again_while_the_hub_was_down_lacks_nothing(
    street: Street,
) -> None:
    street.sample(A, 10)
    street.recorder.step(0)
    street.ledger.retire_site(A, LOCAL, 1)
    street.recorder.step(record.SITES_MS)
    street.sample(A, 20)
    street.recorder.step(record.SITES_MS + 1)
    street.prune()
    street.approve(A)
    street.start()
    street.recorder.step(0)
    assert street.times() == [10, 20]


def test_an_approved_site_that_fell_silent_is_recorded_too(street: Street) -> None:
    street.sample(B, 10)
    street.recorder.step(0)
    street.approve(B)
    street.recorder.step(record.SITES_MS)
    assert street.times(B) == [10]


def test_a_site_approved_while_the_hub_was_down_gets_everything_that_waited(
    street: Street,
) -> None:
    street.sample(B, 10)
    street.sample(A, 10)
    street.recorder.step(0)
    street.approve(B)
    street.start()
    assert street.recorder.safe_position() == 0
    street.recorder.step(1)
    assert street.times(B) == [10]
    assert street.counts(A) == (0, 0, 0)  # A is not read again


def test_a_site_approved_between_two_looks_at_the_list_loses_nothing(street: Street) -> None:
    street.recorder.step(0)
    street.sample(B, 10)
    street.approve(B)
    street.sample(B, 20)
    street.recorder.step(1)  # the list is fresh enough: both rows are passed
    assert street.times(B) == []
    street.recorder.step(record.SITES_MS)
    assert street.times(B) == [10, 20]


def test_a_retired_site_is_not_recorded_until_it_is_approved_again(street: Street) -> None:
    street.sample(A, 10)
    street.recorder.step(0)
    street.ledger.retire_site(A, LOCAL, 1)
    street.recorder.step(record.SITES_MS)
    street.sample(A, 20)
    street.recorder.step(record.SITES_MS + 1)
    assert street.times() == [10]
    street.approve(A)
    street.recorder.step(2 * record.SITES_MS)
    assert street.times() == [10, 20]


class Shaky:
    """A store that does not answer while ``down``."""

    def __init__(self, store: TimeSeriesStore) -> None:
        self._store, self.down, self.asked = store, False, 0

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("no disk", "buy one")
        return self._store.write(batch, position)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_a_store_that_is_down_is_tried_again_ever_less_often_and_nothing_is_lost() -> None:
    shaky = Shaky(MemorySeries())
    street = Street(shaky)  # type: ignore[arg-type]
    street.approve(A)
    street.recorder.step(0)
    shaky.down, shaky.asked = True, 0
    street.sample(A, 10)
    street.arrive(A, "poison")
    tried = []
    for now_ms in range(0, 600_000, 500):
        asked = shaky.asked
        assert street.recorder.step(now_ms) == 0
        if shaky.asked > asked:
            tried.append(now_ms)
    waits = np.diff(tried)
    assert waits[0] == record.FIRST_WAIT_MS
    assert waits[1] == 2 * record.FIRST_WAIT_MS
    assert set(waits[-3:]) == {record.LONGEST_WAIT_MS}
    assert street.recorder.last_error == "no disk: buy one"
    assert street.recorder.lag() == 2
    shaky.down = False
    assert street.recorder.step(street.recorder.next_try_ms) == 2
    assert street.times() == [10]
    assert street.counts() == (1, 0, 1)  # counted once, not once a try
    assert street.recorder.last_error == ""
    shaky.down = True
    street.sample(A, 20)
    street.recorder.step(700_000)
    assert street.recorder.next_try_ms == 700_000 + record.FIRST_WAIT_MS
    shaky.down = False
    assert street.recorder.step(700_000) == 0, "it waits"
    assert street.recorder.step(100_000) == 1, "but for no clock that was set back"


def test_a_backfill_that_fails_is_done_again_whole() -> None:
    shaky = Shaky(MemorySeries())
    street = Street(shaky)  # type: ignore[arg-type]
    street.sample(B, 10)
    street.recorder.step(0)
    street.approve(B)
    shaky.down = True
    street.recorder.step(record.SITES_MS)
    assert street.recorder.safe_position() == 0
    shaky.down = False
    street.recorder.step(street.recorder.next_try_ms)
    assert street.times(B) == [10]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_restarts_approvals_and_pruning_at_any_moment_give_every_row_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random lives of a hub: at the end both sites' stores hold what was sent, no less, no more."""
    folder: Path = tmp_path_factory.mktemp("series")
    series = SqliteSeries(folder / "series.db")
    street = Street(series)
    record_batch = record.BATCH_MESSAGES
    record.BATCH_MESSAGES = 3
    sent: dict[SiteKey, set[int]] = {A: set(), B: set()}
    now_ms = 0
    acts = st.sampled_from(
        ["send", "send", "send", "step", "step", "restart", "approve", "retire", "prune"]
    )
    try:
        for act in data.draw(st.lists(acts, max_size=40)):
            key = data.draw(st.sampled_from([A, B]))
            now_ms += data.draw(st.integers(0, 1_500))
            if act == "send":
                t_ms = data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=3))
                street.sample(key, *t_ms)
                sent[key] |= set(t_ms)
            elif act == "step":
                street.recorder.step(now_ms)
            elif act == "restart":
                street.start()
            elif act == "approve":
                street.approve(key)
            elif act == "retire":
                with suppress(NotFound):
                    street.ledger.retire_site(key, LOCAL, now_ms)
            else:
                street.prune()
        street.approve(A)
        street.approve(B)
        for _ in range(60):
            now_ms += record.SITES_MS
            street.recorder.step(now_ms)
        assert {key: set(street.times(key)) for key in sent} == sent
    finally:
        record.BATCH_MESSAGES = record_batch
        series.close()
