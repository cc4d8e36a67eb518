"""When a stand-by pump counts as proven."""

import pytest

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.proofs import FLOAT, Proof, unproven_pumps


def pump(n, first_day, last_day):
    return Proof(f"pump{n}", first_day * DAY_MS, last_day * DAY_MS, last_day * DAY_MS)


@pytest.mark.parametrize(
    ("proofs", "unproven"),
    [
        ([pump(1, 0, 29), pump(2, 0, 17)], []),
        ([pump(1, 0, 29), pump(2, 0, 15)], ["pump2"]),
        ([pump(1, 0, 29)], ["pump2"]),
        ([pump(1, 20, 29)], []),
        ([pump(2, 0, 3)], ["pump1", "pump2"]),
        ([], []),
        ([Proof(FLOAT, 0, 0, 0)], []),
    ],
    ids=["both ran", "one rests", "one never ran", "too early to ask", "none runs", "unknown",
         "a float proves no pump"],
)  # fmt: skip
def test_a_pump_must_draw_down_within_so_many_days(proofs, unproven):
    assert unproven_pumps(proofs, 2, 30 * DAY_MS, 14) == unproven
    assert unproven_pumps(proofs, 2, 30 * DAY_MS, 0) == []


def test_proofs_join_in_any_order():
    early, late = Proof("pump1", 5, 5, 5, 0.1), Proof("pump1", 9, 9, None, 0.2)
    assert late.after(early) == early.after(late) == Proof("pump1", 5, 9, 5, 0.2)
    assert early.after(early) == early
