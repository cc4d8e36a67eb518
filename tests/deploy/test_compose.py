"""The compose file: what it promises about images, ports, rights, settings and logs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from line_servers import VictoriaServer

from pumpwatch import __version__
from pumpwatch.app.settings import Settings, load_settings
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.stores.series_victoria import VictoriaSeries

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CONTENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]

each = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_there_is_a_broker_and_a_hub_and_the_rest_only_when_asked_for() -> None:
    assert set(SERVICES) == {"broker", "hub", "fleet", "victoria"}
    assert {name: s["profiles"] for name, s in SERVICES.items() if "profiles" in s} == {
        "fleet": ["fleet"],
        "victoria": ["victoria"],
    }


if shutil.which("docker-compose"):

    def test_docker_compose_takes_the_file() -> None:
        done = subprocess.run(
            ["docker-compose", "-f", str(COMPOSE), "config", "-q"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@each
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")

    assert image
    assert re.match(r"v?\d+\.\d+\.\d+", tag), "a tag that stays what it is"


@each_of_ours
def test_what_is_built_here_carries_the_version_of_the_code(name: str) -> None:
    assert SERVICES[name]["image"] == f"pumpwatch:{__version__}"


@each
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@each
def test_logs_are_rotated(name: str) -> None:
    options = SERVICES[name]["logging"]["options"]

    assert options.keys() >= {"max-size", "max-file"}


@each
def test_a_service_has_a_health_check_or_a_reason_why_not(name: str) -> None:
    reasons = re.findall(r"# Without a health check: .*\n  (\w+):", COMPOSE.read_text())

    assert ("healthcheck" in SERVICES[name]) is (name not in reasons)


@each
def test_the_root_is_read_only_and_volumes_are_named(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    for volume in service["volumes"]:
        source, _, rest = volume.partition(":")
        assert source in CONTENT["volumes"] or rest.endswith(":ro"), volume


@each_of_ours
def test_our_programs_keep_no_right_and_write_to_their_volume_only(name: str) -> None:
    service = SERVICES[name]
    [volume] = service["volumes"]
    written = service.get("environment", {}).get("PUMPWATCH_DATA_DIR") or service["command"][-1]

    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]
    assert volume.partition(":")[2] == written == "/data"
    assert "VOLUME /data" in (ROOT / "Dockerfile").read_text()


@each_of_ours
def test_our_programs_wait_for_a_broker_that_answers(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"broker": {"condition": "service_healthy"}}
    assert "healthcheck" in SERVICES["broker"]


@each
def test_every_setting_in_it_is_one_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name].get("environment", {})
    for variable, value in environment.items():
        assert variable.startswith("PUMPWATCH_")
        if value is not None:
            monkeypatch.setenv(variable, value)
    settings = load_settings()

    for variable, value in environment.items():
        found: Any = settings
        for part in variable.removeprefix("PUMPWATCH_").lower().split("__"):
            found = getattr(found, part)
        said = json.dumps(found) if isinstance(found, list) else str(found)
        assert value is None or said == value, variable


def test_a_misspelt_setting_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMPWATCH_WEB__HOTS", "0.0.0.0")
    with pytest.raises(InvalidInput, match="hots"):
        load_settings()


def test_ports_and_names_agree_with_each_other_and_with_the_defaults() -> None:
    hub, fleet = SERVICES["hub"], SERVICES["fleet"]
    host = hub["environment"]["PUMPWATCH_BROKER__HOST"]
    defaults = Settings.model_construct()
    address = fleet["command"][fleet["command"].index("--broker") + 1]
    _, _, inside = hub["ports"][0].split(":")

    assert host in SERVICES
    assert address == f"{host}:{defaults.broker.port}"
    assert int(inside) == defaults.web.port
    assert f":{inside}/healthz" in hub["healthcheck"]["test"][-1]
    listeners = re.findall(r"^listener (\d+)$", (ROOT / "deploy/mosquitto.conf").read_text(), re.M)
    assert listeners == [str(defaults.broker.port)]


def test_the_hub_keeps_its_samples_in_the_server_once_it_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = dict(re.findall(r"^(PUMPWATCH_SERIES__\w+)=(\S+)$", page, re.M))
    for variable, value in lines.items():
        assert SERVICES["hub"]["environment"][variable] is None, "handed on as it is"
        monkeypatch.setenv(variable, value)
    series = load_settings().series
    published, _, inside = SERVICES["victoria"]["ports"][0].rpartition(":")

    assert series.engine == "victoria"
    assert series.url == f"http://victoria:{inside}"
    assert published.startswith("127.0.0.1:")


@pytest.mark.store
def test_the_server_is_started_as_the_hub_needs_it(tmp_path: Path) -> None:
    flags = [f for f in SERVICES["victoria"]["command"] if "storageDataPath" not in f]
    server = VictoriaServer(tmp_path, flags)
    server.start()
    try:
        store = VictoriaSeries(server.url, path=tmp_path / "series.db")
        assert store.problems() == []
        store.close()
    finally:
        server.stop()


def test_the_simulated_fleet_never_speaks_for_a_real_tenant() -> None:
    command = SERVICES["fleet"]["command"]

    assert command[command.index("--tenant") + 1] == "demo"


def test_the_files_it_mounts_are_there() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(os.curdir) or (ROOT / source).is_file()
