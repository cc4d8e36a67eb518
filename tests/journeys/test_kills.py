"""A recorded town through broker and hub, with the hub and an agent killed on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumpwatch.cycles.recording import read_recording
from pumpwatch.transports.broker import EmbeddedBroker

from .conftest import SITES, Start, ask, run_cli, served_at, times, until
from .episodes import of_backtest, of_ledger

pytestmark = [pytest.mark.broker, pytest.mark.journey, pytest.mark.slow]


def test_a_killed_hub_and_a_killed_agent_change_nothing(
    recorded_town: Path, tmp_path: Path, start: Start
) -> None:
    data_dir = tmp_path / "hub"
    with EmbeddedBroker(tmp_path / "broker", programs=("mosquitto",)) as broker:
        address = f"{broker.host}:{broker.port}"
        run_cli("sites", "import", recorded_town, "--recording", "--data-dir", data_dir)

        def serve(log: str):  # type: ignore[no-untyped-def]
            return start(
                "pumpwatch", "serve", "--data-dir", data_dir, "--broker", address, "--port", 0,
                log=log,
            )  # fmt: skip

        def send(site: str, log: str):  # type: ignore[no-untyped-def]
            return start(
                "pumpwatch-edge", "run", "--broker", address, "--tenant", "default",
                "--replay", recorded_town / site, "--speed", 0, "--exit-when-done",
                "--outbox", tmp_path / f"{site}.outbox", log=log,
            )  # fmt: skip

        hub = serve("hub-1")
        url = served_at(hub)
        agents = {site: send(site, f"{site}-1") for site in SITES}

        def stored() -> int:
            return int(ask(f"{url}/api/v1/status")["counters"]["stored"])

        until(lambda: stored() >= 150, "the hub has taken something")
        hub.kill()
        agents["mh-03"].kill()
        agents["mh-03"] = send("mh-03", "mh-03-2")
        hub = serve("hub-2")
        url = served_at(hub)
        for site, agent in agents.items():
            assert agent.wait() == 0, f"{site}: {agent.words()}"
        until(
            lambda: not any(ask(f"{url}/api/v1/status")["inbox_lag"].values()),
            "the hub has judged everything",
        )
        assert hub.stop() == 0, hub.words()

    for site in SITES:
        distinct = read_recording(recorded_town / site).chunk.t_ms.tolist()
        assert times(data_dir, site) == set(distinct)

    out = tmp_path / "alerts.jsonl"
    run_cli("backtest", recorded_town, "--out", out)
    expected = of_backtest(json.loads(line) for line in out.read_text().splitlines())
    found = of_ledger(run_cli("alerts", "list", "--all", "--data-dir", data_dir))
    assert found == expected
    predictive = [episode for episode in expected.values() if episode["kind"] == "predictive"]
    assert len(predictive) >= 5
