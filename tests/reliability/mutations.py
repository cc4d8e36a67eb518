"""What can be wrong with a message: each function makes one kind of wrong from a valid one, by dice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Wire = tuple[str, bytes]
"""Topic and payload."""

NUMBERS = (
    "0", "-0", "-1", "1e309", "-1e309", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616",
    "1" * 400, "1" * 5_000, "-" + "9" * 40_000, "1." + "3" * 3_000, "1e-99999", "0x10", "01", "+1", "1_000",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, "", "1", "NaN", "\u0000", "\ud800", "第一", "a" * 5_000, [], {}, [None],
    [[1]], {"a": 1}, [True, False], 2**63, 2**64, -(2**63) - 1, 1e308,
)  # fmt: skip
TOPICS = (
    "", "/", "pumpwatch", "pumpwatch/v1", "pumpwatch/v2/default/a1/telemetry", "pumpwatch/v1/default/a1/ack",
    "pumpwatch/v1/default/a1/config", "pumpwatch/v1/DEFAULT/a1/telemetry", "pumpwatch/v1/default/a1/telemetry/x",
    "pumpwatch/v1//a1/telemetry", "pumpwatch/v1/default/+/telemetry", "pumpwatch/v1/#", "$SYS/broker/uptime",
    "pumpwatch/v1/default/" + "a" * 65 + "/event", "pumpwatch/v1/default/\u0000/event", "x" * 60_000,
    "pumpwatch/v1/default/..%2f/telemetry", "pumpwatch/v1/既定/a1/telemetry", "\ufffd" * 20,
)  # fmt: skip


@dataclass
class Wrong:
    """One valid message, and the dice."""

    dice: Random
    topic: str
    body: dict[str, Any]
    now_ms: int

    @property
    def payload(self) -> bytes:
        return json.dumps(self.body).encode()

    def with_raw(self, name: str, text: str) -> bytes:
        """The payload with a member's value written as ``text``, JSON or not."""
        return json.dumps({**self.body, name: "@"}).replace('"@"', text, 1).encode()

    def some_member(self) -> str:
        return self.dice.choice(list(self.body))


Mutation = Callable[[Wrong], bytes | Wire]


# -- bytes -----------------------------------------------------------------------------------------


def truncated(wrong: Wrong) -> bytes:
    payload = wrong.payload
    return payload[: wrong.dice.randrange(len(payload))]


def bits_flipped(wrong: Wrong) -> bytes:
    payload = bytearray(wrong.payload)
    for _ in range(wrong.dice.randint(1, 8)):
        payload[wrong.dice.randrange(len(payload))] ^= 1 << wrong.dice.randrange(8)
    return bytes(payload)


def spliced(wrong: Wrong) -> bytes:
    payload, dice = wrong.payload, wrong.dice
    start, end = sorted(dice.choices(range(len(payload) + 1), k=2))
    between = dice.choice([b"", dice.randbytes(dice.randint(1, 40)), payload[start:end] * 2])
    return payload[:start] + between + payload[end:]


def noise(wrong: Wrong) -> bytes:
    return wrong.dice.randbytes(wrong.dice.choice([0, 1, 2, 30, 2_000]))


def other_encoding(wrong: Wrong) -> bytes:
    text = wrong.payload.decode()
    named = text.replace('"schema"', '"名前": "第一", "schema"')
    return wrong.dice.choice(
        [
            text.encode("utf-16"), text.encode("utf-32-le"), b"\xef\xbb\xbf" + wrong.payload,
            named.encode("shift_jis"), named.encode("euc_jp"), text.encode("cp037"),
            wrong.payload.replace(b'"schema"', b'"\xed\xa0\x80": 1, "schema"'),
            wrong.payload.replace(b'"schema"', b'"\\ud800": 1, "\\u0000": "\\udfff", "schema"'),
        ]
    )  # fmt: skip


def oversized(wrong: Wrong) -> bytes:
    size = 2_000_000 if wrong.dice.random() < 0.01 else wrong.dice.choice([65_537, 70_000, 100_000])
    return json.dumps({**wrong.body, "extra": "x" * size}).encode()


# -- JSON ------------------------------------------------------------------------------------------


def wrong_type(wrong: Wrong) -> bytes:
    body = json.loads(wrong.payload)
    name = wrong.some_member()
    inner = body[name]
    if isinstance(inner, dict) and inner and wrong.dice.random() < 0.7:
        inside = wrong.dice.choice(list(inner))
        if isinstance(inner[inside], list) and inner[inside] and wrong.dice.random() < 0.7:
            inner[inside][wrong.dice.randrange(len(inner[inside]))] = wrong.dice.choice(JUNK)
        else:
            inner[inside] = wrong.dice.choice(JUNK)
    else:
        body[name] = wrong.dice.choice(JUNK)
    return json.dumps(body).encode()


def member_missing(wrong: Wrong) -> bytes:
    name = wrong.some_member()
    return json.dumps({k: v for k, v in wrong.body.items() if k != name}).encode()


def members_added(wrong: Wrong) -> bytes:
    dice = wrong.dice
    more = {f"x{dice.randrange(1000)}": dice.choice(JUNK) for _ in range(dice.randint(1, 50))}
    return json.dumps({**more, **wrong.body, **more}).encode()


def member_twice(wrong: Wrong) -> bytes:
    name = wrong.some_member()
    twice = f'"{name}": {wrong.dice.choice(NUMBERS)}'.encode()
    if wrong.dice.random() < 0.5:
        return b"{" + twice + b", " + wrong.payload[1:]
    return wrong.payload[:-1] + b", " + twice + b"}"


def nested(wrong: Wrong) -> bytes:
    depth = wrong.dice.choice([5, 100, 990, 1_100, 5_000, 20_000])
    left, right = wrong.dice.choice([("[", "]"), ('{"a":', "}")])
    closed = wrong.dice.random() < 0.7
    text = left * depth + ("1" + right * depth if closed else "")
    return wrong.with_raw(wrong.some_member(), text)


def brackets(wrong: Wrong) -> bytes:
    return wrong.dice.choice([b"[", b"{", b'[{"":', b'"', b"\\"]) * wrong.dice.choice(
        [60_000, 10_000, 100_000]
    )


def odd_number(wrong: Wrong) -> bytes:
    return wrong.with_raw(wrong.some_member(), wrong.dice.choice(NUMBERS))


def odd_value(wrong: Wrong) -> bytes:
    """A number in a column (or as the value of an edge) that no sensor can mean."""
    number = wrong.dice.choice(NUMBERS)
    if "signals" not in wrong.body or "t" not in wrong.body:
        return wrong.with_raw("value", number)
    name, n = wrong.dice.choice(["level_m", "pump1_run", "unheard_of"]), len(wrong.body["t"])
    column = ["1"] * n
    column[wrong.dice.randrange(n)] = number
    return wrong.with_raw("signals", f'{{"{name}": [{", ".join(column)}]}}')


# -- meaning ---------------------------------------------------------------------------------------


def unknown_major(wrong: Wrong) -> bytes:
    version = wrong.dice.choice(
        ['"1"', "1.5", "null", str(wrong.dice.randint(2, 10**6)), "0", "-1"]
    )
    return wrong.with_raw("schema", version)


def other_topic(wrong: Wrong) -> Wire:
    return wrong.dice.choice(TOPICS), wrong.payload


def other_channel(wrong: Wrong) -> Wire:
    stem = wrong.topic.rpartition("/")[0]
    return f"{stem}/{wrong.dice.choice(['telemetry', 'event', 'status'])}", wrong.payload


def other_tenant(wrong: Wrong) -> bytes:
    claim = {"tenant": wrong.dice.choice(["other-town", "demo", ""]), "site": "good-1"}
    return json.dumps({**wrong.body, **claim}).encode()


def stranger(wrong: Wrong) -> Wire:
    """Somebody nobody approved."""
    site = f"stranger-{wrong.dice.randrange(20)}"
    return f"pumpwatch/v1/other-town/{site}/telemetry", wrong.payload


def odd_times(wrong: Wrong) -> bytes:
    day_ms, dice = 86_400_000, wrong.dice
    moments = (0, -1, 1_420_070_399_999, 2**53, 4_102_444_800_000, wrong.now_ms + dice.randint(-40, 40) * day_ms)  # fmt: skip
    moment = dice.choice(moments)
    t = wrong.body.get("t")
    if isinstance(t, list):
        scattered = [moment + dice.randint(-10_000, 10_000) for _ in t]
        return json.dumps({**wrong.body, "t": dice.choice([[moment] * len(t), scattered])}).encode()
    return json.dumps({**wrong.body, "t": moment}).encode()


def odd_columns(wrong: Wrong) -> bytes:
    n = wrong.dice.choice([0, 1, 2, 499, 500, 501, 3_000])
    times = [wrong.now_ms - 10 * i for i in range(n)]
    columns = {
        name: [wrong.dice.choice([None, 0, 1, 1e6, -5, 0.5])] * wrong.dice.choice([n, n, n, 0, n + 1])
        for name in wrong.dice.sample(["level_m", "pump1_run", "pump2_current_a", "nonsense", "", "\u202e"], 3)
    }  # fmt: skip
    return json.dumps({**wrong.body, "t": times, "signals": columns}).encode()


def odd_stamp(wrong: Wrong) -> bytes:
    dice = wrong.dice
    change: dict[str, Any] = dice.choice(
        [
            {"epoch": dice.choice(["", "e" * 65, "../..", "e 1", "第一", "e-old"])},
            {"boot": "b" * 65}, {"clock": "c" * 200}, {"sent": -1}, {"low": 0},
            {"low": wrong.body.get("seq", 1) + 1}, {"seq": 0}, {"seq": 2**63},
        ]
    )  # fmt: skip
    return json.dumps({**wrong.body, **change}).encode()


def out_of_order(wrong: Wrong) -> bytes:
    """Sound but for its place: ahead of what was sent, or behind, or giving up what came before."""
    seq = max(1, int(wrong.body.get("seq", 1)) + wrong.dice.randint(-300, 300))
    low = {"low": wrong.dice.randint(1, seq)} if wrong.dice.random() < 0.3 else {}
    return json.dumps({**wrong.body, "seq": seq, **low}).encode()


def other_epoch(wrong: Wrong) -> bytes:
    """An outbox nobody ever heard of, with every message."""
    return json.dumps({**wrong.body, "epoch": f"{wrong.dice.getrandbits(64):016x}"}).encode()


def nothing_wrong(wrong: Wrong) -> bytes:
    return wrong.payload


MUTATIONS: tuple[Mutation, ...] = (
    truncated, bits_flipped, spliced, noise, other_encoding, oversized, wrong_type, member_missing,
    members_added, member_twice, nested, brackets, odd_number, odd_value, unknown_major, other_topic,
    other_channel, other_tenant, stranger, odd_times, odd_columns, odd_stamp, out_of_order, other_epoch,
    nothing_wrong,
)  # fmt: skip
