"""However the bytes arrive, the same packets come out; whatever they are, nothing raises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import MQTTErrorCode

from pumpwatch.transports.subscriber import Frame, Subscriber


class Wire:
    """A socket that gives the bytes in the pieces it was made of."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.sent = b""
        self.closed = False

    def recv(self, _limit: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        return self.pieces.pop(0)

    def send(self, data: bytes) -> int:
        self.sent += bytes(data)
        return len(data)

    def close(self) -> None:
        self.closed = True

    def fileno(self) -> int:
        return 0


def length_of(size: int) -> bytes:
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | 0x80 if size else digit)
        if not size:
            return bytes(digits)


def publish(topic: bytes, payload: bytes, mid: int) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic
    body += mid.to_bytes(2, "big") if mid else b""
    return bytes([0x32 if mid else 0x30]) + length_of(len(body + payload)) + body + payload


def subscriber(pieces: list[bytes]) -> tuple[Subscriber, list[Frame], Wire]:
    frames: list[Frame] = []
    client = Subscriber("test", frames.extend)
    wire = Wire(pieces)
    client._sock = wire  # type: ignore[assignment]
    return client, frames, wire


def read_all(client: Subscriber, wire: Wire) -> MQTTErrorCode:
    rc = MQTTErrorCode.MQTT_ERR_SUCCESS
    while wire.pieces and not rc:
        rc = client.loop_read()
    return rc


messages = st.lists(
    st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=300), st.integers(0, 65_535)),
    max_size=8,
)


@given(messages=messages, cuts=st.lists(st.integers(0, 2_000), max_size=8))
def test_any_splitting_of_the_stream_gives_the_same_messages(
    messages: list[Frame], cuts: list[int]
) -> None:
    stream = b"\xd0\x00".join(publish(*message) for message in messages)  # PINGRESP between them
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    client, frames, wire = subscriber([stream[a:b] for a, b in pairwise(edges)])
    assert read_all(client, wire) == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert frames == messages


def test_a_large_message_arrives_whole() -> None:
    payload = bytes(range(256)) * 500
    stream = publish(b"t", payload, 9)
    client, frames, wire = subscriber([stream[i : i + 4_096] for i in range(0, len(stream), 4_096)])
    read_all(client, wire)
    assert frames == [(b"t", payload, 9)]


@pytest.mark.parametrize(
    "stream",
    [b"\x32\x02\x00\x09", b"\x32\x00", b"\x30\x01\x00", b"\x34\x05\x00\x01t\x00\x01",
     b"\x32\x03\x00\x01t", b"\x30\xff\xff\xff\xff\x01", b"\xf0\x00"],
)  # fmt: skip
def test_a_packet_that_is_none_ends_the_connection(stream: bytes) -> None:
    client, frames, wire = subscriber([publish(b"t", b"before", 1), stream])
    assert read_all(client, wire) == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert frames == [(b"t", b"before", 1)]
    assert wire.closed


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(stream: bytes) -> None:
    client, _, wire = subscriber([stream])
    read_all(client, wire)


def test_the_end_of_the_stream_ends_the_connection() -> None:
    client, _, wire = subscriber([])
    wire.pieces = [b""]
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST


def test_acknowledgements_leave_joined_and_in_order() -> None:
    client, _, wire = subscriber([])
    client.send_pubacks(np.array([1, 258, 65_535]))
    assert wire.sent == b"\x40\x02\x00\x01\x40\x02\x01\x02\x40\x02\xff\xff"
