"""Ask a broker what it grants: one short connection under a name of its own, which leaves no session.

MQTT 5 lets a broker tell its limits when it accepts somebody; an absent property is the protocol's
own default. The hub itself speaks 3.1.1, which tells nothing. What a broker keeps for a client that
is away is in neither.
"""

from __future__ import annotations

import contextlib
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

NOT_SPOKEN = frozenset({1, 132})
"""Reason codes of CONNACK by which a broker does not speak this version (3.1.1 and 5)."""
_VERSION, _DROPPED = "$SYS/broker/version", "$SYS/broker/publish/messages/dropped"
_KEEPALIVE_S = 10


@dataclass(frozen=True, slots=True)
class BrokerAnswer:
    """What a broker said.

    ``refused`` is '' or why it accepted nobody. ``limits`` are the properties of its CONNACK by their
    names in MQTT 5; None where it speaks 3.1.1 only. ``version`` and ``dropped`` (messages it gave up
    since its start) are mosquitto's word under ``$SYS``; '' and None where it says nothing there.
    """

    refused: str = ""
    limits: Mapping[str, int] | None = None
    version: str = ""
    dropped: int | None = None


@dataclass
class _Heard:
    reason: Any = None
    limits: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


def probe(
    host: str,
    port: int,
    *,
    username: str | None = None,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 3.0,
    listen_s: float = 0.5,
) -> BrokerAnswer:
    """Connect, listen for a moment and leave. Raises `OSError` where nobody answers like a broker."""

    def ask(version: MQTTProtocolVersion) -> _Heard:
        return _ask(host, port, version, username, password, tls, timeout_s, listen_s)

    heard, speaks_5 = ask(MQTTProtocolVersion.MQTTv5), True
    if heard.reason is None or heard.reason.value in NOT_SPOKEN:
        heard, speaks_5 = ask(MQTTProtocolVersion.MQTTv311), False
    if heard.reason is None:
        raise TimeoutError("accepts connections and does not answer like an MQTT broker")
    if heard.reason.is_failure:
        return BrokerAnswer(refused=str(heard.reason))
    dropped = heard.told.get(_DROPPED, "")
    return BrokerAnswer(
        limits=heard.limits if speaks_5 else None,
        version=heard.told.get(_VERSION, ""),
        dropped=int(dropped) if dropped.isdecimal() else None,
    )


def _ask(
    host: str,
    port: int,
    version: MQTTProtocolVersion,
    username: str | None,
    password: str | None,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    listen_s: float,
) -> _Heard:
    heard = _Heard()
    name = f"pumpwatch-doctor-{uuid.uuid4().hex[:8]}"
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
    client.connect_timeout = timeout_s
    if username is not None:
        client.username_pw_set(username, password)
    if tls is not None:
        client.tls_set_context(tls)

    def accepted(_client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        heard.reason = reason
        said = properties.json() if properties is not None else {}
        heard.limits = {n: v for n, v in said.items() if isinstance(v, int)}

    def message(_client: Any, _data: Any, one: paho.MQTTMessage) -> None:
        heard.told[one.topic] = one.payload.decode("utf-8", "replace").strip()

    client.on_connect, client.on_message = accepted, message
    client.connect(host, port, _KEEPALIVE_S)
    try:
        _until(client, lambda: heard.reason is not None, timeout_s)
        if heard.reason is not None and not heard.reason.is_failure:
            client.subscribe([(_VERSION, 0), (_DROPPED, 0)])
            _until(client, lambda: len(heard.told) == 2, listen_s)
    finally:
        with contextlib.suppress(OSError):
            client.disconnect()
    return heard


def _until(client: paho.Client, done: Callable[[], bool], seconds: float) -> None:
    """Serve the connection until ``done``, for so long at most, or until the other side ends it."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        if client.loop(0.05) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return
