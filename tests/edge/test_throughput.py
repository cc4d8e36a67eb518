from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumpwatch_edge.agent import Agent, Publish
from pumpwatch_edge.clock import Now, wall_ms
from pumpwatch_edge.message import Ack, encode_ack
from pumpwatch_edge.outbox import SqliteOutbox
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.runner import AgentRunner
from pumpwatch_edge.settings import BrokerSettings

ROWS = 200_000


def agent_for(source: ReplaySource, file: Path) -> Agent:
    return Agent(
        "default", source.site, SqliteOutbox(file), signals=source.signals, period_s=source.period_s
    )


@pytest.mark.bench
def test_samples_a_second_from_file_through_outbox_to_payload(
    recording: Callable[..., Path], tmp_path: Path
) -> None:
    source = ReplaySource(recording(ROWS), 0)
    agent = agent_for(source, tmp_path / "o.db")
    begun, now, sent = time.perf_counter(), Now(0, 0), 0
    actions = agent.connected(now)
    while not (source.finished and not agent.backlog and not agent.pending):
        if not actions and not source.finished:
            actions = agent.take(source.poll(0, 5000), now)
            actions += agent.source_finished(now) if source.finished else []
        done, actions = actions, []
        for action in done:
            if isinstance(action, Publish):
                sent += action.topic.endswith("telemetry")
                actions += agent.puback([action.handle], now)
        mark = encode_ack(Ack(agent.outbox.epoch, sent, 0))
        actions += agent.message("pumpwatch/v1/default/mh0001/ack", mark, now)
    rate = ROWS / (time.perf_counter() - begun)

    print(f"\nedge, without network: {rate:,.0f} samples/s")
    assert agent.counters["sent_samples"] == ROWS


@pytest.mark.bench
@pytest.mark.broker
def test_samples_a_second_through_a_real_broker(
    recording: Callable[..., Path], tmp_path: Path, broker: Any, hub: Any
) -> None:
    source = ReplaySource(recording(ROWS), 0)
    agent = agent_for(source, tmp_path / "o.db")
    runner = AgentRunner(agent, source, wall_ms, BrokerSettings(port=broker.port), patient=True)
    begun = time.perf_counter()
    runner.start()
    assert runner.wait(120)
    rate = ROWS / (time.perf_counter() - begun)
    runner.stop(5)

    print(f"\nedge, broker and a hub in Python beside it: {rate:,.0f} samples/s")
    assert len(hub.rows) == ROWS
