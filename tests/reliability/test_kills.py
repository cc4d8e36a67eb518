"""Every point at which a kill matters is struck once; what CI proves of `make reliability`."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .checker import Verdict, check
from .faults import broker_emptied, broker_killed, recovery_s
from .labels import LABELS, MID_HTTP
from .nursery import ROOT, Nursery
from .run import strike_all
from .town import IN_FLIGHT, Plan, Town, town

pytestmark = [pytest.mark.broker, pytest.mark.journey, pytest.mark.slow]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("nursery") / "log")
    yield made
    made.close()


def verdict_of(made: Town) -> Verdict:
    made.settle()
    return check(made)


def test_every_point_that_the_code_announces_is_struck() -> None:
    sources = [*(ROOT / "pumpwatch").rglob("*.py"), *(ROOT / "edge").rglob("*.py")]
    announced = re.compile(r'sys\.audit\("pumpwatch\.reached", "([^"]+)"\)')
    found = {name for source in sources for name in announced.findall(source.read_text())}
    assert {label.name for label in LABELS} == found | {MID_HTTP}


def test_kills_at_every_point_and_of_the_broker_lose_nothing_that_was_acknowledged(
    tmp_path: Path, nursery: Nursery
) -> None:
    with town(tmp_path, Plan(), 1, nursery=nursery) as made:
        strike_all(
            made,
            hub=[label.name for label in LABELS if label.victim == "hub"],
            edge=[label.name for label in LABELS if label.victim == "edge"],
        )
        broker_killed(made)
        broker_emptied(made)
        recovery_s(made)
        verdict = verdict_of(made)
    assert verdict.broken == {}
    at_the_line = {strike.label for strike in made.strikes if strike.hit}
    assert len(at_the_line) >= len(LABELS) - 4, "points are hardly ever passed"
    assert all(strike.in_flight >= IN_FLIGHT for strike in made.strikes)
    assert verdict.acknowledged > 1_000
    assert verdict.alerts_owed > 10
    assert verdict.obligations > 10


def test_a_hub_that_confirms_before_it_commits_is_found_out(
    tmp_path: Path, nursery: Nursery
) -> None:
    with town(tmp_path, Plan(inbox="write_behind"), 1, nursery=nursery) as made:
        for _ in range(3):
            made.strike("ingest.watermarked")
        verdict = verdict_of(made)
    assert "acknowledged and lost" in verdict.broken


def test_an_agent_that_believes_the_broker_is_found_out(tmp_path: Path, nursery: Nursery) -> None:
    with town(tmp_path, Plan(agent="trims_on_puback"), 1, nursery=nursery) as made:
        made.children["hub"].send(signal.SIGKILL)
        time.sleep(1)  # the broker takes what the hub cannot, and then is lost with it
        broker_emptied(made)
        made.start("hub")
        recovery_s(made)
        verdict = verdict_of(made)
    assert "acknowledged and lost" in verdict.broken
