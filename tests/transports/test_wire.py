"""What the door says to sound, hostile and merely unlucky payloads."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import (
    Birth,
    EdgeEvent,
    Lane,
    Poison,
    PoisonReason,
    Stamp,
    Telemetry,
)
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.transports.wire import ack_topic, decode, encode_ack, inspect
from pumpwatch_edge import message as edge
from pumpwatch_edge.source import Edge, Reading

NOW = 1_763_607_600_000
KEY = SiteKey("default", "mh0001")
TELEMETRY = "pumpwatch/v1/default/mh0001/telemetry"
EVENT = "pumpwatch/v1/default/mh0001/event"
STATUS = "pumpwatch/v1/default/mh0001/status"
STAMP = {
    "schema": 1,
    "epoch": "9f3c",
    "seq": 42,
    "low": 40,
    "sent": NOW,
    "boot": "a1",
    "clock": "ntp",
}


def telemetry(**changes: Any) -> bytes:
    content = STAMP | {"t": [NOW - 10_000, NOW], "signals": {"level_m": [0.83, 0.81]}} | changes
    return json.dumps({k: v for k, v in content.items() if v != "absent"}).encode()


def event(**changes: Any) -> bytes:
    content = STAMP | {"t": NOW, "signal": "pump1_run", "value": 1} | changes
    return json.dumps(content).encode()


def sound(payload: bytes) -> Telemetry:
    message = decode(TELEMETRY, payload, NOW)
    assert isinstance(message, Telemetry), message
    return message


def poison(payload: bytes, topic: str = TELEMETRY) -> Poison:
    message = decode(topic, payload, NOW)
    assert isinstance(message, Poison), message
    return message


def test_a_batch_of_samples_becomes_columns() -> None:
    message = sound(telemetry(signals={"level_m": [0.83, 0.81], "pump1_current_a": [6.2, None]}))
    assert message.stamp == Stamp(KEY, "9f3c", Lane.TELEMETRY, 42, NOW, "a1", "ntp", 40)
    assert message.chunk.t_ms.tolist() == [NOW - 10_000, NOW]
    assert message.chunk.signals["level_m"].tolist() == [0.83, 0.81]
    assert math.isnan(message.chunk.signals["pump1_current_a"][1])
    assert message.out_of_range == 0
    assert not message.unknown


def test_an_edge_becomes_an_event() -> None:
    message = decode(EVENT, event(), NOW)
    assert isinstance(message, EdgeEvent)
    assert (message.edge.t_ms, message.edge.signal, message.edge.value) == (NOW, "pump1_run", 1.0)
    assert message.stamp.lane is Lane.EVENT
    assert message.known


def test_an_edge_of_an_unknown_signal_is_kept_and_marked() -> None:
    message = decode(EVENT, event(signal="gate_open"), NOW)
    assert isinstance(message, EdgeEvent)
    assert not message.known


def test_a_birth_tells_what_the_agent_is() -> None:
    payload = edge.encode_status(
        online=True, boot="b", agent="0.1.0", epoch="e", signals={"level_m": {"unit": "m"}},
        period_s=10, outbox=3,
    )  # fmt: skip
    assert decode(STATUS, payload, NOW) == Birth(
        KEY, True, "b", "0.1.0", {"level_m": {"unit": "m"}}, 10, 3
    )


def test_a_will_and_an_empty_retained_status_say_offline() -> None:
    will = edge.encode_status(online=False, boot="b", agent="0.1.0", epoch="e")
    for payload in (will, b""):
        message = decode(STATUS, payload, NOW)
        assert isinstance(message, Birth)
        assert not message.online


def test_samples_out_of_order_are_sorted_with_everything_beside_them() -> None:
    message = sound(telemetry(t=[NOW, NOW - 5_000], signals={"level_m": [2, 1], "ph": [8, 7]}))
    assert message.chunk.t_ms.tolist() == [NOW - 5_000, NOW]
    assert message.chunk.signals["level_m"].tolist() == [1, 2]
    assert message.unknown == {"ph": [7, 8]}


def test_a_value_outside_its_bounds_is_no_value_and_counted() -> None:
    message = sound(telemetry(signals={"level_m": [99, 0.8], "pump1_run": [1, 7]}))
    assert message.out_of_range == 2
    assert np.isnan(message.chunk.signals["level_m"]).tolist() == [True, False]
    assert np.isnan(message.chunk.signals["pump1_run"]).tolist() == [False, True]


def test_true_and_false_are_states() -> None:
    message = sound(telemetry(signals={"pump1_run": [True, None], "level_m": [1, 1]}))
    assert message.chunk.signals["pump1_run"][0] == 1.0
    assert math.isnan(message.chunk.signals["pump1_run"][1])
    changed = decode(EVENT, event(value=False), NOW)
    assert isinstance(changed, EdgeEvent)
    assert changed.edge.value == 0.0


def test_a_key_given_twice_counts_once() -> None:
    doubled = telemetry().replace(b'"seq": 42,', b'"seq": 7, "seq": 42,')
    assert sound(doubled).stamp.seq == 42


SOUND = telemetry()
HOSTILE = [
    (b"", PoisonReason.JSON, "JSON"),
    (b"[]", PoisonReason.SCHEMA, "object"),
    (b"\xff\xfe", PoisonReason.ENCODING, "UTF-8"),
    (SOUND[:-20], PoisonReason.JSON, "not JSON"),
    (b"[" * 100_000, PoisonReason.TOO_LARGE, "100000"),
    (b"[" * 60_000, PoisonReason.JSON, "nested"),
    (telemetry(t=["["]), PoisonReason.SCHEMA, "t"),
    (SOUND.replace(b"0.83", b"NaN"), PoisonReason.NOT_FINITE, "signals.level_m[0]"),
    (SOUND.replace(b"0.83", b"-Infinity"), PoisonReason.NOT_FINITE, "signals.level_m[0]"),
    (SOUND.replace(b"0.81", b"1e309"), PoisonReason.NOT_FINITE, "signals.level_m[1]"),
    (SOUND.replace(b"0.81", b"9" * 400), PoisonReason.NOT_FINITE, "signals.level_m[1]"),
    (SOUND.replace(b"0.81", b"9" * 5_000), PoisonReason.JSON, "JSON"),
    (SOUND.replace(b"0.81", b'"0.81"'), PoisonReason.SCHEMA, "signals.level_m[1]: '0.81'"),
    (SOUND.replace(b"0.81", b"true"), PoisonReason.SCHEMA, "signals.level_m"),
    (SOUND.replace(b"0.81", b"[]"), PoisonReason.SCHEMA, "signals.level_m[1]"),
    (telemetry(schema=2), PoisonReason.SCHEMA, "schema: 2"),
    (telemetry(schema="absent"), PoisonReason.SCHEMA, "schema"),
    (telemetry(seq=0), PoisonReason.SCHEMA, "seq: 0"),
    (telemetry(seq=2**63), PoisonReason.SCHEMA, "seq"),
    (telemetry(seq=True), PoisonReason.SCHEMA, "seq"),
    (telemetry(low=43), PoisonReason.SCHEMA, "low: 43"),
    (telemetry(epoch="a b"), PoisonReason.SCHEMA, "epoch"),
    (telemetry(epoch="\ud800"), PoisonReason.JSON, "surrogate"),
    (telemetry(boot="x" * 65), PoisonReason.SCHEMA, "boot"),
    (telemetry(sent=-1), PoisonReason.SCHEMA, "sent"),
    (telemetry(t=[]), PoisonReason.SCHEMA, "t: 0 samples"),
    (telemetry(t=[NOW] * 501, signals={}), PoisonReason.SCHEMA, "t: 501 samples"),
    (telemetry(t=[1.5, 2.5]), PoisonReason.SCHEMA, "t[0]"),
    (telemetry(signals={"level_m": [1]}), PoisonReason.SCHEMA, "signals.level_m: 1 values"),
    (telemetry(t=[NOW, NOW + 300_001]), PoisonReason.FUTURE, "ahead"),
    (telemetry(t=[NOW, 10**30]), PoisonReason.FUTURE, "ahead"),
    (telemetry(t=[0, NOW]), PoisonReason.TIME, "2015"),
    (telemetry(site="mh0002"), PoisonReason.MISMATCH, "default/mh0002"),
    (telemetry(tenant="demo"), PoisonReason.MISMATCH, "demo/mh0001"),
]


@pytest.mark.parametrize(("payload", "reason", "says"), HOSTILE)
def test_bad_telemetry_is_set_aside_with_one_line_that_names_it(
    payload: bytes, reason: PoisonReason, says: str
) -> None:
    found = poison(payload)
    assert found.reason is reason, found.detail
    assert says in found.detail
    assert found.key == KEY
    assert found.detail.isprintable()
    assert len(found.detail) < 400


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"value": None}, PoisonReason.SCHEMA, "value"),
        ({"value": "on"}, PoisonReason.SCHEMA, "value"),
        ({"value": 2}, PoisonReason.SCHEMA, "outside 0 to 1"),
        ({"value": math.inf}, PoisonReason.NOT_FINITE, "value"),
        ({"t": NOW + 10**7}, PoisonReason.FUTURE, "ahead"),
        ({"signal": 5}, PoisonReason.SCHEMA, "signal"),
    ],
)
def test_a_bad_event_is_set_aside(changes: Any, reason: PoisonReason, says: str) -> None:
    found = poison(event(**changes), EVENT)
    assert found.reason is reason
    assert says in found.detail
    assert found.stamp is not None
    assert found.stamp.lane is Lane.EVENT


@pytest.mark.parametrize(
    "topic",
    ["", "pumpwatch/v1/default/MH1/telemetry", "pumpwatch/v1/a/b/ack", "pumpwatch/v2/a/b/event",
     "pumpwatch/v1/a/b/telemetry/x", "a" * 60_000, "pumpwatch/v1/a/\ud800/event", "x\ny"],
)  # fmt: skip
def test_a_topic_of_another_shape_is_set_aside(topic: str) -> None:
    found = poison(SOUND, topic)
    assert found.reason is PoisonReason.TOPIC
    assert found.key is None
    assert found.topic.isprintable()
    assert len(found.topic) < 4_000


@pytest.mark.parametrize(
    "payload",
    [
        SOUND[:-20],
        SOUND[:120],
        SOUND.replace(b"0.83", b"NaN"),
        SOUND[:-2] + b"\xff",
        telemetry(site="mh0002"),
        telemetry(t=[NOW + 10**9] * 2),
        SOUND + b" " * 70_000,
        SOUND[:-1] + b"[" * 50_000,
    ],
)
def test_a_poisonous_payload_keeps_its_stamp_where_it_can_be_read(payload: bytes) -> None:
    stamp = poison(payload).stamp
    assert stamp is not None
    assert (stamp.key, stamp.epoch, stamp.lane, stamp.seq) == (KEY, "9f3c", Lane.TELEMETRY, 42)
    assert stamp.low == 40


@pytest.mark.parametrize(
    "payload",
    [b'{"schema": 1, "epoch": "9f3c", "seq": 42', b'{"epoch": "9f3c", "se', b"\x00\x01", b"{}",
     b'{"signals": {"epoch": "x", "seq": 5, "', b'{"epoch": "9f3c", "seq": -4, "x": N'],
)  # fmt: skip
def test_a_stamp_that_may_have_been_cut_short_is_no_stamp(payload: bytes) -> None:
    assert poison(payload).stamp is None


def test_the_ack_is_what_the_agent_reads() -> None:
    assert edge.decode_ack(encode_ack("9f3c", 1042, 77)) == edge.Ack("9f3c", 1042, 77)
    assert edge.parse_topic(ack_topic(KEY)) == ("default", "mh0001", edge.Channel.ACK)


def verdict(message: object) -> object:
    return message if isinstance(message, Poison | Birth | Stamp) else message.stamp  # type: ignore[attr-defined]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
mutated = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*json.loads(SOUND), "signal", "value", "site"], anything)
).map(lambda changes: json.dumps(json.loads(SOUND) | changes).encode())
cut = st.tuples(st.integers(0, len(SOUND)), st.binary(max_size=6), st.integers(0, 20)).map(
    lambda c: SOUND[: c[0]] + c[1] + SOUND[c[0] + c[2] :]
)


@given(
    topic=st.sampled_from([TELEMETRY, EVENT, STATUS]) | st.text(),
    payload=st.binary() | mutated | cut | anything.map(lambda v: json.dumps(v).encode()),
    now_ms=st.integers(0, 2**53),
)
def test_nothing_makes_the_door_raise_and_both_readings_agree(
    topic: str, payload: bytes, now_ms: int
) -> None:
    message = decode(topic, payload, now_ms)
    assert verdict(message) == inspect(topic, payload, now_ms)
    if isinstance(message, Poison):
        assert message.detail.isprintable()


values = st.none() | st.floats(-10, 100, allow_nan=False) | st.integers(-1, 2)
names = st.sampled_from([*SIGNALS, "ph", "x_1"])


@given(
    readings=st.lists(
        st.builds(
            Reading, st.integers(NOW - 10**9, NOW), st.dictionaries(names, values, max_size=5)
        ),
        min_size=1,
        max_size=30,
    ),
    seq=st.integers(1, 2**40),
)
def test_whatever_an_agent_sends_is_taken_value_for_value(
    readings: list[Reading], seq: int
) -> None:
    (body,) = edge.telemetry_bodies(readings, "b00t", edge.Clock.NTP)
    payload = edge.stamped(edge.Record(seq, body.rows, body.text), "9f3c", 1, NOW)
    message = sound(payload)
    assert message.stamp == Stamp(KEY, "9f3c", Lane.TELEMETRY, seq, NOW, "b00t", "ntp", 1)
    refused = 0
    for i, reading in enumerate(sorted(readings, key=lambda r: r.t_ms)):
        assert message.chunk.t_ms[i] == reading.t_ms
        for name, value in reading.values.items():
            if name not in SIGNALS:
                assert message.unknown[name][i] == value
                continue
            kept = message.chunk.signals[name][i]
            if value is None:
                assert math.isnan(kept)
            elif SIGNALS[name].low <= value <= SIGNALS[name].high:
                assert kept == value
            else:
                refused += 1
                assert math.isnan(kept)
    assert message.out_of_range == refused


@given(name=names, value=st.integers(0, 1), t_ms=st.integers(NOW - 10**9, NOW))
def test_whatever_edge_an_agent_sends_is_taken(name: str, value: float, t_ms: int) -> None:
    body = edge.event_body(Edge(t_ms, name, value), "b00t", edge.Clock.RTC)
    message = decode(EVENT, edge.stamped(edge.Record(7, 1, body.text), "e", 7, NOW), NOW)
    assert isinstance(message, EdgeEvent)
    assert (message.edge.t_ms, message.edge.signal, message.edge.value) == (t_ms, name, value)
    assert message.known == (name in SIGNALS)
