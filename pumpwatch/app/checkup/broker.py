"""The broker: does it take the hub, has it room for a hub that pauses, and what it will not tell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pumpwatch.app.checkup import Check, Verdict
from pumpwatch.app.settings import BrokerSettings
from pumpwatch.app.tls import broker_tls
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.transports.probe import BrokerAnswer, probe
from pumpwatch.transports.wire import MAX_PAYLOAD_BYTES

LOCAL_FILE = Path("/etc/mosquitto/mosquitto.conf")
SHIPPED = "deploy/mosquitto.conf"
LEAST_IN_FLIGHT = 1_000
"""Measured at 5,000 messages/s with the hub confirming after 200 ms: with 20 in flight half are lost, with
1,000 or 10,000 none."""
LEAST_QUEUED = 100_000
LEAST_PACKET = MAX_PAYLOAD_BYTES + 1_024
"""The largest payload the hub takes, its topic and its header."""
_RECEIVE_MAXIMUM = 65_535
"""MQTT 5's own, where a broker names none."""
_STOCK_PORT = 1883
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Limit(NamedTuple):
    """A line of mosquitto.conf; ``stock`` without it. 0 is no limit."""

    name: str
    stock: int
    least: int


_LIMITS = (
    _Limit("max_inflight_messages", 20, LEAST_IN_FLIGHT),
    _Limit("max_queued_messages", 1_000, LEAST_QUEUED),
    _Limit("max_packet_size", 0, LEAST_PACKET),
)


def broker_checks(
    broker: BrokerSettings, data_dir: Path, file: Path = LOCAL_FILE
) -> Iterator[Check]:
    """Connect as the hub does, and read the file of a broker on this machine, ``file``."""
    address = f"{broker.host}:{broker.port}"
    try:
        answer = probe(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password.get_secret_value() if broker.password else None,
            tls=broker_tls(broker),
        )
    except InvalidInput as error:
        yield Check("broker", Verdict.FAILED, error.problem, error.remedy)
    except OSError as error:
        yield _absent(broker, address, error)
    else:
        yield from judged(answer, address)
    yield file_check(broker, data_dir / "broker" / "mosquitto.conf" if broker.embedded else file)


def _absent(broker: BrokerSettings, address: str, error: OSError) -> Check:
    if broker.embedded:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        name = program or "amqtt (for small fleets)"
        return Check("broker", Verdict.OK, f"embedded: {name}; the hub starts it")
    return Check(
        "broker",
        Verdict.FAILED,
        f"{address}: {error.strerror or error}",
        "start it, or correct broker.host, broker.port and broker.tls",
    )


def judged(answer: BrokerAnswer, address: str) -> Iterator[Check]:
    """What a broker's answer is worth."""
    if answer.refused:
        remedy = "correct broker.username and broker.password, or the broker's rights"
        yield Check(
            "broker", Verdict.FAILED, f"{address} refuses the hub: {answer.refused}", remedy
        )
        return
    who = f" ({answer.version})" if answer.version else ""
    yield Check("broker", Verdict.OK, f"{address} accepts the hub{who}")
    yield _granted(answer.limits)
    if answer.dropped:
        yield Check(
            "broker losses",
            Verdict.WARNING,
            f"it gave up {answer.dropped} messages since its start; agents send theirs again",
            f"give it the limits of {SHIPPED}, and see what kept the hub from reading",
        )


def _granted(limits: Mapping[str, int] | None) -> Check:
    """Its limits as MQTT 5 tells them."""
    name = "broker limits"
    if limits is None:
        found = "not to be seen: it speaks MQTT 3.1.1 only, which tells none"
        return Check(name, Verdict.OK, found, f"compare its settings with {SHIPPED}")
    missing = [
        what
        for key, what in (
            ("MaximumQoS", "QoS 1"),
            ("RetainAvailable", "retained messages"),
            ("WildcardSubscriptionAvailable", "wildcards in subscriptions"),
        )
        if limits.get(key, 1) == 0
    ]
    if missing:
        found = f"it does without {', '.join(missing)}"
        return Check(name, Verdict.FAILED, found, "pumpwatch needs these: use another broker")
    in_flight, packet = (
        limits.get("ReceiveMaximum", _RECEIVE_MAXIMUM),
        limits.get("MaximumPacketSize"),
    )
    size = f"packets up to {packet} bytes" if packet else "packets of any size"
    found = f"{in_flight} messages in flight, {size}"
    if in_flight < LEAST_IN_FLIGHT or (packet and packet < LEAST_PACKET):
        return Check(
            name,
            Verdict.WARNING,
            f"{found}: too few or too small, every pause of the hub becomes a resend",
            f"give it the limits of {SHIPPED}: max_inflight_messages 10000, max_packet_size 131072",
        )
    return Check(name, Verdict.OK, found)


def file_check(broker: BrokerSettings, file: Path) -> Check:
    """What the file of a mosquitto on this machine says, if it is that of this broker."""
    name, compare = "broker file", f"compare it with {SHIPPED}"
    unseen = (
        "how much it keeps for a hub that is away, and whether that outlasts it, is not to be seen"
    )
    if broker.embedded and not file.is_file():
        return Check(name, Verdict.OK, "written by pumpwatch when it starts the broker")
    if broker.host not in _LOOPBACK or not file.is_file():
        return Check(name, Verdict.OK, f"not on this machine: {unseen}", compare)
    try:
        lines = _read(file)
    except OSError as error:
        return Check(name, Verdict.OK, f"{file} ({error.strerror}): {unseen}", compare)
    listening = {value.split()[0] for option, value in lines if option in ("listener", "port")}
    if str(broker.port) not in (listening or {str(_STOCK_PORT)}):
        found = f"{file} is of another broker than that of port {broker.port}: {unseen}"
        return Check(name, Verdict.OK, found, compare)
    said = dict(lines)
    short = [
        f"{limit.name} {value}"
        for limit in _LIMITS
        if 0 < (value := _number(said.get(limit.name), limit.stock)) < limit.least
    ]
    if said.get("persistence") != "true":
        short.append("persistence false")
    if short:
        return Check(
            name,
            Verdict.WARNING,
            f"{file}: {', '.join(short)}",
            f"take over the lines of {SHIPPED} and restart the broker: as it is it drops what comes"
            " while the hub is away, and agents have to send it again",
        )
    return Check(name, Verdict.OK, f"{file} gives it room and persistence")


def _number(text: str | None, stock: int) -> int:
    return int(text) if text is not None and text.isdecimal() else stock


def _read(file: Path) -> list[tuple[str, str]]:
    """Options and their values in the order in which mosquitto reads them; the last one counts. Raises
    `OSError`."""
    lines: list[tuple[str, str]] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        option, _, value = line.strip().partition(" ")
        value = value.strip()
        if option == "include_dir":
            for more in sorted(Path(value).glob("*.conf")):
                lines += _read(more)
        elif value and not option.startswith("#"):
            lines.append((option, value))
    return lines
