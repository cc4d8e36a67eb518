from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pumpwatch_edge.agent import Agent, Limits
from pumpwatch_edge.clock import wall_ms
from pumpwatch_edge.message import Plan, encode_config
from pumpwatch_edge.outbox import MemoryOutbox, Outbox, SqliteOutbox
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.runner import DEEP, AgentRunner
from pumpwatch_edge.settings import BrokerSettings


@pytest.fixture
def run() -> Iterator[Callable[..., AgentRunner]]:
    made: list[AgentRunner] = []

    def build(
        folder: Path, port: int, outbox: Outbox, *, batch: int = 10, speed: float = 0, **more: Any
    ) -> AgentRunner:
        source = ReplaySource(folder, speed)
        agent = Agent(
            "default", source.site, outbox, signals=source.signals, period_s=source.period_s,
            plan=Plan(batch_samples=batch), limits=Limits(patience_ms=500),
        )  # fmt: skip
        settings = BrokerSettings(port=port, retry_s=1, retry_max_s=1)
        made.append(AgentRunner(agent, source, wall_ms, settings, patient=True, **more))
        made[-1].start()
        return made[-1]

    yield build
    for runner in made:
        runner.stop(3)


def expected(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    source = ReplaySource(folder, 0)
    return [(r.t_ms, r.values) for r in source.poll(0, 10**6)]  # type: ignore[union-attr]


@pytest.mark.broker
def test_a_recording_arrives_whole_and_leaves_the_outbox_empty(
    recording: Callable[..., Path], broker: Any, hub: Any, run: Callable[..., AgentRunner],
    tmp_path: Path, until: Callable[..., Any],
) -> None:  # fmt: skip
    folder = recording(1234)
    runner = run(folder, broker.port, SqliteOutbox(tmp_path / "outbox.db"))

    assert runner.wait(30)
    assert runner.finished
    assert hub.rows == expected(folder)
    counters = runner.counters
    assert (counters["sent_samples"], counters["outbox"], counters["acked"]) == (1234, 0, 124)
    until(lambda: hub.statuses, "the birth")
    assert hub.statuses[0]["online"] is True
    assert runner.stop(5)
    until(lambda: not hub.statuses[-1]["online"], "the farewell")
    assert hub.statuses[-1]["reason"] == "stopped"


@pytest.mark.broker
def test_killing_the_broker_half_way_loses_nothing(
    recording: Callable[..., Path], broker: Any, hub: Any, run: Callable[..., AgentRunner],
    tmp_path: Path, until: Callable[..., Any], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    folder = recording(20_000)
    runner = run(folder, broker.port, SqliteOutbox(tmp_path / "outbox.db"))
    for part in (400, 1000):
        until(lambda part=part: len(hub.messages) > part, f"{part} messages")
        broker.kill()
        until(lambda: not runner.agent.is_connected, "the agent to notice")
        broker.start()

    assert runner.wait(60)
    assert hub.rows == expected(folder)
    assert runner.counters["outbox"] == 0
    assert runner.counters["connections"] == 3
    said = [r.getMessage() for r in caplog.records if r.name == "pumpwatch_edge.publisher"]
    assert [text.split(" at ")[0] for text in said] == [
        "connected to the broker",
        "connection to the broker lost",
        "connected to the broker",
        "connection to the broker lost",
        "connected to the broker",
    ]


@pytest.mark.broker
def test_stopping_the_agent_half_way_and_starting_again_loses_nothing(
    recording: Callable[..., Path], broker: Any, hub: Any, run: Callable[..., AgentRunner],
    tmp_path: Path, until: Callable[..., Any],
) -> None:  # fmt: skip
    folder = recording(5000)
    first = run(folder, broker.port, SqliteOutbox(tmp_path / "outbox.db"))
    until(lambda: len(hub.messages) > 50, "50 messages")
    assert first.stop(5)
    second = run(folder, broker.port, SqliteOutbox(tmp_path / "outbox.db"))

    assert second.wait(30)
    distinct = dict(hub.rows)
    assert sorted(distinct.items()) == expected(folder)
    assert len({epoch for epoch, _, _ in hub.messages}) == 1


@pytest.mark.broker
def test_a_desired_plan_reaches_the_agent_and_is_answered(
    recording: Callable[..., Path], broker: Any, hub: Any, run: Callable[..., AgentRunner],
    until: Callable[..., Any],
) -> None:  # fmt: skip
    run(recording(10), broker.port, MemoryOutbox(), speed=1)
    hub.publish("config", encode_config(Plan(batch_samples=7)))
    until(lambda: hub.reported, "the answer")

    assert hub.reported[0]["batch_samples"] == 7


@pytest.mark.broker
def test_a_killed_connection_lets_the_broker_speak_the_will(
    recording: Callable[..., Path], broker: Any, hub: Any, run: Callable[..., AgentRunner],
    until: Callable[..., Any],
) -> None:  # fmt: skip
    runner = run(recording(10), broker.port, MemoryOutbox(), speed=1)
    until(lambda: hub.statuses, "the birth")
    runner._publisher._client.abandon()  # type: ignore[union-attr]
    until(lambda: any(not s["online"] for s in hub.statuses), "the will")

    assert next(s for s in hub.statuses if not s["online"])["reason"] == "connection lost"
    until(lambda: hub.statuses[-1]["online"], "the next birth")


def test_without_a_broker_a_patient_source_is_left_alone_when_the_outbox_is_deep(
    recording: Callable[..., Path], run: Callable[..., AgentRunner], dead_port: int,
    until: Callable[..., Any],
) -> None:  # fmt: skip
    runner = run(recording(20_000), dead_port, MemoryOutbox(), batch=1)
    until(lambda: runner.agent.backlog >= DEEP, "a deep outbox")
    assert not runner.wait(0.5)

    assert runner.counters["read"] == runner.agent.backlog == DEEP
    assert not runner.finished
    assert runner.stop(5)


def test_a_stop_is_quick_with_no_broker_and_closes_the_batch(
    recording: Callable[..., Path], run: Callable[..., AgentRunner], tmp_path: Path, dead_port: int,
    until: Callable[..., Any],
) -> None:  # fmt: skip
    file = tmp_path / "outbox.db"
    runner = run(recording(25), dead_port, SqliteOutbox(file))
    until(lambda: runner.counters["read"] == 25, "the recording")
    assert runner.stop(5)

    reopened = SqliteOutbox(file)
    assert reopened.depth() == 3
    reopened.close()


def test_a_recording_that_breaks_off_is_reported_and_what_was_read_is_kept(
    recording: Callable[..., Path], run: Callable[..., AgentRunner], dead_port: int,
    until: Callable[..., Any], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    import gzip

    folder = recording(20_000)
    packed = gzip.compress((folder / "data.csv").read_bytes())
    (folder / "data.csv").unlink()
    (folder / "data.csv.gz").write_bytes(packed[: len(packed) // 2])
    runner = run(folder, dead_port, MemoryOutbox(), batch=500)
    until(lambda: runner.error, "the error")

    assert "cannot be read any further" in runner.error
    assert caplog.text.count("cannot be read any further") == 1
    counted = until(
        lambda: (c := runner.counters)["read"] == c["samples"] > 1000 and c,
        "every row read is kept",
    )
    assert counted["samples"] < 20_000
