"""Brokers of our own on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pumpwatch.transports.broker import EmbeddedBroker


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path, programs=("mosquitto",)) as broker:
        yield broker


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    pytest.importorskip("amqtt")
    with EmbeddedBroker(tmp_path, programs=("amqtt",)) as broker:
        yield broker
