"""paho's client with its one expensive path made short: messages in, acknowledgements out.

paho reads a packet byte by byte and writes each acknowledgement alone. Here PUBLISH packets are cut
from a read-ahead and acknowledgements leave joined; every other packet is handed to paho as if it had
read it itself, so connect, TLS, keep-alive, subscriptions and our own publications stay paho's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes

READ_AHEAD = 256 * 1024
_PUBLISH, _PUBACK = PacketTypes.PUBLISH, 0x40

Frame = tuple[bytes, bytes, int]
"""Topic, payload, packet id; 0 when no acknowledgement is owed."""


class Subscriber(paho.Client):
    """MQTT 3.1.1, acknowledged by hand. ``deliver`` gets the messages of each read, in order.

    Only for a loop of one's own (`loop_read`, `loop_write`, `loop_misc`) in one thread.
    """

    def __init__(self, client_id: str, deliver: Callable[[list[Frame]], None]) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        self._deliver = deliver
        self._rest = b""

    def reconnect(self) -> MQTTErrorCode:
        self._rest = b""
        return super().reconnect()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Take what the socket has, up to `READ_AHEAD` bytes, however many packets that is."""
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data = self._sock_recv(READ_AHEAD)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with self._msgtime_mutex:
            self._last_bytes_received = paho.time_func()
        frames: list[Frame] = []
        rc = self._cut(self._rest + data, frames)
        if frames:
            self._deliver(frames)
        return self._loop_rc_handle(rc) if rc else rc

    def send_pubacks(self, mids: NDArray[np.int64]) -> None:
        """Acknowledge these messages, in this order, in one write."""
        packets = np.empty((len(mids), 4), dtype=np.uint8)
        packets[:, 0], packets[:, 1] = _PUBACK, 2
        packets[:, 2], packets[:, 3] = mids >> 8, mids & 0xFF
        self._packet_queue(_PUBACK, packets.tobytes(), 0, 1)

    def _cut(self, data: bytes, frames: list[Frame]) -> MQTTErrorCode:
        """Split whole packets off; what is left waits for the next read."""
        position, size = 0, len(data)
        while size - position >= 2:
            head, length, body = data[position], data[position + 1], position + 2
            if length & 0x80:
                found = _long_length(data, position + 1)
                if found is None:
                    break
                length, body = found
                if length < 0:
                    return MQTTErrorCode.MQTT_ERR_PROTOCOL
            end = body + length
            if end > size:
                break
            position = end
            if head >> 4 == _PUBLISH:
                qos = head >> 1 & 3
                topic_at = body + 2
                topic_end = topic_at + (data[body] << 8 | data[body + 1]) if length >= 2 else end
                payload_at = topic_end + 2 if qos else topic_end
                if qos > 1 or length < 2 or payload_at > end:
                    return MQTTErrorCode.MQTT_ERR_PROTOCOL
                mid = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
                frames.append((data[topic_at:topic_end], data[payload_at:end], mid))
            elif rc := self._hand_to_paho(head, data[body:end]):
                return rc
            if self._sock is None:  # paho ended the connection over that packet
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        self._rest = data[position:]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hand_to_paho(self, head: int, body: bytes) -> MQTTErrorCode:
        self._in_packet: Any = {
            "command": head,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        try:
            return self._packet_handle()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


def _long_length(data: bytes, at: int) -> tuple[int, int] | None:
    """A remaining length of several bytes and where the body begins; None: not all there yet.

    The length is -1 when it is no length at all.
    """
    length = 0
    for i in range(4):
        if at + i >= len(data):
            return None
        length |= (data[at + i] & 0x7F) << (7 * i)
        if data[at + i] < 0x80:
            return length, at + i + 1
    return -1, at
