"""A worker goes on whatever its step meets."""

from __future__ import annotations

from threading import Event

from pumpwatch.app import worker as module
from pumpwatch.app.worker import Worker


def test_a_failing_step_is_tried_again_and_counted(monkeypatch: object) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)  # type: ignore[attr-defined]
    done = Event()
    calls = []

    def step() -> float:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("disk full")
        done.set()
        return 10

    worker = Worker("test", step)
    worker.start()
    assert done.wait(5)
    assert worker.stop()
    assert worker.failures == 2
    assert worker.failing == ""


def test_waking_ends_a_rest_early_and_stopping_ends_the_thread() -> None:
    ran = Event()
    again = Event()

    def step() -> float:
        (again if ran.is_set() else ran).set()
        return 1000

    worker = Worker("test", step)
    worker.start()
    assert ran.wait(5)
    worker.wake()
    assert again.wait(5)
    assert worker.stop()
    assert not worker.alive
