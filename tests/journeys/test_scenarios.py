"""The shipped scenarios, from the weather to the alert: on recordings, and two of them over a broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.simulator.scenario import shipped

pytestmark = [pytest.mark.journey, pytest.mark.slow]


def check(*arguments: str) -> dict[str, Any]:
    answer = CliRunner().invoke(app, ["simulate", *arguments, "--check", "--json"])
    told = json.loads(answer.stdout)
    assert answer.exit_code == (0 if told["passed"] else 1)
    return dict(told)


@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_scenario_leads_to_the_alerts_it_expects_and_to_no_others(name: str) -> None:
    told = check(name, "--workers", "1")
    assert told["unexpected"] == []
    assert [e for e in told["expected"] if not e["in_time"]] == []


@pytest.mark.broker
@pytest.mark.parametrize("name", ["carrier-outage", "typhoon"])
def test_a_scenario_played_through_agents_broker_and_hub_ends_the_same_way(name: str) -> None:
    told = check(name, "--live")
    assert told["unexpected"] == []
    assert [e for e in told["expected"] if not e["in_time"]] == []
    assert told["expected"]


def test_a_scenario_that_expects_what_does_not_come_fails_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "calm.toml"
    file.write_text(
        'title = "calm"\nseed = 1\n[span]\nstart = 2025-05-01\ndays = 1\n[fleet]\ndraw = 1\n'
        '[fleet.mix]\none_minute = 1.0\n[[event]]\nwhat = "power_outage"\nstation = "mh-01"\n'
        'start = "6h"\nrepair = "1h"\n[[expect]]\ngroup = "control"\nstation = "mh-01"\n'
    )
    answer = CliRunner().invoke(app, ["simulate", str(file), "--check"])
    assert answer.exit_code == 1
    assert "missing     mh-01: control" in answer.stdout
    assert "unexpected  mh-01: power_outage" in answer.stdout
