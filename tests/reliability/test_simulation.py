"""The simulated town keeps the promises, repeats itself by its seed, and finds hubs and agents that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pumpwatch_edge.agent import Agent
from tests.reliability.simulation import mutants
from tests.reliability.simulation.hub import Parts
from tests.reliability.simulation.report import Report
from tests.reliability.simulation.timeline import MINUTE
from tests.reliability.simulation.town import CLOSE, WIDE, Scale, Town, run

SMALL = Scale((2, 4), (3, 5), ((900, 1800),), 10 * MINUTE, False)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_owed_is_unsent() -> None:
    report = Report()
    close = Scale((2, 2), (1, 2), CLOSE.habits, CLOSE.pulse, True)
    wide = Scale((4, 7), (15, 25), WIDE.habits, WIDE.pulse, False)
    for seed, scale in [(1, wide), (2, wide), (3, close), (6, close)]:
        report.add(run(seed, scale))
    content = report.content(0.0)
    assert content["violations"] == []
    assert (content["lost"], content["obligations_unsent"], content["alerts_lost"]) == (0, 0, 0)
    assert content["acknowledged"] > 1_000
    assert content["notifications_owed"] > 200
    assert content["alerts_compared"] > 20
    assert len(content["faults"]) > 15


def test_the_same_seed_is_the_same_run_whatever_the_hash_seed() -> None:
    script = (
        "from tests.reliability.simulation.report import quiet\n"
        "from tests.reliability.test_simulation import SMALL\n"
        "from tests.reliability.simulation.town import run\n"
        "quiet()\n"
        "result = run(11, SMALL)\n"
        "import json; print(json.dumps([result.digest, sorted(result.counts.items())]))\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": str(number)},
            check=True, capture_output=True, text=True,
        ).stdout
        for number in (1, 2)
    ]  # fmt: skip
    assert said[0] == said[1]
    assert json.loads(said[0])[1]


MUTANTS: dict[str, tuple[type[Parts], type[Agent], set[str], str]] = {
    "a hub that acknowledges before it commits": (
        mutants.AcksBeforeCommit, Agent, {"hub_kill"}, "which the hub does not have",
    ),
    "an agent that deletes on PUBACK": (
        Parts, mutants.DeletesOnPuback, {"broker_kill"}, "which the hub does not have",
    ),
    "a notifier that settles before it sends": (
        mutants.SettlesBeforeSending, Agent, {"hub_kill", "provider_down"}, "never took it",
    ),
    "a recorder that moves its cursor before it writes": (
        mutants.MovesItsCursorBeforeTheRows, Agent, {"hub_kill"}, "not in the series",
    ),
    "an assessment that moves its cursor before the alert is written": (
        mutants.MovesItsCursorBeforeTheAlert, Agent, {"hub_kill"}, "no alert of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_it_finds(name: str) -> None:
    parts, agent, faults, finding = MUTANTS[name]
    for seed in range(1, 9):
        town = Town(seed, SMALL, parts=parts(), agent=agent, knows=frozenset(faults))
        if any(finding in violation for violation in town.run().violations):
            break
    else:
        pytest.fail(f"eight towns lived on with {name}")


def test_the_same_faults_harm_nothing_that_is_sound() -> None:
    faults = frozenset(fault for *_, known, _ in MUTANTS.values() for fault in known)
    for seed in (1, 2, 3):
        assert Town(seed, SMALL, knows=faults).run().violations == []
