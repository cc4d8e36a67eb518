"""The wire as JSON Schema (draft 2020-12), one document a channel; copies stand in edge/schema/."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pumpwatch_edge.message import (
    ID_PATTERN,
    MAX_PAYLOAD,
    MAX_SAMPLES,
    MAX_TIME_MS,
    RETAINED,
    SCHEMA,
    SIGNAL_PATTERN,
    Channel,
    Clock,
)

_Schema = dict[str, Any]

_VERSION: _Schema = {"const": SCHEMA, "description": "Version of this schema."}
_SEQ: _Schema = {"type": "integer", "minimum": 1}
_TIME: _Schema = {
    "type": "integer",
    "minimum": 0,
    "exclusiveMaximum": MAX_TIME_MS,
    "description": "Epoch milliseconds, UTC.",
}
_EPOCH: _Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "description": "Born with the sender's outbox; a new one means that seq began anew.",
}
_BOOT: _Schema = {
    "type": "string",
    "description": "The start of the agent that made the record, or the last time its clock was set"
    " back; serves clock repair only.",
}
_CLOCK: _Schema = {"enum": [str(clock) for clock in Clock]}
_SIGNAL: _Schema = {"type": "string", "pattern": f"^{SIGNAL_PATTERN}$"}
_STAMP: dict[str, _Schema] = {
    "schema": _VERSION,
    "epoch": _EPOCH,
    "seq": _SEQ | {"description": "Number of the record in its lane's outbox, from 1."},
    "low": _SEQ | {"description": "Lowest seq the lane's outbox still holds."},
    "sent": _TIME | {"description": "The agent's clock when it published, epoch ms UTC."},
    "boot": _BOOT,
    "clock": _CLOCK,
}
_PLAN: dict[str, _Schema] = {
    "period_s": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 86400},
    "dead_band": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
    "heartbeat_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
    "batch_samples": {"type": "integer", "minimum": 1, "maximum": MAX_SAMPLES},
    "batch_age_s": {"type": "number", "minimum": 0, "maximum": 86400},
}
_MARK: _Schema = {
    "type": "integer",
    "minimum": 0,
    "description": "Up to this seq the hub has everything of the lane on disk.",
}

_CONTENT: dict[Channel, tuple[str, dict[str, _Schema], Iterable[str]]] = {
    Channel.TELEMETRY: (
        "A batch of samples in columns: every signal has one value per entry of t, null = missing.",
        _STAMP
        | {
            "t": {"type": "array", "items": _TIME, "minItems": 1, "maxItems": MAX_SAMPLES},
            "signals": {
                "type": "object",
                "propertyNames": _SIGNAL,
                "additionalProperties": {
                    "type": "array",
                    "items": {"type": ["number", "null"]},
                    "minItems": 1,
                    "maxItems": MAX_SAMPLES,
                },
            },
        },
        ("schema", "epoch", "seq", "sent", "t", "signals"),
    ),
    Channel.EVENT: (
        "A change of one signal, stamped on site and sent at once.",
        _STAMP | {"t": _TIME, "signal": _SIGNAL, "value": {"type": "number"}},
        ("schema", "epoch", "seq", "sent", "t", "signal", "value"),
    ),
    Channel.STATUS: (
        "Birth when the agent connects; the farewell, or the will spoken by the broker, when it goes.",
        {
            "schema": _VERSION,
            "online": {"type": "boolean"},
            "boot": _BOOT,
            "agent": {"type": "string", "description": "Version of the agent."},
            "epoch": _EPOCH,
            "signals": {
                "type": "object",
                "propertyNames": _SIGNAL,
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "unit": {"type": "string"},
                        "kind": {"enum": ["analog", "state", "counter"]},
                        "min": {"type": "number"},
                        "max": {"type": "number"},
                    },
                },
            },
            "period_s": {"type": "number", "exclusiveMinimum": 0},
            "outbox": {"type": "integer", "minimum": 0, "description": "Records waiting."},
            "outbox_percent": {
                "type": "integer",
                "minimum": 0,
                "description": "How full the outbox is; at 100 old telemetry is thinned.",
            },
            "thinned": {
                "type": "integer",
                "minimum": 0,
                "description": "Samples given up since the epoch began, of minutes that keep others.",
            },
            "dropped": {
                "type": "integer",
                "minimum": 0,
                "description": "Samples of records given up whole, also the last of their minutes.",
            },
            "reason": {"type": "string", "description": "Why the agent is offline."},
        },
        ("schema", "online"),
    ),
    Channel.ACK: (
        "The hub's durable watermark per lane; the agent deletes nothing above it.",
        {"schema": _VERSION, "epoch": _EPOCH, "telemetry": _MARK, "event": _MARK},
        ("schema", "epoch", "telemetry", "event"),
    ),
    Channel.CONFIG: (
        "The desired sampling plan; what is absent stays as it is set on site.",
        {"schema": _VERSION} | _PLAN,
        ("schema",),
    ),
    Channel.CONFIG_REPORTED: (
        "The sampling plan in force, and why a desired one was refused.",
        {"schema": _VERSION, "ok": {"type": "boolean"}, "error": {"type": "string"}} | _PLAN,
        ("schema", "ok", *_PLAN),
    ),
}


def schema(channel: Channel | str) -> dict[str, Any]:
    """The JSON Schema of one channel's payload."""
    channel = Channel(channel)
    description, properties, required = _CONTENT[channel]
    retained = "retained" if channel in RETAINED else "not retained"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:pumpwatch:v1:{str(channel).replace('/', ':')}",
        "title": f"pumpwatch {channel}",
        "description": description,
        "$comment": (
            f"Topic pumpwatch/v1/{{tenant}}/{{site}}/{channel}, ids ^{ID_PATTERN}$, QoS 1, {retained};"
            f" at most {MAX_PAYLOAD} bytes of UTF-8 JSON; NaN and infinities are refused."
        ),
        "type": "object",
        "properties": properties,
        "required": list(required),
    }


def file_name(channel: Channel) -> str:
    return f"{str(channel).replace('/', '-')}.schema.json"
