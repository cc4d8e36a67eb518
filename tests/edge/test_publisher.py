from __future__ import annotations

import gc
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pumpwatch_edge.agent import Publish, Subscribe
from pumpwatch_edge.errors import SettingsError
from pumpwatch_edge.publisher import (
    Acked,
    Arrived,
    Backoff,
    Connected,
    Ended,
    Event,
    Publisher,
    monotonic_ms,
    tls_context,
)
from pumpwatch_edge.settings import BrokerSettings

WILL = Publish("will", b"gone", True, 0)


def collect(
    publisher: Publisher, wanted: Callable[[list[Event]], bool], timeout_s: float = 20
) -> list[Event]:
    """Turn the publisher until what happened is what is wanted."""
    found: list[Event] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        publisher.step(monotonic_ms())
        found += publisher.events(0.05, monotonic_ms)
        if wanted(found):
            return found
    raise AssertionError(f"only {found}")


def has(kind: type, n: int = 1) -> Callable[[list[Event]], bool]:
    return lambda found: sum(isinstance(event, kind) for event in found) >= n


@pytest.fixture
def connect() -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def build(port: int, client_id: str = "edge-test", **settings: Any) -> Publisher:
        broker = BrokerSettings(port=port, **settings)
        made.append(Publisher(broker, client_id, lambda: WILL, draw=lambda: 0.05))
        return made[-1]

    yield build
    for publisher in made:
        publisher.close(2)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_back_off_doubles_to_a_cap_and_is_drawn_from_all_of_it() -> None:
    backoff = Backoff(2000, 60_000, lambda: 0.5)

    assert [backoff.next_ms() for _ in range(7)] == [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
    backoff.reset()
    assert backoff.next_ms() == 1000
    assert Backoff(2000, 60_000, lambda: 0.0).next_ms() == 0


def test_tls_files_that_cannot_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TLS files"):
        tls_context(BrokerSettings(tls=True, ca_file=str(tmp_path / "no.pem")))
    assert tls_context(BrokerSettings()) is None


def test_a_broker_that_is_away_is_said_once_and_costs_no_sockets(
    connect: Callable[..., Publisher], dead_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = connect(dead_port, retry_s=1, retry_max_s=1)
    gc.disable()
    try:
        collect(publisher, has(Ended, 2))
        before = open_files()
        collect(publisher, has(Ended, 10))
        after = open_files()
    finally:
        gc.enable()

    assert after <= before + 4
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "cannot reach the broker" in caplog.text
    assert "refused" in caplog.text


def test_a_server_that_is_no_broker_is_given_up(connect: Callable[..., Publisher]) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        publisher = connect(server.getsockname()[1])
        publisher.step(monotonic_ms())
        publisher.step(monotonic_ms() + 31_000)

        [ended] = publisher.events(0, monotonic_ms)
        assert ended == Ended("no answer from the broker", was_connected=False)


@pytest.mark.broker
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_messages_go_out_are_acknowledged_and_come_in(
    broker: Any, connect: Callable[..., Publisher], version: str
) -> None:
    publisher = connect(broker.port, version=version)
    [up] = collect(publisher, has(Connected))
    publisher.subscribe(Subscribe(("a/b",)))
    publisher.publish(Publish("a/b", b"hello", False, 77))

    found = collect(publisher, lambda e: has(Acked)(e) and has(Arrived)(e))
    assert Acked([77]) in found
    assert Arrived("a/b", b"hello") in found
    assert isinstance(up, Connected)
    assert up.receive_maximum == (20 if version == "5" else None)


@pytest.mark.broker
def test_what_the_broker_had_kept_is_told_from_what_is_said_now(
    broker: Any, connect: Callable[..., Publisher]
) -> None:
    publisher = connect(broker.port)
    collect(publisher, has(Connected))
    publisher.publish(Publish("a/b", b"old", True, 1))
    collect(publisher, has(Acked))
    publisher.subscribe(Subscribe(("a/b",)))
    assert Arrived("a/b", b"old", True) in collect(publisher, has(Arrived))
    publisher.publish(Publish("a/b", b"new", True, 2))
    assert Arrived("a/b", b"new", False) in collect(publisher, has(Arrived))


@pytest.mark.broker
def test_an_event_does_not_wait_for_nagle(broker: Any, connect: Callable[..., Publisher]) -> None:
    publisher = connect(broker.port)
    collect(publisher, has(Connected))

    assert publisher._client is not None
    line: Any = publisher._client.socket()
    assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.broker
def test_what_is_published_without_a_connection_is_never_sent_later(
    broker: Any, connect: Callable[..., Publisher]
) -> None:
    publisher = connect(broker.port)
    publisher.publish(Publish("a/b", b"early", False, 1))
    collect(publisher, has(Connected))
    publisher.subscribe(Subscribe(("a/b",)))
    publisher.publish(Publish("a/b", b"now", False, 2))

    found = collect(publisher, lambda e: has(Arrived)(e) and has(Acked)(e))
    assert [e for e in found if isinstance(e, Arrived | Acked)] in (
        [Acked([2]), Arrived("a/b", b"now")],
        [Arrived("a/b", b"now"), Acked([2])],
    )


@pytest.mark.broker
def test_a_network_thread_that_dies_is_noticed_and_replaced(
    broker: Any, connect: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = connect(broker.port)
    collect(publisher, has(Connected))

    def burst(*_: Any) -> None:
        raise RuntimeError("boom")

    assert publisher._client is not None
    publisher._client.on_message = burst
    publisher.subscribe(Subscribe(("a/b",)))
    publisher.publish(Publish("a/b", b"x", False, 1))

    found = collect(publisher, lambda e: has(Ended)(e) and has(Connected)(e))
    assert "boom" in next(e.why for e in found if isinstance(e, Ended))
    assert "lost" in caplog.text


@pytest.mark.broker
def test_two_clients_with_one_id_are_told_so_once(
    broker: Any, connect: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first, second = (connect(broker.port, "same", retry_s=1, retry_max_s=1) for _ in range(2))
    losses = 0
    deadline = time.monotonic() + 30
    while "probably uses the id same" not in caplog.text and time.monotonic() < deadline:
        for publisher in (first, second):
            publisher.step(monotonic_ms())
            losses += sum(isinstance(e, Ended) for e in publisher.events(0.02, monotonic_ms))

    assert "another client probably uses the id same" in caplog.text
    assert losses >= 4


@pytest.mark.broker
def test_a_broker_that_stops_acknowledging_is_left(
    broker: Any, connect: Callable[..., Publisher]
) -> None:
    publisher = connect(broker.port)
    collect(publisher, has(Connected))
    publisher._handles[9999] = 1
    publisher.step(monotonic_ms() + 61_000)

    [ended] = publisher.events(0, monotonic_ms)
    assert ended == Ended("the broker stopped acknowledging", was_connected=True)


def test_a_refused_subscription_is_said_with_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_broker() as (publisher, line):
        publisher.subscribe(Subscribe(("a/ack",)))
        subscribe = line.recv(100)
        line.sendall(b"\x90\x03" + subscribe[2:4] + b"\x80")
        collect(publisher, lambda _: "access list" in caplog.text)

    assert "without ack nothing leaves the outbox" in caplog.text


@pytest.mark.broker
def test_a_broker_that_wants_a_password_is_named_with_its_reason(
    broker: Any, connect: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    broker.kill()
    broker.configure("allow_anonymous false")
    broker.start()
    collect(connect(broker.port), has(Ended))

    assert "Not authorized" in caplog.text


@pytest.mark.broker
def test_tls_is_spoken_and_a_stranger_among_brokers_refused(
    tmp_path: Path, broker: Any, connect: Callable[..., Publisher]
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for name in ("own", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    broker.kill()
    broker.configure(f"certfile {tmp_path / 'own.crt'}", f"keyfile {tmp_path / 'own.key'}")
    broker.start()

    trusting = connect(broker.port, tls=True, ca_file=str(tmp_path / "own.crt"))
    assert isinstance(collect(trusting, has(Connected))[0], Connected)
    wary = connect(broker.port, "other", tls=True, ca_file=str(tmp_path / "other.crt"))
    [ended] = collect(wary, has(Ended))
    assert isinstance(ended, Ended)
    assert "certificate verify failed" in ended.why


@contextmanager
def scripted_broker() -> Iterator[tuple[Publisher, socket.socket]]:
    """A publisher connected to a server that says nothing but what the test makes it say."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        publisher = Publisher(BrokerSettings(port=server.getsockname()[1]), "c", lambda: WILL)
        publisher.step(monotonic_ms())
        line, _ = server.accept()
        with line:
            line.recv(100)
            line.sendall(b"\x20\x02\x00\x00")
            collect(publisher, has(Connected))
            yield publisher, line
        publisher.close(2)


def test_hanging_up_never_hangs() -> None:
    """Not even with a message that nobody will acknowledge."""
    with scripted_broker() as (publisher, _):
        publisher.publish(Publish("a/b", b"x" * 50_000, False, 1))
        closer = threading.Thread(target=publisher.close, args=(0.5,), daemon=True)
        closer.start()
        closer.join(10)

        assert not closer.is_alive()
