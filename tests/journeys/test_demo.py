"""`pumpwatch demo --headless` as a visitor's machine would run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Process, Start

pytestmark = [pytest.mark.journey, pytest.mark.slow]

LEAKING = ("mh-05", "pump2")
RAGGING = ("mh-03", "pump2")


def summary_of(process: Process) -> dict[str, Any]:
    assert process.wait(400) == 0, process.words()
    text = process.words()
    found, _ = json.JSONDecoder().raw_decode(text[text.index("{\n") :])
    return dict(found)


def test_the_ragging_pump_and_a_leak_started_elsewhere_are_named(
    tmp_path: Path, start: Start
) -> None:
    demo = start(
        "pumpwatch", "demo", "--headless", "--for", 75, "--speed", 1200, "--port", 0, "--stations", 6,
        "--data-dir", tmp_path / "demo",
        "--fault", f"{LEAKING[0]}:check_valve_leak:{LEAKING[1]}", log="demo",
    )  # fmt: skip
    summary = summary_of(demo)
    work = [a for a in summary["alerts"] if a["kind"] == "predictive"]
    named = {(a["site"], a["target"]): a for a in work}

    assert set(named) == {RAGGING, LEAKING}
    assert named[RAGGING]["fault"][0] == "pump_ragging"
    assert named[RAGGING]["seconds_after_page"] < 120
    assert named[LEAKING]["fault"][0] == "check_valve_leak"
    assert summary["owed"].get("sent", 0) >= 2
    assert summary["problems"] == []
    assert "異物絡まり" in demo.words()


def test_a_healthy_fleet_is_left_in_peace(tmp_path: Path, start: Start) -> None:
    demo = start(
        "pumpwatch", "demo", "--headless", "--for", 60, "--speed", 1200, "--port", 0, "--stations", 6,
        "--data-dir", tmp_path / "demo", "--no-fault", log="demo",
    )  # fmt: skip
    summary = summary_of(demo)

    assert [a for a in summary["alerts"] if a["kind"] != "info"] == []
    assert summary["samples_stored"] > 1_300_000
    assert summary["problems"] == []
