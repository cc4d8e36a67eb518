"""Bytes from the broker → a sound message, or poison that says why. Nothing in here ever raises.

The happy path is msgspec's and numpy's; only when they refuse is a payload read again, slowly, to
find the one line that names what is wrong and what to do.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn, TypeGuard, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import (
    Birth,
    EdgeEvent,
    Lane,
    Message,
    Poison,
    PoisonReason,
    Stamp,
    Telemetry,
)
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.signals import SIGNALS, SignalKind
from pumpwatch_edge.errors import InvalidMessage
from pumpwatch_edge.message import MAX_SAMPLES, MAX_TIME_MS, SCHEMA, Ack, Channel, parse_topic
from pumpwatch_edge.message import encode_ack as encode_edge_ack
from pumpwatch_edge.message import topic as topic_of

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_AHEAD_MS = 5 * MINUTE_MS
EARLIEST_MS = 1_420_070_400_000
"""2015-01-01: no sample is older; a clock that says so has lost its battery."""
MAX_SEQ = 2**63 - 1
_EPOCH = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_WORD = 64
_MAX_TOPIC = 256
_REMEMBERED = 16_384
"""Topics and epochs that were looked at already: of a large town all, of made-up ones few megabytes."""
_LANES = {Channel.TELEMETRY: Lane.TELEMETRY, Channel.EVENT: Lane.EVENT}
_UP = {*_LANES, Channel.STATUS}

Number = float | None


class _Record(msgspec.Struct, gc=False):
    schema: int
    epoch: str
    seq: int
    sent: int = 0
    boot: str = ""
    clock: str = ""
    low: int | None = None
    site: str | None = None
    tenant: str | None = None


class _Telemetry(_Record, kw_only=True, gc=False):
    t: list[int]
    signals: dict[str, list[Number]]


class _BoolTelemetry(_Record, kw_only=True, gc=False):
    t: list[int]
    signals: dict[str, list[Number | bool]]


class _Event(_Record, kw_only=True, gc=False):
    t: int
    signal: str
    value: float | bool


class _Status(msgspec.Struct):
    schema: int
    online: bool
    boot: str = ""
    agent: str = ""
    signals: dict[str, dict[str, Any]] = {}
    period_s: float | None = None
    outbox: int = 0
    site: str | None = None
    tenant: str | None = None


_telemetry = msgspec.json.Decoder(_Telemetry)
_bool_telemetry = msgspec.json.Decoder(_BoolTelemetry)
_event = msgspec.json.Decoder(_Event)
_status = msgspec.json.Decoder(_Status)


class _Refused(Exception):
    def __init__(self, reason: PoisonReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def ack_topic(key: SiteKey) -> str:
    """Where the watermark of a site is published, retained."""
    return topic_of(key.tenant, key.site, Channel.ACK)


def encode_ack(epoch: str, telemetry: int, event: int) -> bytes:
    """The payload of a watermark: everything up to these seqs is on the hub's disk."""
    return encode_edge_ack(Ack(epoch, telemetry, event))


def decode(topic: str, payload: bytes, now_ms: int) -> Message | Poison:
    """Read one message as it was received at ``now_ms``, the same way every time.

    Values outside their signal's bounds become NaN and are counted; everything else that does not
    hold makes the whole payload poison, with its stamp where that can still be read.
    """
    return _judge(topic, payload, now_ms, _READ)


def inspect(topic: str, payload: bytes, now_ms: int) -> Stamp | Birth | Poison:
    """The verdict of `decode` without the arrays: what the door needs, in a fraction of the time."""
    return _judge(topic, payload, now_ms, _CHECK)


_Out = TypeVar("_Out")


def _judge(
    topic: str,
    payload: bytes,
    now_ms: int,
    readers: Mapping[Channel, Callable[[SiteKey, bytes, int], _Out]],
) -> _Out | Poison:
    place = _place(topic) if len(topic) <= _MAX_TOPIC else None
    if place is None:
        return Poison(
            _printable(topic[:_MAX_TOPIC]),
            payload,
            PoisonReason.TOPIC,
            f"topic {_short(topic)}: not pumpwatch/v1/TENANT/SITE/(telemetry|event|status) with ids "
            "of 1 to 64 a-z, 0-9, '-': correct the sender's tenant and site",
        )
    key, channel = place
    try:
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise _Refused(
                PoisonReason.TOO_LARGE,
                f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES} are taken; "
                "send fewer samples in a message",
            )
        return readers[channel](key, payload, now_ms)
    except _Refused as refused:
        lane = _LANES.get(channel)
        stamp = None if lane is None else _salvage_stamp(key, lane, payload)
        detail = _printable(f"{key} {channel}: {refused.detail}")
        return Poison(topic, payload, refused.reason, detail, key, stamp)


@lru_cache(maxsize=_REMEMBERED)
def _place(topic: str) -> tuple[SiteKey, Channel] | None:
    try:
        tenant, site, channel = parse_topic(topic)
    except InvalidMessage:
        return None
    return (SiteKey(tenant, site), channel) if channel in _UP else None


# -- the three channels --------------------------------------------------------------------------


def _check_telemetry(
    key: SiteKey, payload: bytes, now_ms: int
) -> tuple[Stamp, _Telemetry | _BoolTelemetry]:
    raw: _Telemetry | _BoolTelemetry
    try:
        raw = _telemetry.decode(payload)
    except (ValueError, RecursionError) as error:
        raw = _telemetry_with_booleans(payload, error)
    stamp = _stamp(key, Lane.TELEMETRY, raw)
    n = len(raw.t)
    if not 1 <= n <= MAX_SAMPLES:
        _refuse(f"t: {n} samples in one message; send 1 to {MAX_SAMPLES}")
    for name, column in raw.signals.items():
        if len(column) != n:
            _refuse(f"signals.{_name(name)}: {len(column)} values for {n} times; send one for each")
    in_order = sorted(raw.t)
    if in_order[0] < EARLIEST_MS or in_order[-1] > now_ms + MAX_AHEAD_MS:
        _refuse_times(in_order[0], in_order[-1], now_ms)
    return stamp, raw


def _read_telemetry(key: SiteKey, payload: bytes, now_ms: int) -> Telemetry:
    stamp, raw = _check_telemetry(key, payload, now_ms)
    n = len(raw.t)
    t_ms = np.array(raw.t, dtype=np.int64)
    known = tuple(name for name in raw.signals if name in SIGNALS)
    low, high = _bounds(known)
    rows = np.array([raw.signals[name] for name in known], dtype=np.float64).reshape(-1, n)
    outside = (rows < low) | (rows > high)
    out_of_range = int(np.count_nonzero(outside))
    if out_of_range:
        rows[outside] = np.nan
    unknown = {name: raw.signals[name] for name in raw.signals if name not in SIGNALS}
    if n > 1 and not (t_ms[1:] >= t_ms[:-1]).all():
        order = np.argsort(t_ms, kind="stable")
        t_ms, rows = t_ms[order], rows[:, order]
        unknown = {name: [column[i] for i in order] for name, column in unknown.items()}
    chunk = Chunk(t_ms, dict(zip(known, rows, strict=True)))
    return Telemetry(stamp, chunk, unknown, out_of_range)


def _telemetry_with_booleans(payload: bytes, error: Exception) -> _BoolTelemetry:
    """A state may be sent as true and false; any other refusal of the strict reading stands."""
    try:
        raw = _bool_telemetry.decode(payload)
    except (ValueError, RecursionError):
        _explain(payload, error)
    for name, column in raw.signals.items():
        booleans = any(value is True or value is False for value in column)
        if booleans and name in SIGNALS and SIGNALS[name].kind is not SignalKind.STATE:
            _refuse(f"signals.{name}: true or false where a number is needed; send numbers or null")
        if booleans:
            raw.signals[name] = [None if value is None else float(value) for value in column]
    return raw


def _read_event(key: SiteKey, payload: bytes, now_ms: int) -> EdgeEvent:
    try:
        raw = _event.decode(payload)
    except (ValueError, RecursionError) as error:
        _explain(payload, error)
    stamp = _stamp(key, Lane.EVENT, raw)
    if not EARLIEST_MS <= raw.t <= now_ms + MAX_AHEAD_MS:
        _refuse_times(raw.t, raw.t, now_ms)
    signal = SIGNALS.get(raw.signal)
    value = float(raw.value)
    if signal is not None and not signal.low <= value <= signal.high:
        _refuse(
            f"value: {value:g} of {signal.name} is outside {signal.low:g} to {signal.high:g}; "
            "correct the input's scaling or wiring"
        )
    return EdgeEvent(stamp, Edge(raw.t, raw.signal, value), known=signal is not None)


def _read_status(key: SiteKey, payload: bytes, _now_ms: int) -> Birth:
    if not payload:  # a retained status taken away: the site was decommissioned at the broker
        return Birth(key, online=False)
    try:
        raw = _status.decode(payload)
    except (ValueError, RecursionError) as error:
        _explain(payload, error)
    _check_schema(raw.schema)
    _check_site(key, raw.tenant, raw.site)
    if raw.period_s is not None and raw.period_s <= 0:
        _refuse(f"period_s: {raw.period_s:g} is not positive; send the sampling period in seconds")
    if not 0 <= raw.outbox <= MAX_SEQ:
        _refuse("outbox: not a count; send the number of messages that wait")
    signals = {
        name: {
            k: v
            for k, v in plan.items()
            if isinstance(v, str | float | bool) or _is_count(v, MAX_SEQ)
        }
        for name, plan in raw.signals.items()
    }
    boot, agent = raw.boot[:_MAX_WORD], raw.agent[:_MAX_WORD]
    return Birth(key, raw.online, boot, agent, signals, raw.period_s, raw.outbox)


_READ: dict[Channel, Callable[[SiteKey, bytes, int], Message]] = {
    Channel.TELEMETRY: _read_telemetry,
    Channel.EVENT: _read_event,
    Channel.STATUS: _read_status,
}
_CHECK: dict[Channel, Callable[[SiteKey, bytes, int], Stamp | Birth]] = {
    Channel.TELEMETRY: lambda key, payload, now_ms: _check_telemetry(key, payload, now_ms)[0],
    Channel.EVENT: lambda key, payload, now_ms: _read_event(key, payload, now_ms).stamp,
    Channel.STATUS: _read_status,
}


# -- what must hold ------------------------------------------------------------------------------


def _stamp(key: SiteKey, lane: Lane, raw: _Record) -> Stamp:
    epoch, seq, low, sent, boot, clock = (
        raw.epoch, raw.seq, raw.low, raw.sent, raw.boot, raw.clock,
    )  # fmt: skip
    _check_schema(raw.schema)
    if raw.tenant is not None or raw.site is not None:
        _check_site(key, raw.tenant, raw.site)
    if not _is_epoch(epoch):
        _refuse(f"epoch: {_short(epoch)} is not 1 to 64 letters and digits; renew the outbox")
    if not 1 <= seq <= MAX_SEQ:
        _refuse(f"seq: {_short(seq)} is not a count from 1; renew the sender's outbox")
    if low is not None and not 1 <= low <= seq:
        _refuse(f"low: {_short(low)} is not 1 to seq {seq}; send the lowest seq still held")
    if not 0 <= sent <= MAX_SEQ:
        _refuse(f"sent: {_short(sent)} is no time; send epoch milliseconds")
    if len(boot) > _MAX_WORD or len(clock) > _MAX_WORD:
        _refuse(f"boot, clock: at most {_MAX_WORD} characters each")
    return Stamp(key, epoch, lane, seq, sent, boot, clock, low)


@lru_cache(maxsize=_REMEMBERED)
def _is_epoch(text: str) -> bool:
    return _EPOCH.fullmatch(text) is not None


def _check_schema(schema: int) -> None:
    if schema != SCHEMA:
        _refuse(f"schema: {_short(schema)} is not {SCHEMA}; bring agent and hub to one version")


def _check_site(key: SiteKey, tenant: str | None, site: str | None) -> None:
    if tenant is None and site is None:
        return
    said = SiteKey(tenant or key.tenant, site or key.site)
    if said != key:
        raise _Refused(
            PoisonReason.MISMATCH,
            f"site: the payload says {_short(str(said))}, the topic {key}; "
            "correct the agent's site or stop the sender that uses another's topic",
        )


def _refuse_times(first_ms: int, last_ms: int, now_ms: int) -> NoReturn:
    if last_ms > now_ms + MAX_AHEAD_MS:
        when = iso_utc(last_ms) if last_ms < MAX_TIME_MS else _short(last_ms)
        raise _Refused(
            PoisonReason.FUTURE,
            f"t: {when} is more than 5 minutes ahead of the hub; set the sender's clock",
        )
    _refuse_time(f"t: {_short(first_ms)} ms is before 2015; set the sender's clock")


def _refuse(detail: str) -> NoReturn:
    raise _Refused(PoisonReason.SCHEMA, detail)


def _refuse_time(detail: str) -> NoReturn:
    raise _Refused(PoisonReason.TIME, detail)


@lru_cache(maxsize=4_096)
def _bounds(names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest sound value of each signal, as columns (k, 1)."""
    low = np.array([SIGNALS[name].low for name in names], dtype=np.float64)
    high = np.array([SIGNALS[name].high for name in names], dtype=np.float64)
    return low[:, None], high[:, None]


# -- why not -------------------------------------------------------------------------------------


def _explain(payload: bytes, error: Exception) -> NoReturn:
    """Find out what the fast reading stumbled over, and say it in one line."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as broken:
        raise _Refused(
            PoisonReason.ENCODING, f"byte {broken.start}: not UTF-8; send JSON in UTF-8"
        ) from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as broken:
        problem = "nested too deeply" if isinstance(broken, RecursionError) else str(broken)
        raise _Refused(
            PoisonReason.JSON, f"not JSON ({problem}); send one whole JSON object"
        ) from None
    if not isinstance(value, dict):
        raise _Refused(PoisonReason.SCHEMA, "not a JSON object; send one whole JSON object")
    for path, leaf in _leaves(value):
        if isinstance(leaf, int | float) and not _finite(leaf):
            raise _Refused(
                PoisonReason.NOT_FINITE,
                f"{path}: not a finite number; send null where there is no value",
            )
    for name, column in _columns(value):
        for i, leaf in enumerate(column):
            if leaf is not None and not isinstance(leaf, int | float):
                _refuse(f"signals.{_name(name)}[{i}]: {_short(leaf)} is not a number or null")
    if not isinstance(error, msgspec.ValidationError):
        raise _Refused(PoisonReason.JSON, f"not JSON ({error}); send one whole JSON object")
    problem, _, place = str(error).partition(" - at `$")
    _refuse(f"{place.rstrip('`').lstrip('.') or 'payload'}: {problem}; see the message schema")


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every scalar with its place; json.loads has already limited the depth."""
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{path}.{_name(k)}".lstrip("."), v) for k, v in value.items()]
        elif isinstance(value, list):
            stack += [(f"{path}[{i}]", v) for i, v in enumerate(value)]
        else:
            yield path, value


def _columns(value: Mapping[str, Any]) -> Iterable[tuple[str, Sequence[Any]]]:
    signals = value.get("signals")
    if isinstance(signals, dict):
        yield from ((name, column) for name, column in signals.items() if isinstance(column, list))


def _finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the largest float
        return False


def _name(text: str) -> str:
    return text if re.fullmatch(r"\w{1,64}", text) else _short(text)


def _short(value: object, limit: int = 60) -> str:
    text = repr(value) if isinstance(value, str) else _digits(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def _digits(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a number of thousands of digits"


def _printable(text: str) -> str:
    """What any store and terminal takes: lone surrogates and control characters spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# -- the stamp of a poisonous payload ------------------------------------------------------------

_MEMBER = re.compile(rb'\s*"(\w{1,16})"\s*:\s*(?:"([A-Za-z0-9._-]{0,64})"|(-?\d{1,19}))\s*,')


def _salvage_stamp(key: SiteKey, lane: Lane, payload: bytes) -> Stamp | None:
    """The stamp, if the payload as a whole or at least its head can still be read.

    Agents write the stamp before the columns, so its members stand at the head, where a truncation
    or a wrong value further on does not reach. A member counts only with the comma behind it: a
    number cut short is not a number.
    """
    try:
        found = json.loads(payload[:MAX_PAYLOAD_BYTES].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        found = _head(payload)
    if not isinstance(found, dict):
        return None
    epoch, seq = found.get("epoch"), found.get("seq")
    if not (isinstance(epoch, str) and _EPOCH.fullmatch(epoch) and _is_count(seq, MAX_SEQ)):
        return None
    sent, low = found.get("sent"), found.get("low")
    return Stamp(
        key,
        epoch,
        lane,
        seq,
        sent if _is_count(sent, MAX_SEQ) else 0,
        low=low if _is_count(low, seq) else None,
    )


def _is_count(value: object, most: int) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= most


def _head(payload: bytes) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    position = payload.find(b"{") + 1
    while position and (member := _MEMBER.match(payload, position)):
        name, text, number = member.groups()
        found[name.decode()] = int(number) if text is None else text.decode()
        position = member.end()
    return found
