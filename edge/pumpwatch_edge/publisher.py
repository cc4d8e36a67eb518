"""The shell around paho-mqtt: one fresh client per connection, and events instead of callbacks.

A new client for every connection means that nothing of an earlier one (queued messages, packet
ids, a dead thread) can reach into it: the outbox alone remembers. paho's network thread only puts
events on a queue; that thread's end, however it came about, is one of them.
"""

from __future__ import annotations

import logging
import queue
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pumpwatch_edge.agent import Publish, Subscribe
from pumpwatch_edge.errors import SettingsError
from pumpwatch_edge.message import QOS
from pumpwatch_edge.settings import BrokerSettings

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_MS = 30_000
STEADY_MS = 30_000
"""A connection that held so long was a good one: back-off begins anew after it."""
NO_MATCHING_SUBSCRIBERS = 16


@dataclass(frozen=True, slots=True)
class Connected:
    session_present: bool
    receive_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection, or the attempt at one, is over."""

    why: str
    was_connected: bool


@dataclass(frozen=True, slots=True)
class Acked:
    """The broker took these messages."""

    handles: list[int]


@dataclass(frozen=True, slots=True)
class Arrived:
    """``retained``: the broker had it from before we subscribed, however old it is."""

    topic: str
    payload: bytes
    retained: bool = False


Event = Connected | Ended | Acked | Arrived


class Backoff:
    """Exponential with full jitter: 232 agents must not come back in step."""

    def __init__(self, base_ms: int, cap_ms: int, draw: Callable[[], float]) -> None:
        self._base_ms, self._cap_ms, self._draw = base_ms, cap_ms, draw
        self._attempts = 0

    def next_ms(self) -> int:
        ceiling = min(self._cap_ms, self._base_ms * 2 ** min(self._attempts, 20))
        self._attempts += 1
        return int(self._draw() * ceiling)

    def reset(self) -> None:
        self._attempts = 0


class Publisher:
    """Keeps one connection to the broker. For one thread; `step` often, then take `events`.

    Speaks once when the broker goes and once when it is back. Raises `SettingsError` for TLS files
    that cannot be used.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        will: Callable[[], Publish] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.client_id = client_id
        self.connections = 0
        self._settings = settings
        self._tls = tls_context(settings)
        self._will = will
        self._backoff = Backoff(settings.backoff_s[0] * 1000, settings.backoff_s[1] * 1000, draw)
        self._queue: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._pending: list[Event] = []
        self._generation = 0
        self._client: _Client | None = None
        self._handles: dict[int, int] = {}
        self._due_ms = 0
        self._opened_ms = 0
        self._heard_ms = 0
        self._up = False
        self._said_away = False
        self._losses: deque[int] = deque(maxlen=4)
        self._said_clash = False
        self._said_unheard = False

    # -- the shell's own clockwork ---------------------------------------------------------------

    def step(self, mono_ms: int) -> None:
        """Connect when it is time to; give up a connection that is stuck."""
        if self._client is None:
            if mono_ms >= self._due_ms:
                self._open(mono_ms)
        elif not self._up:
            if mono_ms - self._opened_ms >= CONNECT_TIMEOUT_MS:
                self._pending.append(self._end("no answer from the broker", mono_ms))
        elif self._handles and mono_ms - self._heard_ms >= self._settings.silence_ms:
            self._pending.append(self._end("the broker stopped acknowledging", mono_ms))

    def events(self, timeout_s: float, mono_ms: Callable[[], int]) -> list[Event]:
        """What happened on the present connection; waits at most ``timeout_s`` for the first."""
        found, self._pending = self._pending, []
        try:
            wait = timeout_s > 0 and not found
            item = self._queue.get(timeout=timeout_s) if wait else self._queue.get_nowait()
            while True:
                generation, raw = item
                if generation == self._generation and self._client is not None:
                    event = self._understand(raw, mono_ms())
                    if isinstance(event, Acked) and found and isinstance(found[-1], Acked):
                        found[-1].handles.extend(event.handles)
                    elif event is not None:
                        found.append(event)
                item = self._queue.get_nowait()
        except queue.Empty:
            return found

    def publish(self, action: Publish) -> None:
        """Hand a message to the present connection. Without one it is forgotten: the outbox is not."""
        if self._client is None or not self._up:
            return
        info = self._client.publish(action.topic, action.payload, action.qos, action.retain)
        if info.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            self._handles[info.mid] = action.handle
        else:
            self._queue.put((self._generation, _LoopEnd(mqtt.error_string(info.rc))))

    def subscribe(self, action: Subscribe) -> None:
        if self._client is not None and self._up:
            self._client.subscribe([(topic, QOS) for topic in action.topics])

    def wake(self) -> None:
        """End a wait in `events` from another thread."""
        self._queue.put((-1, None))

    def close(self, timeout_s: float) -> None:
        """Hang up. Never blocks longer than ``timeout_s``, whatever the network does."""
        client, self._client, self._up = self._client, None, False
        self._generation += 1
        if client is not None:
            client.hang_up(timeout_s)

    # -- inside ----------------------------------------------------------------------------------

    def _open(self, mono_ms: int) -> None:
        self._generation += 1
        self._opened_ms = self._heard_ms = mono_ms
        self._handles.clear()
        generation, put = self._generation, self._queue.put
        client = _Client(self._settings, self.client_id, lambda raw: put((generation, raw)))
        if self._will is not None:
            will = self._will()
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        self._client = client
        client.connect_async(
            self._settings.host, self._settings.port, self._settings.keepalive_s, clean_start=True
        )
        client.loop_start()

    def _understand(self, raw: Any, mono_ms: int) -> Event | None:
        self._heard_ms = mono_ms
        match raw:
            case _Connack(ok=True):
                return self._is_up(raw, mono_ms)
            case _Connack():
                return self._end(f"refused: {raw.reason}", mono_ms)
            case _LoopEnd():
                return self._end(raw.why, mono_ms)
            case _Puback():
                handle = self._handles.pop(raw.mid, None)
                self._note_unheard(raw.reason)
                return None if handle is None else Acked([handle])
            case _Suback():
                log.warning(
                    "the broker refuses to let user %s read this site's ack or config (%s): without"
                    " ack nothing leaves the outbox; correct the broker's access list",
                    self._settings.username or "(none)", raw.why,
                )  # fmt: skip
                return None
            case Arrived():
                return raw
        return None

    def _is_up(self, connack: _Connack, mono_ms: int) -> Event:
        self._up = True
        self.connections += 1
        self._opened_ms = mono_ms
        if self.connections == 1 or self._said_away:
            log.info("connected to the broker at %s", self._settings.address)
        self._said_away = False
        return Connected(connack.session_present, connack.receive_maximum)

    def _end(self, why: str, mono_ms: int) -> Ended:
        was_up, client = self._up, self._client
        self._client, self._up = None, False
        self._generation += 1
        self._handles.clear()
        if client is not None:
            client.abandon()
        if was_up and mono_ms - self._opened_ms >= STEADY_MS:
            self._backoff.reset()
        self._due_ms = mono_ms + self._backoff.next_ms()
        self._report_end(why, was_up, mono_ms)
        return Ended(why, was_up)

    def _report_end(self, why: str, was_up: bool, mono_ms: int) -> None:
        if not self._said_away:
            self._said_away = True
            what = "connection to the broker lost" if was_up else "cannot reach the broker"
            log.warning(
                "%s at %s (%s): recording goes on, trying again quietly",
                what, self._settings.address, why,
            )  # fmt: skip
        if not was_up:
            return
        if mono_ms - self._opened_ms < STEADY_MS:
            self._losses.append(mono_ms)
        full = len(self._losses) == self._losses.maxlen
        if full and mono_ms - self._losses[0] <= 60_000 and not self._said_clash:
            self._said_clash = True
            log.warning(
                "thrown out %d times within a minute: another client probably uses the id %s;"
                " stop the second agent of this site or set broker.client_id",
                len(self._losses), self.client_id,
            )  # fmt: skip

    def _note_unheard(self, reason: int) -> None:
        if reason == NO_MATCHING_SUBSCRIBERS and not self._said_unheard:
            self._said_unheard = True
            log.warning("the broker knows no hub that listens: messages stay in the outbox")


# -- what paho's thread tells us -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Connack:
    ok: bool
    reason: str
    session_present: bool
    receive_maximum: int | None


@dataclass(frozen=True, slots=True)
class _LoopEnd:
    why: str


@dataclass(frozen=True, slots=True)
class _Puback:
    mid: int
    reason: int


@dataclass(frozen=True, slots=True)
class _Suback:
    why: str


class _Client(mqtt.Client):
    """A paho client for one connection, whose thread cannot end without a word."""

    def __init__(
        self, settings: BrokerSettings, client_id: str, tell: Callable[[object], None]
    ) -> None:
        five = settings.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else True,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self.tell = tell
        self._trouble = ""
        self._abandoned = False
        if settings.username:
            self.username_pw_set(settings.username, settings.password or None)
        self.reconnect_delay_set(0, 0)
        self.max_queued_messages_set(1_000)
        # Plain functions: a bound method would tie a dead client to itself and keep its sockets open.
        self.on_socket_open = _on_socket_open
        self.on_connect = _on_connack
        self.on_publish = _on_puback
        self.on_subscribe = _on_suback
        self.on_message = _on_arrival

    def reconnect(self) -> MQTTErrorCode:
        """paho hides why a connection failed; remember it."""
        try:
            code = super().reconnect()
        except OSError as error:
            self._trouble = str(error)
            raise
        if self._abandoned:
            self.abandon()
        return code

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        why = "unknown"
        try:
            code = super().loop_forever(timeout, retry_first_connection)
            why = self._trouble or mqtt.error_string(code)
            return code
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self.tell(_LoopEnd(why))

    def hang_up(self, timeout_s: float) -> None:
        """DISCONNECT, then wait for the thread, but not for ever: paho's own stop may."""
        self.disconnect()
        stopper = threading.Thread(target=self.loop_stop, daemon=True)
        stopper.start()
        stopper.join(timeout_s)
        if stopper.is_alive():
            self.abandon()

    def abandon(self) -> None:
        """Cut the line without a DISCONNECT, so that the broker speaks the will.

        One that is still connecting is cut as soon as it has a line to cut.
        """
        self._abandoned = True
        sock = self.socket()
        if sock is not None:
            with suppress(OSError, AttributeError):
                sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]


def _on_socket_open(_c: mqtt.Client, _u: Any, sock: Any) -> None:
    """Small packets at once: Nagle's algorithm and delayed TCP acknowledgements cost 40 ms each."""
    with suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _on_connack(
    client: Any, _u: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, props: Properties | None
) -> None:
    maximum = getattr(props, "ReceiveMaximum", None)
    client.tell(_Connack(not reason.is_failure, str(reason), flags.session_present, maximum))


def _on_puback(client: Any, _u: Any, mid: int, reason: ReasonCode, _p: Properties) -> None:
    client.tell(_Puback(mid, reason.value))


def _on_suback(client: Any, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
    refused = [str(reason) for reason in reasons if reason.is_failure]
    if refused:
        client.tell(_Suback(refused[0]))


def _on_arrival(client: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
    client.tell(Arrived(message.topic, bytes(message.payload), message.retain))


def tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    """The TLS side of the settings; None without TLS."""
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except OSError as error:
        raise SettingsError(
            f"broker: the TLS files cannot be used ({error})",
            "check ca_file, cert_file and key_file",
        ) from None
    return context


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
