"""The broker of our own: it is there when asked for, says why when not, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pumpwatch.transports import broker as module
from pumpwatch.transports.broker import BrokerError, EmbeddedBroker

PARENT = """
import sys, time
from pathlib import Path
from pumpwatch.transports.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]), programs=(sys.argv[2],))
broker.start()
print(broker.port, flush=True)
time.sleep(600)
"""


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.005)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


programs = pytest.mark.parametrize(
    "program",
    [
        pytest.param("mosquitto", marks=pytest.mark.broker),
        pytest.param(
            "amqtt",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("amqtt") is None, reason="amqtt is not installed"
            ),
        ),
    ],
)


@programs
def test_it_listens_when_started_and_not_when_stopped(program: str, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, programs=(program,))
    broker.start()
    assert broker.program == program
    assert answers(broker.port)
    broker.start()  # already there
    broker.stop()
    assert not answers(broker.port)
    broker.stop()  # already gone


@programs
def test_it_starts_again_on_the_same_port(program: str, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, programs=(program,))
    broker.start()
    port = broker.port
    broker.stop()
    broker.start()
    assert broker.port == port
    assert answers(port)
    broker.stop()


@programs
def test_it_ends_with_its_parent_even_one_that_was_killed(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert answers(port)
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not answers(port))


@programs
def test_it_outlives_the_thread_that_started_it(program: str, tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, programs=(program,))
    starter = threading.Thread(target=broker.start)
    starter.start()
    starter.join()
    assert answers(broker.port)
    assert broker.alive
    broker.stop()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} is in use: stop what listens there"):
            EmbeddedBroker(tmp_path, port).start()


def test_without_any_broker_both_remedies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BrokerError) as caught:
        EmbeddedBroker(tmp_path).start()
    assert "apt-get install mosquitto" in str(caught.value)
    assert "pumpwatch[broker]" in str(caught.value)


def test_a_broker_that_ends_at_once_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "mosquitto"
    script.write_text("#!/bin/sh\necho 'Error: out of coffee'\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(script))
    with pytest.raises(BrokerError, match="out of coffee"):
        EmbeddedBroker(tmp_path, programs=("mosquitto",)).start()


@pytest.mark.broker
def test_mosquitto_gets_the_limits_that_lose_nothing(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    conf = (tmp_path / "broker" / "mosquitto.conf").read_text().splitlines()
    assert f"listener {mosquitto.port} 127.0.0.1" in conf
    assert "max_inflight_messages 10000" in conf
    assert "max_queued_messages 1000000" in conf
    assert "max_packet_size 131072" in conf
    assert "persistence true" in conf
