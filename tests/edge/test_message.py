from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_edge.errors import InvalidMessage
from pumpwatch_edge.message import (
    MAX_PAYLOAD,
    MAX_SAMPLES,
    Ack,
    Address,
    Channel,
    Clock,
    Plan,
    Record,
    decode_ack,
    decode_config,
    encode_ack,
    encode_config,
    encode_reported,
    encode_status,
    event_body,
    parse_topic,
    stamped,
    telemetry_bodies,
    topic,
)
from pumpwatch_edge.source import Edge, Reading

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
READINGS = st.lists(
    st.builds(
        Reading, st.integers(0, 4_102_444_800_000), st.dictionaries(NAMES, VALUES, max_size=6)
    ),
    max_size=40,
)


def decoded(bodies: list) -> list[Reading]:
    rows = []
    for body in bodies:
        content = json.loads(body.text)
        for i, t_ms in enumerate(content["t"]):
            rows.append(Reading(t_ms, {n: c[i] for n, c in content["signals"].items()}))
    return rows


def present(reading: Reading) -> tuple[int, dict[str, float]]:
    return reading.t_ms, {n: v for n, v in reading.values.items() if v is not None}


@given(READINGS)
def test_any_readings_come_back_equal(readings: list[Reading]) -> None:
    bodies = telemetry_bodies(readings, "boot", Clock.NTP)

    assert [present(r) for r in decoded(bodies)] == [present(r) for r in readings]
    assert sum(body.rows for body in bodies) == len(readings)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 1300), st.integers(1, 120))
def test_splitting_keeps_both_limits_and_the_order(rows: int, signals: int) -> None:
    values = {f"signal_{i}": 1 / 3 for i in range(signals)}
    bodies = telemetry_bodies([Reading(i, values) for i in range(rows)], "b", Clock.RTC)

    payloads = [stamped(Record(2**62, b.rows, b.text), "e" * 64, 2**62, 2**47) for b in bodies]
    assert max(map(len, payloads)) <= MAX_PAYLOAD
    assert max(body.rows for body in bodies) <= MAX_SAMPLES
    assert [t for body in bodies for t in json.loads(body.text)["t"]] == list(range(rows))


def test_a_telemetry_payload_looks_as_the_design_draws_it() -> None:
    rows = [
        Reading(1_763_607_540_000, {"level_m": 0.83, "pump1_current_a": 6.2}),
        Reading(1_763_607_550_000, {"level_m": 0.81, "pump1_current_a": None}),
    ]
    [body] = telemetry_bodies(rows, "a1", Clock.NTP)

    assert json.loads(stamped(Record(1042, 2, body.text), "9f3c", 1040, 1_763_607_600_250)) == {
        "schema": 1, "epoch": "9f3c", "seq": 1042, "low": 1040, "sent": 1_763_607_600_250,
        "boot": "a1", "clock": "ntp", "t": [1_763_607_540_000, 1_763_607_550_000],
        "signals": {"level_m": [0.83, 0.81], "pump1_current_a": [6.2, None]},
    }  # fmt: skip


def test_an_event_payload_looks_as_the_design_draws_it() -> None:
    body = event_body(Edge(5, "pump1_run", 1), "a1", Clock.RTC)

    assert json.loads(body.text) == {
        "boot": "a1", "clock": "rtc", "t": 5, "signal": "pump1_run", "value": 1,
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "1.0"])
def test_what_is_no_finite_number_never_leaves(value: object) -> None:
    with pytest.raises(InvalidMessage, match="send"):
        telemetry_bodies([Reading(0, {"level_m": value})], "b", Clock.NTP)  # type: ignore[dict-item]
    with pytest.raises(InvalidMessage, match="value"):
        event_body(Edge(0, "pump1_run", value), "b", Clock.NTP)  # type: ignore[arg-type]


@pytest.mark.parametrize("t_ms", [-1, 1.5, 10**15, None, True])
def test_a_time_that_is_none_is_refused(t_ms: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^t: .*stamp"):
        telemetry_bodies([Reading(t_ms, {"level_m": 1.0})], "b", Clock.NTP)  # type: ignore[arg-type]


def test_a_signal_name_that_is_none_is_named() -> None:
    with pytest.raises(InvalidMessage, match="'Level m' is not a signal name"):
        telemetry_bodies([Reading(0, {"Level m": 1.0})], "b", Clock.NTP)


def test_one_reading_that_fits_in_no_message_is_refused() -> None:
    values = {f"signal_{i}": 1 / 3 for i in range(5000)}
    with pytest.raises(InvalidMessage, match="one reading takes"):
        telemetry_bodies([Reading(0, values)], "b", Clock.NTP)


@pytest.mark.parametrize("channel", Channel)
def test_a_topic_says_what_it_was_made_of(channel: Channel) -> None:
    assert parse_topic(topic("default", "mh0001", channel)) == Address("default", "mh0001", channel)


@pytest.mark.parametrize(
    "text",
    ["", "pumpwatch/v1/a/b", "pumpwatch/v2/a/b/ack", "pumpwatch/v1/A/b/ack", "pumpwatch/v1/a/b/cmd",
     "pumpwatch/v1/a/b/ack/", "x/pumpwatch/v1/a/b/ack", f"pumpwatch/v1/{'a' * 65}/b/ack"],
)  # fmt: skip
def test_a_foreign_topic_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage, match="topic"):
        parse_topic(text)


@pytest.mark.parametrize("site", ["", "MH1", "a/b", "+", "#", "é", "a" * 65])
def test_an_id_that_may_not_stand_in_a_topic_is_refused(site: str) -> None:
    with pytest.raises(InvalidMessage, match="site"):
        topic("default", site, Channel.ACK)


@given(st.text(min_size=1), st.integers(0, 2**63), st.integers(0, 2**63))
def test_an_ack_comes_back_equal(epoch: str, telemetry: int, event: int) -> None:
    ack = Ack(epoch, telemetry, event)

    assert decode_ack(encode_ack(ack)) == ack


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"", "payload"),
        (b"\xff", "payload"),
        (b"[]", "payload"),
        (b"[" * 60_000, "payload"),
        (b"1" * 60_000, "payload"),
        (b" " * 70_000, "payload"),
        (b'{"schema":2}', "schema"),
        (b'{"schema":true}', "schema"),
        (b"{}", "schema"),
        (b'{"schema":1,"telemetry":1,"event":0}', "epoch"),
        (b'{"schema":1,"epoch":7,"telemetry":1,"event":0}', "epoch"),
        (b'{"schema":1,"epoch":"e","telemetry":-1,"event":0}', "telemetry"),
        (b'{"schema":1,"epoch":"e","telemetry":1.0,"event":0}', "telemetry"),
        (b'{"schema":1,"epoch":"e","telemetry":true,"event":0}', "telemetry"),
        (b'{"schema":1,"epoch":"e","telemetry":1}', "event"),
        (b'{"schema":1,"epoch":"e","telemetry":1,"event":1e309}', "payload"),
        (b'{"schema":1,"epoch":"e","telemetry":1,"event":NaN}', "payload"),
        (b'{"schema":1,"epoch":"e","telemetry":1,"event":-Infinity}', "payload"),
    ],
)
def test_a_bad_ack_is_refused_with_the_field_named(payload: bytes, field: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode_ack(payload)
    assert caught.value.field == field
    assert caught.value.remedy


@given(st.binary(max_size=300))
def test_no_bytes_bring_a_decoder_down(payload: bytes) -> None:
    for decode in (decode_ack, lambda raw: decode_config(raw, Plan())):
        with suppress(InvalidMessage):
            decode(payload)


def test_a_plan_comes_back_equal() -> None:
    plan = Plan(20.0, {"level_m": 0.005}, 600.0, 30, 10.0)

    assert decode_config(encode_config(plan), Plan()) == plan
    assert json.loads(encode_reported(plan, "no"))["error"] == "no"


def test_what_a_plan_does_not_say_stays_as_it_is() -> None:
    assert decode_config(b'{"schema":1,"batch_age_s":5}', Plan(period_s=20)) == Plan(
        20, batch_age_s=5
    )


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"period_s": 0}, "period_s"),
        ({"period_s": "10"}, "period_s"),
        ({"batch_samples": 501}, "batch_samples"),
        ({"batch_samples": 2.5}, "batch_samples"),
        ({"dead_band": {"level_m": -1}}, "dead_band.level_m"),
        ({"dead_band": {"Level": 1}}, "signals"),
        ({"dead_band": [1]}, "dead_band"),
        ({"period": 10}, "period"),
    ],
)
def test_a_bad_plan_is_refused_with_the_field_named(content: dict, field: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        decode_config(json.dumps({"schema": 1, **content}).encode(), Plan())
    assert caught.value.field == field


def test_a_farewell_says_only_that_and_why() -> None:
    payload = encode_status(online=False, boot="b", agent="0.1.0", epoch="e", reason="stopped")

    assert json.loads(payload) == {
        "schema": 1, "online": False, "boot": "b", "agent": "0.1.0", "epoch": "e", "reason": "stopped",
    }  # fmt: skip
