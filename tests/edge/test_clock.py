from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_edge.agent import Action, Agent, Publish, Report
from pumpwatch_edge.clock import BUILT_MS, JUMP_MS, ClockWatch, Now
from pumpwatch_edge.message import Lane, Plan
from pumpwatch_edge.outbox import MemoryOutbox
from pumpwatch_edge.source import Edge, Reading

TRUE_MS = BUILT_MS + 30 * 86_400_000
"""The true time at the machine's boot."""


class Machine:
    """An agent on a machine whose source stamps with its wall clock."""

    def __init__(
        self, wall_ms: int, plan: Plan | None = None, watch: ClockWatch | None = None
    ) -> None:
        self.offset_ms, self.mono_ms = wall_ms, 0
        self.outbox = MemoryOutbox()
        self.agent = Agent(
            "default", "mh0001", self.outbox, signals={"level_m": {}}, period_s=10,
            plan=plan or Plan(batch_samples=1), watch=watch or ClockWatch(),
        )  # fmt: skip
        self.said: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.do(self.agent.connected(self.now))

    @property
    def now(self) -> Now:
        return Now(self.offset_ms + self.mono_ms, self.mono_ms)

    def do(self, actions: list[Action]) -> None:
        self.said += [a.text for a in actions if isinstance(a, Report)]
        for a in actions:
            if isinstance(a, Publish):
                self.sent += [json.loads(a.payload)]
                self.do(self.agent.puback([a.handle], self.now))

    def read(self, after_ms: int = 10_000, *, edge: bool = False) -> None:
        """A reading whose level is the true second it was taken at."""
        self.mono_ms += after_ms
        t_ms = self.now.wall_ms
        item = Edge(t_ms, "pump1_run", 1) if edge else Reading(t_ms, {"level_m": self.mono_ms})
        self.do(self.agent.take([item], self.now))

    def kept(self) -> list[tuple[str, int, float]]:
        """(boot, time, monotonic time when it was read) of every sample in the outbox."""
        found = []
        for record in self.outbox.read(Lane.TELEMETRY, 0, 10**6):
            text = json.loads(record.text)
            found += [
                (text["boot"], t, level)
                for t, level in zip(text["t"], text["signals"]["level_m"], strict=True)
            ]
        return found


def test_what_was_read_before_the_clock_was_set_gets_its_true_time() -> None:
    machine = Machine(0)
    machine.read()
    machine.read(edge=True)
    machine.read()

    assert machine.outbox.depth() == 0
    assert "the clock was never set" in machine.said[0]
    machine.offset_ms = TRUE_MS
    machine.read()
    assert [t - TRUE_MS for _, t, _ in machine.kept()] == [10_000, 30_000, 40_000]
    [event] = [m for m in machine.sent if "signal" in m]
    assert (event["t"] - TRUE_MS, event["clock"]) == (20_000, "ntp")
    assert min(m["sent"] for m in machine.sent if "sent" in m) >= BUILT_MS
    assert len(machine.said) == 2


def test_a_reading_stamped_just_before_the_clock_was_set_is_dated_too() -> None:
    machine = Machine(0)
    machine.read()
    late = Reading(machine.now.wall_ms, {"level_m": 1.0})
    machine.offset_ms = TRUE_MS
    machine.do(machine.agent.take([late], machine.now))

    assert [t for _, t, _ in machine.kept()] == [TRUE_MS + 10_000] * 2


def test_records_of_an_earlier_start_wait_for_the_clock_too() -> None:
    machine = Machine(TRUE_MS)
    machine.do(machine.agent.disconnected(machine.now))
    machine.read()
    machine.offset_ms = 0
    machine.do(machine.agent.connected(machine.now))
    machine.do(machine.agent.tick(machine.now))

    assert [m for m in machine.sent if "sent" in m] == []
    machine.offset_ms = TRUE_MS
    machine.do(machine.agent.tick(machine.now))
    assert [m["t"] for m in machine.sent if "sent" in m] == [[TRUE_MS + 10_000]]


def test_a_recording_keeps_its_own_times_whatever_the_clock_says() -> None:
    machine = Machine(0)
    machine.mono_ms = 10_000
    machine.do(machine.agent.take([Reading(1_700_000_000_000, {"level_m": 1.0})], machine.now))

    assert [t for _, t, _ in machine.kept()] == [1_700_000_000_000]


def test_a_clock_that_stays_wrong_costs_the_oldest_readings_and_no_edge() -> None:
    machine = Machine(0, watch=ClockWatch(room=5))
    machine.read(edge=True)
    for _ in range(9):
        machine.read()

    assert machine.agent.counters["lost_samples"] == 4
    assert machine.agent.pending == 6
    machine.offset_ms = TRUE_MS
    machine.do(machine.agent.tick(machine.now))
    assert [level for _, _, level in machine.kept()] == [60_000, 70_000, 80_000, 90_000, 100_000]
    assert machine.outbox.depth(Lane.EVENT) == 1


def test_a_stop_with_a_clock_that_was_never_right_says_what_is_lost() -> None:
    machine = Machine(0)
    machine.read()
    machine.do(machine.agent.stop(machine.now))

    assert machine.said[-1] == "1 readings are lost: the clock was never right"


def test_a_clock_set_back_is_said_and_begins_another_boot() -> None:
    machine = Machine(TRUE_MS, plan=Plan())
    machine.read()
    machine.offset_ms -= 3_600_000
    machine.read()
    machine.do(machine.agent.source_finished(machine.now))

    (first, _, _), (second, _, _) = machine.kept()
    assert first != second
    assert machine.said == ["the clock was set back by 3600 s"]
    machine.do(machine.agent.tick(Now(machine.now.wall_ms + 60_000, machine.mono_ms + 60_000)))
    assert machine.sent[-1]["boot"] == second


SET = st.one_of(
    st.just(0),
    st.integers(0, 10**9),
    st.integers(TRUE_MS - 10**9, TRUE_MS + 10**9),
    st.integers(TRUE_MS - 5_000, TRUE_MS + 5_000),
)


@given(
    SET,
    st.lists(st.tuples(st.integers(1_000, 60_000), st.none() | SET), max_size=40),
    st.integers(1, 5),
)
def test_whatever_the_clock_does_no_time_of_1970_leaves_nothing_is_lost_and_a_boot_is_in_order(
    start: int, steps: list[tuple[int, int | None]], batch_samples: int
) -> None:
    machine = Machine(start, plan=Plan(batch_samples=batch_samples))
    jumps = 0
    for after_ms, offset in [*steps, (1_000, TRUE_MS)]:
        if offset is not None:
            jumps += abs(offset - machine.offset_ms) > JUMP_MS
            machine.offset_ms = offset
        machine.read(after_ms)
    machine.do(machine.agent.source_finished(machine.now))

    kept = machine.kept()
    assert sorted(level for _, _, level in kept) == [level for _, _, level in kept]
    assert len(kept) == len(steps) + 1
    assert all(t >= BUILT_MS for _, t, _ in kept)
    assert all(m["sent"] >= BUILT_MS for m in machine.sent if "sent" in m)
    for boot in {boot for boot, _, _ in kept}:
        times = [t for b, t, _ in kept if b == boot]
        assert times == sorted(times)
    assert machine.agent.counters["clock_jumps"] == jumps
