"""The shared schema: what travels between an agent and a hub, and nothing else does.

Topics are ``pumpwatch/v1/{tenant}/{site}/{channel}``. A payload is UTF-8 JSON of at most
`MAX_PAYLOAD` bytes. A missing value is ``null``, an absent signal an absent key; NaN and infinities
exist neither on the way out nor on the way in. Times are epoch milliseconds, UTC.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from pumpwatch_edge.errors import InvalidMessage
from pumpwatch_edge.source import Edge, Reading

SCHEMA = 1
QOS = 1
MAX_PAYLOAD = 60 * 1024
MAX_SAMPLES = 500
HEADER_ROOM = 256
"""Bytes kept free in a stored record for what is added when it is published."""
MAX_BODY = MAX_PAYLOAD - HEADER_ROOM
MAX_TIME_MS = 253_402_300_800_000
"""The year 10000: a time beyond it is an error of units."""

ID_PATTERN = r"[a-z0-9-]{1,64}"
SIGNAL_PATTERN = r"[a-z][a-z0-9_]{0,63}"
_ID = re.compile(ID_PATTERN)
_SIGNAL = re.compile(SIGNAL_PATTERN)
_TOPIC = re.compile(rf"pumpwatch/v1/({ID_PATTERN})/({ID_PATTERN})/(.+)")


class Lane(StrEnum):
    """Events travel before bulk; each lane counts its own ``seq`` from 1."""

    TELEMETRY = "telemetry"
    EVENT = "event"


class Channel(StrEnum):
    """The last part of a topic."""

    TELEMETRY = "telemetry"
    EVENT = "event"
    STATUS = "status"
    ACK = "ack"
    CONFIG = "config"
    CONFIG_REPORTED = "config/reported"


class Clock(StrEnum):
    """How far the agent's clock can be trusted."""

    NTP = "ntp"
    RTC = "rtc"
    UNSYNCED = "unsynced"


RETAINED = frozenset({Channel.STATUS, Channel.ACK, Channel.CONFIG, Channel.CONFIG_REPORTED})


# -- topics --------------------------------------------------------------------------------------


class Address(NamedTuple):
    """What a topic says."""

    tenant: str
    site: str
    channel: Channel


def topic(tenant: str, site: str, channel: Channel | str) -> str:
    """The topic of ``channel``; raises `InvalidMessage` for an id that may not stand in one."""
    return f"pumpwatch/v1/{check_id(tenant, 'tenant')}/{check_id(site, 'site')}/{Channel(channel)}"


def parse_topic(text: str) -> Address:
    """The parts of a topic of ours; raises `InvalidMessage` for any other."""
    found = _TOPIC.fullmatch(text)
    if found is None or found[3] not in set(Channel):
        raise InvalidMessage(
            "topic", f"{text!r} is not one of ours", "use pumpwatch/v1/{tenant}/{site}/{channel}"
        )
    return Address(found[1], found[2], Channel(found[3]))


def check_id(value: str, name: str) -> str:
    """``value`` if it may stand in a topic, else `InvalidMessage` naming ``name``."""
    if not _ID.fullmatch(value):
        raise InvalidMessage(name, f"{value!r} is not an id", "use 1 to 64 of a-z, 0-9 and '-'")
    return value


def check_signal(name: str) -> str:
    """``name`` if it may name a signal, else `InvalidMessage`."""
    if not isinstance(name, str) or not _SIGNAL.fullmatch(name):
        raise InvalidMessage(
            "signals", f"{name!r} is not a signal name", "use a-z, 0-9 and '_', e.g. level_m"
        )
    return name


# -- nouns ---------------------------------------------------------------------------------------


class Body(NamedTuple):
    """The immutable part of a message, as the outbox keeps it: a JSON object without its stamp."""

    lane: Lane
    rows: int
    text: bytes


class Record(NamedTuple):
    """A body with its place in the outbox."""

    seq: int
    rows: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """What the hub has on disk: per lane the seq up to which nothing is missing."""

    epoch: str
    telemetry: int
    event: int

    def up_to(self, lane: Lane) -> int:
        return self.telemetry if lane is Lane.TELEMETRY else self.event


@dataclass(frozen=True, slots=True)
class Plan:
    """How readings become messages.

    ``period_s`` thins readings to one per period (None: every reading). ``dead_band`` maps a signal
    to the change [its unit] below which a row says nothing new; with any dead band set, rows
    without news are left out, but one is sent at least every ``heartbeat_s``. A message is closed
    with ``batch_samples`` rows or after ``batch_age_s``.
    """

    period_s: float | None = None
    dead_band: Mapping[str, float] = field(default_factory=dict)
    heartbeat_s: float = 60.0
    batch_samples: int = MAX_SAMPLES
    batch_age_s: float = 30.0

    def __post_init__(self) -> None:
        for name, low in [("period_s", 0.0), ("heartbeat_s", 0.0), ("batch_age_s", -1.0)]:
            value = getattr(self, name)
            if value is None and name == "period_s":
                continue
            if not _is_number(value) or not low < value <= 86_400:
                raise InvalidMessage(
                    name, f"{value!r} cannot be used", "give seconds, at most 86400"
                )
        if not _is_int(self.batch_samples) or not 1 <= self.batch_samples <= MAX_SAMPLES:
            raise InvalidMessage(
                "batch_samples", f"{self.batch_samples!r} cannot be used", "give 1 to 500"
            )
        if not isinstance(self.dead_band, Mapping):
            raise InvalidMessage("dead_band", "not a table", 'write {"level_m": 0.005}')
        for name, band in self.dead_band.items():
            check_signal(name)
            if not _is_number(band) or band < 0:
                raise InvalidMessage(
                    f"dead_band.{name}", f"{band!r} cannot be used", "give a number >= 0"
                )


# -- up: telemetry and events --------------------------------------------------------------------


def telemetry_bodies(readings: Sequence[Reading], boot: str, clock: Clock) -> list[Body]:
    """Readings in columns, in as few bodies as the limits on samples and bytes allow.

    Raises `InvalidMessage` for a value that is no finite number, a name that is no signal, a time
    that is none, and a single reading that does not fit into a message.
    """
    bodies: list[Body] = []
    for start in range(0, len(readings), MAX_SAMPLES):
        _split(readings[start : start + MAX_SAMPLES], boot, clock, bodies)
    return bodies


def _split(readings: Sequence[Reading], boot: str, clock: Clock, bodies: list[Body]) -> None:
    text = _columns(readings, boot, clock)
    if len(text) <= MAX_BODY:
        bodies.append(Body(Lane.TELEMETRY, len(readings), text))
    elif len(readings) > 1:
        middle = len(readings) // 2
        _split(readings[:middle], boot, clock, bodies)
        _split(readings[middle:], boot, clock, bodies)
    else:
        raise InvalidMessage(
            "signals", f"one reading takes {len(text)} bytes", f"send at most {MAX_BODY}"
        )


def _columns(readings: Sequence[Reading], boot: str, clock: Clock) -> bytes:
    times = [reading.t_ms for reading in readings]
    rows = [reading.values for reading in readings]
    names = dict.fromkeys(rows[0])
    for row in rows:
        if row.keys() != names.keys():
            names.update(dict.fromkeys(row))
    signals = {check_signal(name): [row.get(name) for row in rows] for name in names}
    if set(map(type, times)) != {int} or min(times) < 0 or max(times) >= MAX_TIME_MS:
        raise InvalidMessage("t", "not all are epoch milliseconds", "stamp readings in UTC ms")
    for name, column in signals.items():
        kinds = set(map(type, column))
        too_long = int in kinds and max(map(abs, filter(None, column)), default=0) > _MAX_NUMBER
        if too_long or not kinds <= _VALUE_TYPES:
            raise InvalidMessage(
                f"signals.{name}", "holds something other than numbers", "send numbers or null"
            )
    return encode_body({"boot": boot, "clock": clock, "t": times, "signals": signals})


def encode_body(content: Mapping[str, Any]) -> bytes:
    """The text of a body from its parts, as `telemetry_bodies` writes it."""
    return _dump(content, "signals")


def event_body(edge: Edge, boot: str, clock: Clock) -> Body:
    """One edge. Raises `InvalidMessage` as `telemetry_bodies` does."""
    check_signal(edge.signal)
    if not _is_int(edge.t_ms) or not 0 <= edge.t_ms < MAX_TIME_MS:
        raise InvalidMessage("t", f"{edge.t_ms!r} is not a time", "stamp edges in UTC ms")
    if not _is_number(edge.value):
        raise InvalidMessage("value", f"{edge.value!r} is not a finite number", "send a number")
    content = {
        "boot": boot,
        "clock": clock,
        "t": edge.t_ms,
        "signal": edge.signal,
        "value": edge.value,
    }
    return Body(Lane.EVENT, 1, _dump(content, "value"))


def stamped(record: Record, epoch: str, low: int, sent_ms: int) -> bytes:
    """The payload of a record: its body, and what is known only when it is published.

    ``low`` is the lowest seq the lane's outbox still holds, ``sent_ms`` the agent's clock now.
    """
    head = f'{{"schema":{SCHEMA},"epoch":"{epoch}","seq":{record.seq},"low":{low},"sent":{sent_ms},'
    return head.encode() + record.text[1:]


# -- up: status; down: ack, config ---------------------------------------------------------------


def encode_status(
    *,
    online: bool,
    boot: str,
    agent: str,
    epoch: str,
    signals: Mapping[str, Mapping[str, object]] | None = None,
    period_s: float | None = None,
    outbox: int = 0,
    outbox_percent: int = 0,
    thinned: int = 0,
    dropped: int = 0,
    reason: str = "",
) -> bytes:
    """Birth (online) or farewell. ``outbox`` counts records, ``outbox_percent`` is how full it is;
    ``thinned`` and ``dropped`` count the samples given up within minutes and altogether."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "online": online,
        "boot": boot,
        "agent": agent,
        "epoch": epoch,
    }
    if online:
        content |= {
            "signals": {check_signal(n): dict(d) for n, d in (signals or {}).items()},
            "period_s": period_s,
            "outbox": outbox,
            "outbox_percent": outbox_percent,
            "thinned": thinned,
            "dropped": dropped,
        }
    if reason:
        content["reason"] = reason
    return _dump(content, "status")


def encode_ack(ack: Ack) -> bytes:
    return _dump({"schema": SCHEMA, **asdict(ack)}, "ack")


def decode_ack(payload: bytes) -> Ack:
    """Raises `InvalidMessage` naming the field."""
    content = _load(payload)
    epoch = content.get("epoch")
    if not isinstance(epoch, str) or not epoch:
        raise InvalidMessage("epoch", "missing or not text", "send the epoch of the outbox")
    return Ack(epoch, _seq(content, Lane.TELEMETRY), _seq(content, Lane.EVENT))


def _seq(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidMessage(name, f"{value!r} is not a seq", "send an integer >= 0")
    return value


PLAN_FIELDS = ("period_s", "dead_band", "heartbeat_s", "batch_samples", "batch_age_s")


def encode_config(plan: Plan) -> bytes:
    """The desired sampling plan, whole."""
    return _dump({"schema": SCHEMA, **_plan_content(plan)}, "config")


def decode_config(payload: bytes, base: Plan) -> Plan:
    """``base`` with what the payload asks for. Raises `InvalidMessage` naming the field."""
    content = _load(payload)
    unknown = sorted(content.keys() - {"schema", *PLAN_FIELDS})
    if unknown:
        raise InvalidMessage(unknown[0], "unknown", f"known are {', '.join(PLAN_FIELDS)}")
    return replace(base, **{name: content[name] for name in PLAN_FIELDS if name in content})


def encode_reported(plan: Plan, error: str = "") -> bytes:
    """The plan in force; ``error`` says why a desired one was refused."""
    content = {"schema": SCHEMA, "ok": not error, **_plan_content(plan)}
    return _dump(content | ({"error": error} if error else {}), "config/reported")


def _plan_content(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "dead_band": dict(plan.dead_band)}


# -- strict JSON ---------------------------------------------------------------------------------

_MAX_NUMBER = sys.float_info.max
_VALUE_TYPES = {float, int, type(None)}
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


def _dump(content: Mapping[str, Any], name: str) -> bytes:
    try:
        return _encode(content).encode()
    except ValueError:
        raise InvalidMessage(
            name, "holds NaN or an infinity", "send null for what is not known"
        ) from None


def _load(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_PAYLOAD:
        raise InvalidMessage("payload", f"{len(payload)} bytes", f"send at most {MAX_PAYLOAD}")
    try:
        content = json.loads(payload.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
    except InvalidMessage:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("payload", f"not JSON ({error})", "send UTF-8 JSON") from None
    if not isinstance(content, dict):
        raise InvalidMessage("payload", "not an object", "send a JSON object")
    if content.get("schema") != SCHEMA or isinstance(content["schema"], bool):
        raise InvalidMessage(
            "schema", f"{content.get('schema')!r} is not {SCHEMA}", "update the agent or the hub"
        )
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidMessage("payload", f"{text} is not finite", "send null for what is not known")
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
