"""Clocks are handed in, and a scaled one goes on smoothly when its speed changes."""

from __future__ import annotations

from pumpwatch.domain.clock import ManualClock, ScaledClock


def test_scaled_time_runs_faster_than_its_base() -> None:
    base = ManualClock(1_000)
    clock = ScaledClock(start_ms=50_000, factor=60, base=base)
    base.advance(500)
    assert clock.now_ms() == 50_000 + 30_000


def test_a_change_of_speed_does_not_jump() -> None:
    base = ManualClock()
    clock = ScaledClock(start_ms=0, factor=10, base=base)
    base.advance(1_000)
    clock.set_factor(100)
    assert clock.now_ms() == 10_000
    base.advance(1_000)
    assert clock.now_ms() == 110_000


def test_a_clock_at_speed_zero_stands_still() -> None:
    base = ManualClock()
    clock = ScaledClock(start_ms=7, factor=0, base=base)
    base.advance(10_000)
    assert clock.now_ms() == 7


def test_another_process_shows_the_same_time_from_the_same_run() -> None:
    base = ManualClock(5_000)
    clock = ScaledClock(start_ms=100, factor=30, base=base)
    base.advance(777)
    twin = ScaledClock.at(*clock.run, base)
    base.advance(1_000)
    assert twin.now_ms() == clock.now_ms()
