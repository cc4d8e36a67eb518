"""A small part of what `python -m tests.reliability.fuzz` does, and that it would notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumpwatch.services.assess import AssessService
from pumpwatch.stores.inbox import SqliteInbox

from . import fuzz

pytestmark = pytest.mark.slow
PAYLOADS = 10_000
MEMORY = "memory_growth"
"""Of a run this short says more about caches than about leaks: the long run looks at it."""


def test_wrong_payloads_of_every_kind_cost_the_good_ones_nothing(tmp_path: Path) -> None:
    figures = fuzz.run(1, PAYLOADS, tmp_path) | {MEMORY: 0}
    assert fuzz.faults(figures) == []
    assert figures["good_messages"] >= 100
    assert len(figures["kinds"]) == len(fuzz.MUTATIONS) + 1
    refused = sum(n for name, n in figures["counters"].items() if name.startswith("poison_"))
    assert PAYLOADS / 2 < refused < PAYLOADS


@pytest.mark.parametrize("fault", ["escaped", "missing"])
def test_the_fuzzer_sees_an_exception_that_escapes_and_a_good_message_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    step, commit = AssessService.step, SqliteInbox.commit

    def broken(self: AssessService, now_ms: int) -> int:
        step(self, now_ms)
        raise ZeroDivisionError("on purpose")

    def forgetful(self: SqliteInbox, rows: Any, *more: Any) -> Any:
        return commit(self, [r for r in rows if r.stamp.seq != 2], *more)

    if fault == "escaped":
        monkeypatch.setattr(AssessService, "step", broken)
    else:
        monkeypatch.setattr(SqliteInbox, "commit", forgetful)
    found = fuzz.faults(fuzz.run(1, 2_000, tmp_path) | {MEMORY: 0})
    assert any(fault in line for line in found), found
