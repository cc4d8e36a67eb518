"""A hub is lost while a town talks to it, and another one goes on from its backup."""

from __future__ import annotations

from pathlib import Path

import pytest
from paho.mqtt import publish

from pumpwatch.cycles.recording import read_recording
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch_edge.message import Ack, Channel, Lane, encode_ack, topic
from pumpwatch_edge.outbox import SqliteOutbox

from .conftest import SITES, Start, ask, run_cli, served_at, times, until

pytestmark = [pytest.mark.broker, pytest.mark.journey, pytest.mark.slow]


def test_an_agent_that_was_away_deletes_nothing_on_the_word_of_a_hub_that_is_lost(
    recorded_days: Path, tmp_path: Path, start: Start
) -> None:
    site, outbox, new = SITES[0], tmp_path / "edge.outbox", tmp_path / "new"
    with EmbeddedBroker(tmp_path / "broker", programs=("mosquitto",)) as broker:
        address = f"{broker.host}:{broker.port}"

        def send(log: str):  # type: ignore[no-untyped-def]
            return start(
                "pumpwatch-edge", "run", "--broker", address, "--tenant", "default",
                "--replay", recorded_days / site, "--speed", 0, "--exit-when-done",
                "--outbox", outbox, log=log,
            )  # fmt: skip

        def serve(log: str):  # type: ignore[no-untyped-def]
            hub = start(
                "pumpwatch", "serve", "--data-dir", new, "--broker", address, "--port", 0, log=log
            )
            return hub, served_at(hub)

        run_cli("sites", "import", recorded_days / site, "--recording", "--data-dir", new)
        hub, url = serve("before")
        until(lambda: ask(f"{url}/api/v1/status")["broker_connected"], "its session is there")
        assert hub.stop() == 0, hub.words()

        agent = send("first")
        until(lambda: outbox.exists() and outbox.stat().st_size > 100_000, "it has kept something")
        assert agent.stop() == 0, agent.words()
        held = SqliteOutbox(outbox)
        ack = Ack(held.epoch, held.last(Lane.TELEMETRY), held.last(Lane.EVENT))
        held.close()
        assert ack.telemetry > 0
        publish.single(
            topic("default", site, Channel.ACK), encode_ack(ack), qos=1, retain=True,
            hostname=broker.host, port=broker.port,
        )  # fmt: skip

        agent = send("again")
        until(lambda: "connected to the broker" in agent.words(), "it has read what was retained")
        hub, url = serve("after")
        assert agent.wait() == 0, agent.words()
        until(
            lambda: not any(ask(f"{url}/api/v1/status")["inbox_lag"].values()),
            "the hub has recorded everything",
        )
        assert hub.stop() == 0, hub.words()
    assert times(new, site) == set(read_recording(recorded_days / site).chunk.t_ms.tolist())


def test_what_a_restored_hub_lacks_is_what_the_lost_one_confirmed_after_the_backup(
    recorded_days: Path, tmp_path: Path, start: Start
) -> None:
    lost, new, archive = tmp_path / "lost", tmp_path / "new", tmp_path / "hub.tar.gz"
    with EmbeddedBroker(tmp_path / "broker", programs=("mosquitto",)) as broker:
        address = f"{broker.host}:{broker.port}"
        run_cli("sites", "import", recorded_days, "--recording", "--data-dir", lost)

        def serve(data_dir: Path):  # type: ignore[no-untyped-def]
            return start(
                "pumpwatch", "serve", "--data-dir", data_dir, "--broker", address, "--port", 0,
                log=data_dir.name,
            )  # fmt: skip

        def send(site: str):  # type: ignore[no-untyped-def]
            return start(
                "pumpwatch-edge", "run", "--broker", address, "--tenant", "default",
                "--replay", recorded_days / site, "--speed", 0, "--exit-when-done",
                "--outbox", tmp_path / f"{site}.outbox", log=site,
            )  # fmt: skip

        def stored() -> int:
            return int(ask(f"{url}/api/v1/status")["counters"]["stored"])

        before, between, after = SITES
        hub = serve(lost)
        url = served_at(hub)
        agents = [send(before)]
        until(lambda: stored() >= 150, "the hub has taken something")
        made = run_cli("backup", "create", archive, "--data-dir", lost)
        already = stored()
        agents.append(send(between))
        until(lambda: stored() >= already + 50, "the hub has taken what no backup has")
        hub.kill()
        run_cli("backup", "restore", archive, "--data-dir", new)
        at_backup = times(new, before)
        hub = serve(new)
        url = served_at(hub)
        agents.append(send(after))
        for agent in agents:
            assert agent.wait() == 0, agent.words()
        until(
            lambda: not any(ask(f"{url}/api/v1/status")["inbox_lag"].values()),
            "the hub has recorded everything",
        )
        assert hub.stop() == 0, hub.words()

    assert made["positions"]["inbox.db"] >= 150
    relic = start(
        "pumpwatch",
        "serve",
        "--data-dir",
        lost,
        "--port",
        0,
        "--broker",
        "127.0.0.1:1",
        log="relic",
    )
    url = served_at(relic)
    until(
        lambda: not any(ask(f"{url}/api/v1/status")["inbox_lag"].values()),
        "what was on the lost hub's disk is in its series",
    )
    assert relic.stop() == 0
    assert at_backup <= times(new, before)
    for site in SITES:
        everything = set(read_recording(recorded_days / site).chunk.t_ms.tolist())
        assert times(new, site) <= everything
        assert everything - times(new, site) <= times(lost, site)
    assert times(new, after) == everything
