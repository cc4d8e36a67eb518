from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pumpwatch_edge.message import (
    Ack,
    Channel,
    Clock,
    Plan,
    Record,
    encode_ack,
    encode_config,
    encode_reported,
    encode_status,
    event_body,
    stamped,
    telemetry_bodies,
)
from pumpwatch_edge.schema import file_name, schema
from pumpwatch_edge.source import Edge, Reading

COMMITTED = Path(__file__).parents[2] / "edge" / "schema"

[BODY] = telemetry_bodies(
    [Reading(1, {"level_m": 0.5}), Reading(2, {"level_m": None})], "b", Clock.NTP
)
EVENT = event_body(Edge(1, "pump1_run", 1), "b", Clock.RTC)
SAMPLES: dict[Channel, list[bytes]] = {
    Channel.TELEMETRY: [stamped(Record(1, 2, BODY.text), "e", 1, 5)],
    Channel.EVENT: [stamped(Record(1, 1, EVENT.text), "e", 1, 5)],
    Channel.STATUS: [
        encode_status(online=True, boot="b", agent="0", epoch="e", period_s=10,
                      signals={"level_m": {"unit": "m", "min": 0, "max": 5}}),
        encode_status(online=False, boot="b", agent="0", epoch="e", reason="stopped"),
    ],
    Channel.ACK: [encode_ack(Ack("e", 0, 7))],
    Channel.CONFIG: [encode_config(Plan()), b'{"schema":1}'],
    Channel.CONFIG_REPORTED: [encode_reported(Plan(10, {"level_m": 0.01}), "why")],
}  # fmt: skip

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "integer": (int,), "number": (int, float), "null": (type(None),),
}  # fmt: skip


def violations(value: Any, rules: dict[str, Any], at: str = "$") -> list[str]:
    """The part of JSON Schema that ours uses."""
    found = []
    kinds = rules.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(
        isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        for kind in kinds
    ):
        return [f"{at}: not {kinds}"]
    if "const" in rules and value != rules["const"]:
        found.append(f"{at}: not {rules['const']}")
    if "enum" in rules and value not in rules["enum"]:
        found.append(f"{at}: not one of {rules['enum']}")
    if isinstance(value, str) and not re.search(rules.get("pattern", ""), value):
        found.append(f"{at}: does not match")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < rules.get("minimum", value) or value > rules.get("maximum", value):
            found.append(f"{at}: out of bounds")
        if value <= rules.get("exclusiveMinimum", value - 1):
            found.append(f"{at}: too small")
    if isinstance(value, list):
        if not rules.get("minItems", 0) <= len(value) <= rules.get("maxItems", len(value)):
            found.append(f"{at}: length")
        for item in value:
            found += violations(item, rules.get("items", {}), f"{at}[]")
    if isinstance(value, dict):
        found += [f"{at}: no {name}" for name in rules.get("required", []) if name not in value]
        for name, item in value.items():
            known = rules.get("properties", {}).get(name, rules.get("additionalProperties"))
            if known is None:
                found.append(f"{at}: {name} is not described")
            else:
                found += violations(item, known, f"{at}.{name}")
            if "propertyNames" in rules:
                found += violations(name, rules["propertyNames"], f"{at}.{name} as a name")
    return found


@pytest.mark.parametrize("channel", Channel)
def test_what_is_encoded_obeys_its_schema(channel: Channel) -> None:
    for payload in SAMPLES[channel]:
        assert violations(json.loads(payload), schema(channel)) == []


@pytest.mark.parametrize(
    ("channel", "content"),
    [
        ("telemetry", {"schema": 1, "epoch": "e", "seq": 0, "sent": 1, "t": [1], "signals": {}}),
        ("telemetry", {"schema": 1, "epoch": "e", "seq": 1, "sent": 1, "t": [], "signals": {}}),
        (
            "event",
            {"schema": 1, "epoch": "e", "seq": 1, "sent": 1, "t": 1, "signal": "X", "value": 1},
        ),
        ("ack", {"schema": 1, "epoch": "e", "telemetry": -1, "event": 0}),
        ("status", {"schema": 2, "online": True}),
    ],
)
def test_a_schema_can_be_broken(channel: str, content: dict[str, Any]) -> None:
    assert violations(content, schema(channel))


@pytest.mark.parametrize("channel", Channel)
def test_the_committed_copy_is_fresh(channel: Channel) -> None:
    """After a change: pumpwatch-edge schema --out edge/schema"""
    text = (COMMITTED / file_name(channel)).read_text(encoding="utf-8")

    assert text == json.dumps(schema(channel), indent=2) + "\n"


def test_nothing_else_lies_among_the_committed_copies() -> None:
    assert {file.name for file in COMMITTED.iterdir()} == {file_name(c) for c in Channel}
