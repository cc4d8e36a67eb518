"""The tables of docs/ are written from the code, and held fresh here; docs/wire.md is tried as well.

``python tests/docs/test_tables.py`` writes them anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pumpwatch.app.metrics import HubCollector, exposition
from pumpwatch.diagnosis.knobs import KNOBS
from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane, PoisonReason, Stamp
from pumpwatch.domain.ports import HubStatus
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import MAX_PUMPS, SIGNALS
from pumpwatch.domain.sites import Site
from pumpwatch.simulator.catalogue import FAULTS, HARMLESS, FaultKind
from pumpwatch.simulator.scenario import shipped
from pumpwatch.stores.inbox import BLIND_ARRIVALS
from pumpwatch.stores.memory import MemoryLedger, MemorySeries
from pumpwatch.transports.wire import MAX_AHEAD_MS, MAX_PAYLOAD_BYTES, decode
from pumpwatch_edge.message import (
    MAX_PAYLOAD,
    MAX_SAMPLES,
    RETAINED,
    Ack,
    Channel,
    decode_ack,
)
from pumpwatch_edge.schema import schema

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "wire.md"
NOW_MS = 1_763_607_700_000
UP = {Channel.TELEMETRY, Channel.EVENT, Channel.STATUS, Channel.CONFIG_REPORTED}


# -- the tables ------------------------------------------------------------------------------------


def rows(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def channels() -> str:
    cells = [
        [f"`{channel}`", "up" if channel in UP else "down", "yes" if channel in RETAINED else "no",
         schema(channel)["description"]]
        for channel in Channel
    ]  # fmt: skip
    return rows(["channel", "direction", "retained", "meaning"], cells)


def members(channel: Channel) -> str:
    described = schema(channel)
    cells = [
        [f"`{name}`", "yes" if name in described["required"] else "no", kind(rules),
         rules.get("description", "")]
        for name, rules in described["properties"].items()
    ]  # fmt: skip
    return rows(["member", "required", "value", "meaning"], cells)


def kind(rules: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "const" in rules:
        return f"`{rules['const']}`"
    if "enum" in rules:
        return " or ".join(f"`{word}`" for word in rules["enum"])
    words = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    text = " or ".join(words) + bounds(rules)
    if "items" in rules:
        text += f" of {kind(rules['items'])}"
    if "additionalProperties" in rules:
        inner = rules["additionalProperties"]
        held = ", ".join(f"`{name}`" for name in inner.get("properties", ()))
        text += f": signal → {held or kind(inner)}"
    return text


def bounds(rules: dict[str, Any]) -> str:
    said = [
        f"{word} {rules[name]}"
        for name, word in [
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"),
        ]
        if name in rules
    ]  # fmt: skip
    for unit, low, high in [("characters", "minLength", "maxLength"), ("", "minItems", "maxItems")]:
        if high in rules:
            said.append(f"{rules[low]} to {rules[high]} {unit}".strip())
    return f" ({', '.join(said)})" if said else ""


def signals() -> str:
    """One line for the first pump stands for all."""
    cells = [
        [f"`{s.name}`", s.unit, s.kind, f"{s.low:,g} to {s.high:,g}", s.en, s.ja]
        for s in SIGNALS.values()
        if not re.match(rf"pump[2-{MAX_PUMPS}]_", s.name)
    ]
    more = f"\n\n`pump2_…` to `pump{MAX_PUMPS}_…` are as `pump1_…`."
    return rows(["signal", "unit", "kind", "bounds", "English", "日本語"], cells) + more


class Hub:
    """A hub of one station of which everything is known."""

    def __init__(self) -> None:
        self.ledger, self.series = MemoryLedger(), MemorySeries()
        key = SiteKey("default", "mh0001")
        self.ledger.put_site(key, Site(key.site), LOCAL, NOW_MS)
        row = {"level_m": np.array([1.0]), "pump1_run": np.array([0.0])}
        self.series.write([(key, Chunk(np.array([NOW_MS], np.int64), row))], 1)

    def status(self) -> HubStatus:
        stages = [NOW_MS] * 5
        return HubStatus(NOW_MS, NOW_MS, True, *stages, {"assess": 0}, {"stored": 1})


def metrics() -> str:
    hub = Hub()
    text = exposition(HubCollector(hub.ledger, hub.ledger, hub.series, hub)).decode()
    cells = [
        [f"`{family.samples[0].name}`", ", ".join(family.samples[0].labels), family.documentation]
        for family in text_string_to_metric_families(text)
    ]
    return rows(["metric", "labels", "meaning"], cells)


def events(kinds: Mapping[str, FaultKind]) -> str:
    """What a scenario's event may be."""
    cells = [
        [f"`{k.code}`", k.en, k.ja, "a pump" if k.on_pump else "the station", took(k),
         "; ".join(f"`{n}` {p.default:g} {p.unit}".strip() + f" ({p.low:g} to {p.high:g}): {p.en}"
                   for n, p in k.params.items()),
         *([] if k.harmless else [", ".join(f"`{a}`" for a in k.alerts)])]
        for k in kinds.values()
    ]  # fmt: skip
    header = ["event", "English", "日本語", "befalls", "takes", "parameters", "alert"]
    return rows(header[: len(cells[0])], cells)


def took(kind: FaultKind) -> str:
    if kind.ramp_days:
        return f"{kind.ramp_days:g} days to breakdown"
    return "stays" if kind.lasts_h is None else f"{kind.lasts_h:g} h"


def knobs() -> str:
    cells = [
        [f"`{k.name}`", "on or off" if k.sort == "switch" else f"{k.low:g} to {k.high:g}", k.unit.en,
         k.label.en, k.raising.en]
        for k in KNOBS.values()
    ]  # fmt: skip
    return rows(["setting", "bounds", "unit", "what it is", "what raising it does"], cells)


def scenarios() -> str:
    return rows(["scenario", "what happens"], [[f"`{n}`", title] for n, title in shipped().items()])


def pictures() -> str:
    return "\n\n".join(
        f"**{k.en}** · {k.ja} (`{k.code}`)\n\n![{k.en}](images/simulator/{k.code}.svg)"
        for k in FAULTS.values()
    )


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "wire.md": {
        "channels": channels,
        "signals": signals,
        **{str(channel): partial(members, channel) for channel in Channel},
    },
    "operations.md": {"metrics": metrics},
    "tuning.md": {"knobs": knobs},
    "simulator.md": {
        "scenarios": scenarios,
        "faults": partial(events, FAULTS),
        "harmless": partial(events, HARMLESS),
        "pictures": pictures,
    },
}


def written_anew(page: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        marks = rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end -->)"
        text, found = re.subn(marks, f"{table()}\n".replace("\\", r"\\"), text, flags=re.S)
        assert found == 1, f"{page} has no place for {name}"
    return text


# -- the tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_fresh(page: str) -> None:
    """After a change: python tests/docs/test_tables.py"""
    assert (DOCS / page).read_text(encoding="utf-8") == written_anew(page)


def examples() -> list[Any]:
    sections = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return [
        pytest.param(title, block, id=title)
        for title, section in zip(sections[::2], sections[1::2], strict=True)
        for block in re.findall(r"^```json\n(.*?)^```", section, re.M | re.S)
    ]


@pytest.mark.parametrize(("channel", "block"), examples())
def test_an_example_is_what_the_schema_describes(channel: str, block: str) -> None:
    described = schema(channel)
    example = json.loads(block)

    assert set(described["required"]) <= example.keys() <= described["properties"].keys()


@pytest.mark.parametrize(
    ("channel", "block"), [e for e in examples() if e.values[0] in {*Lane, "status"}]
)
def test_the_hub_takes_the_example(channel: str, block: str) -> None:
    found = decode(f"pumpwatch/v1/default/mh0001/{channel}", block.encode(), NOW_MS)

    assert not hasattr(found, "reason"), found
    if channel in set(Lane):
        assert isinstance(found.stamp, Stamp)
        assert found.stamp.low == json.loads(block)["low"]


def test_a_member_nobody_knows_is_ignored() -> None:
    payload = {"schema": 1, "epoch": "e", "telemetry": 1, "event": 2, "news": [1]}
    assert decode_ack(json.dumps(payload).encode()) == Ack("e", 1, 2)
    event = {"schema": 1, "epoch": "e", "seq": 1, "sent": NOW_MS, "t": NOW_MS, "signal": "level_m"}
    found = decode(
        "pumpwatch/v1/default/mh0001/event",
        json.dumps({**event, "value": 1, "news": {}}).encode(),
        NOW_MS,
    )
    assert not hasattr(found, "reason"), found


def test_every_channel_has_an_example_or_is_a_plan() -> None:
    assert {e.values[0] for e in examples()} == {
        str(c) for c in Channel if c not in {Channel.CONFIG, Channel.CONFIG_REPORTED}
    }


def test_every_reason_for_refusal_is_listed_and_no_other() -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## What is refused")
    listed = re.findall(r"^\| `(\w+)` \|", section, re.M)

    assert sorted(listed) == sorted(PoisonReason)


def test_the_limits_it_names_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert f"at most {MAX_PAYLOAD // 1024} KiB and {MAX_SAMPLES} samples" in text
    assert f"up to {MAX_PAYLOAD_BYTES // 1024} KiB" in text
    assert f"more than {MAX_AHEAD_MS // 60_000} minutes ahead" in text
    assert {3: "three times"}[BLIND_ARRIVALS] in text


if __name__ == "__main__":
    for changed in PAGES:
        (DOCS / changed).write_text(written_anew(changed), encoding="utf-8")
