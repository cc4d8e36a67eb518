"""What a frozen commit is held to: seeds nobody chose, and a table that hides no miss."""

from __future__ import annotations

from pumpwatch.services.benchmark import LINES, frozen_seeds, gate_table

WELL = {
    key: goal + (0.01 if more else -0.01)
    for _, key, _, goal, more in LINES
    if key != "abrupt_in_time"
} | {"abrupt_in_time": 1.0, "progressive_events": 9, "abrupt_events": 9}


def line(table: str, name: str) -> list[str]:
    row = next(row for row in table.splitlines() if row.startswith(f"| {name} "))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_the_seeds_follow_from_the_commit_and_differ() -> None:
    seeds = frozen_seeds("4f1e", 3)
    assert seeds == frozen_seeds("4f1e", 3)
    assert len({*seeds, *frozen_seeds("4f1f", 3)}) == 6


def test_what_reaches_its_goal_stands_plain_and_what_does_not_is_marked() -> None:
    worse = WELL | {"skill": 0.85, "false_per_site_month": 0.2}
    table = gate_table({"one": WELL, "two": worse})
    assert "goal)" not in "".join(line(table, name)[0] for name, *_ in LINES)
    assert line(table, "skill over chance")[1] == "0.850 (below goal)"
    assert line(table, "false notifications per site-month")[1] == "0.200 **(misses gate)**"


def test_a_fleet_without_faults_is_held_to_its_false_alerts_alone() -> None:
    healthy = {"progressive_events": 0, "abrupt_events": 0, "recall_before_breakdown": 0.0,
               "false_per_site_month": 0.02}  # fmt: skip
    table = gate_table({"healthy": healthy})
    assert line(table, "recall before breakdown")[0] == "-"
    assert line(table, "false notifications per site-month")[0] == "0.020"
