"""Durable ingest against a subscriber that only counts, through the same broker, turn by turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import report

from pumpwatch.transports.broker import EmbeddedBroker

HERE = Path(__file__).parent
MESSAGES = 100_000
ROUNDS = 5
TOPICS = "pumpwatch/v1/+/+/telemetry"

pytestmark = [pytest.mark.bench, pytest.mark.broker]


def test_durable_ingest_keeps_up_with_a_subscriber_that_only_counts(tmp_path: Path) -> None:
    counting, durable, cpu_us = [], [], []
    for turn in range(ROUNDS):
        folder = tmp_path / f"turn-{turn}"
        # a broker of its own for each, so that none carries the other's session
        with EmbeddedBroker(folder / "a", programs=("mosquitto",)) as broker:
            counting.append(count_with_mosquitto_sub(broker.port))
        with EmbeddedBroker(folder / "b", programs=("mosquitto",)) as broker:
            rate, cpu = ingest_durably(broker.port, folder)
        durable.append(rate)
        cpu_us.append(cpu)
    ratio = statistics.median(d / c for d, c in zip(durable, counting, strict=True))
    note = f"{MESSAGES:,} messages of 6 samples, QoS 1, medians of {ROUNDS}"
    report.row("mosquitto_sub, counting only", statistics.median(counting), "msg/s", note)
    report.row("durable ingest, PUBACK after fsync", statistics.median(durable), "msg/s", note)
    report.row("durable ingest / mosquitto_sub", ratio, "", "goal 0.8")
    report.row("durable ingest, CPU", statistics.median(cpu_us), "us/msg")
    assert ratio > 0


def count_with_mosquitto_sub(port: int) -> float:
    """Messages a second until the last one had gone through the pipe to the counter."""
    command = f"mosquitto_sub -h 127.0.0.1 -p {port} -q 1 -t '{TOPICS}' -C {MESSAGES} | wc -l"
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, text=True) as counter:
        time.sleep(1.0)  # mosquitto_sub does not say when it is subscribed
        began = flood(port)
        assert counter.stdout is not None
        assert int(counter.stdout.readline()) == MESSAGES
        return MESSAGES / (time.time() - began)


def ingest_durably(port: int, folder: Path) -> tuple[float, float]:
    """Messages a second until the last one was on disk, and microseconds of CPU for each."""
    hub = subprocess.Popen(
        [sys.executable, str(HERE / "durable_hub.py"), str(port), str(MESSAGES), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with hub:
        assert hub.stdout is not None
        assert hub.stdout.readline() == "ready\n"
        began = flood(port)
        done, cpu_s, _commits = map(float, hub.stdout.readline().split())
    return MESSAGES / (done - began), cpu_s / MESSAGES * 1e6


def flood(port: int) -> float:
    command = [sys.executable, str(HERE / "flood.py"), str(port), str(MESSAGES)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
