"""A station goes on speaking when its flash is full, read-only or gone, and keeps what it can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumpwatch_edge.agent import Action, Agent, Publish, Report
from pumpwatch_edge.clock import Now
from pumpwatch_edge.errors import OutboxRefused, OutboxUnavailable
from pumpwatch_edge.message import Ack, Body, Lane, Plan, encode_ack
from pumpwatch_edge.outbox import Outbox, SqliteOutbox
from pumpwatch_edge.source import Edge, Reading
from pumpwatch_edge.standby import RETRY_EVERY, StandbyOutbox

T, E = Lane.TELEMETRY, Lane.EVENT
BEGAN_MS = 1_763_607_540_000
ACK = "pumpwatch/v1/default/mh0001/ack"


class Flash:
    """A file on a disk that can be broken and mended."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.works = True
        self.box: SqliteOutbox | None = None

    def open(self) -> Outbox:
        if not self.works:
            raise OutboxUnavailable("outbox: unable to open database file", "check the folder")
        self.box = SqliteOutbox(self.file)
        return self.box

    def set(self, works: bool) -> None:
        self.works = works
        if self.box is not None:
            self.box._db.execute(f"PRAGMA query_only = {int(not works)}")


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "outbox.db")


def body(n: int, lane: Lane = T) -> Body:
    return Body(lane, 1, b'{"n":%d}' % n)


def texts(outbox: Outbox, lane: Lane = T) -> list[int]:
    return [json.loads(record.text)["n"] for record in outbox.read(lane, 0, 10_000)]


def test_a_file_that_works_is_all_there_is(flash: Flash) -> None:
    outbox = StandbyOutbox(flash.open)
    assert outbox.append([body(1), body(2, E)]) == [1, 1]
    assert (outbox.depth(), outbox.last(T), outbox.taken, outbox.notices) == (2, 1, 1, [])
    assert outbox.trim(T, 1) == 1
    outbox.close()
    assert SqliteOutbox(flash.file).epoch == outbox.epoch


def test_what_the_file_holds_goes_first_then_memory_stands_in(flash: Flash) -> None:
    outbox = StandbyOutbox(flash.open)
    outbox.append([body(1), body(2)])
    of_file = outbox.epoch
    flash.set(works=False)
    with pytest.raises(OutboxUnavailable, match="readonly"):
        outbox.append([body(3)])
    assert outbox.trim(T, 1) == 1, "the hub has it, though the file cannot forget it"
    assert (outbox.low(T), outbox.depth(), texts(outbox)) == (2, 1, [2])
    outbox.trim(T, 2)

    assert outbox.append([body(3)]) == [1]
    assert outbox.epoch != of_file
    assert (texts(outbox), outbox.depth()) == ([3], 1)
    assert "kept in memory only" in outbox.notices[-1]


def test_the_file_takes_over_what_memory_holds_once_it_can_be_written(flash: Flash) -> None:
    outbox = StandbyOutbox(flash.open)
    outbox.append([body(0)])
    of_file = outbox.epoch
    flash.set(works=False)
    outbox.trim(T, 1)
    for n in range(1, 4):
        outbox.append([body(n)])
    outbox.trim(T, 1)
    flash.set(works=True)
    for n in range(4, 4 + RETRY_EVERY):
        outbox.append([body(n, E)])

    assert outbox.epoch == of_file
    assert texts(outbox) == [2, 3]
    assert texts(outbox, E) == list(range(4, 4 + RETRY_EVERY))
    assert outbox.notices[-1] == "the outbox can be written again"
    outbox.close()
    assert texts(SqliteOutbox(flash.file)) == [2, 3]


def test_a_file_that_cannot_be_opened_at_the_start_is_tried_again(flash: Flash) -> None:
    flash.works = False
    outbox = StandbyOutbox(flash.open)
    for n in range(RETRY_EVERY + 1):
        outbox.append([body(n)])
    assert outbox.depth() == RETRY_EVERY + 1
    flash.works = True
    outbox.close()

    assert texts(SqliteOutbox(flash.file)) == list(range(RETRY_EVERY + 1))


def test_the_file_of_another_agent_is_not_replaced_by_memory(flash: Flash) -> None:
    first = SqliteOutbox(flash.file)
    with pytest.raises(OutboxRefused, match="another process holds it"):
        StandbyOutbox(flash.open)
    first.close()


def test_memory_has_a_bound_and_keeps_events(flash: Flash) -> None:
    flash.works = False
    outbox = StandbyOutbox(flash.open, ram_bytes=5_000)
    outbox.append([body(0, E)])
    for n in range(500):
        outbox.append([body(n)])
    assert outbox.dropped > 300
    assert texts(outbox, E) == [0]


def test_an_agent_on_a_worn_flash_goes_on_speaking_to_the_hub(flash: Flash) -> None:
    agent = Agent(
        "default", "mh0001", StandbyOutbox(flash.open), signals={"level_m": {"unit": "m"}},
        period_s=10, plan=Plan(batch_samples=1),
    )  # fmt: skip
    agent.connected(Now(BEGAN_MS, 0))
    flash.set(works=False)
    heard: list[int] = []
    said: list[str] = []
    for i in range(200):
        now = Now(BEGAN_MS + 10_000 * i, 10_000 * i)
        items: list[Reading | Edge] = [Reading(now.wall_ms, {"level_m": i / 100})]
        todo: list[Action] = agent.take(items, now)
        while todo:
            action = todo.pop(0)
            if isinstance(action, Report):
                said.append(action.text)
            elif isinstance(action, Publish):
                todo += agent.puback([action.handle], now)
                content = json.loads(action.payload)
                if action.topic.endswith("telemetry"):
                    heard += content["t"]
                    ack = Ack(content["epoch"], content["seq"], 0)
                    todo += agent.message(ACK, encode_ack(ack), now)

    assert heard == [BEGAN_MS + 10_000 * i for i in range(200)]
    assert agent.backlog == 0
    assert len(said) == 1, "told once, not at every reading"
