from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch_edge.errors import SettingsError
from pumpwatch_edge.message import Plan
from pumpwatch_edge.settings import load, setting_names

FULL = """
tenant = "town"
site = "mh0001"

[broker]
host = "broker.example"
port = 8883
tls = true
username = "mh0001"

[source]
dir = "recordings/mh0001"
speed = 0

[sampling]
period_s = 20
batch_age_s = 10
[sampling.dead_band]
level_m = 0.005

[outbox]
file = "/var/lib/pumpwatch-edge/outbox.db"
max_mb = 50
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edge.toml"
    path.write_text(FULL)
    return path


def test_a_file_says_everything(file: Path) -> None:
    settings = load(file)

    assert (settings.tenant, settings.site) == ("town", "mh0001")
    assert settings.broker.address == "broker.example:8883"
    assert (settings.source.speed, settings.outbox.max_mb) == (0.0, 50.0)
    assert settings.sampling.plan() == Plan(20.0, {"level_m": 0.005}, batch_age_s=10.0)


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(file: Path) -> None:
    environment = {
        "PUMPWATCH_EDGE_SITE": "from-environment",
        "PUMPWATCH_EDGE_BROKER__PORT": "1884",
        "PUMPWATCH_EDGE_BROKER__TLS": "false",
        "OTHER": "x",
    }
    settings = load(file, environment, {"site": "from-flag", "source.speed": "60"})

    assert settings.site == "from-flag"
    assert (settings.broker.port, settings.broker.tls) == (1884, False)
    assert settings.source.speed == 60.0
    assert settings.broker.host == "broker.example"


def test_without_anything_the_defaults_hold() -> None:
    settings = load()

    assert settings.broker.address == "127.0.0.1:1883"
    assert settings.sampling.plan() == Plan()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sit = 'a'", "sit: unknown setting: did you mean site?"),
        ("[broker]\nhots = 'a'", "broker.hots: unknown setting: did you mean host?"),
        ("[brokr]\n", "brokr: unknown setting: did you mean broker?"),
        ("[broker]\nxyzzy = 1", "broker.xyzzy: unknown setting: known are host, port"),
        ("broker = 1", "broker: not a table: write [broker]"),
        ("[broker]\nport = 'x'", "broker.port: 'x' cannot be used: give a whole number"),
        ("[broker]\nport = 70000", "broker.port: 70000 cannot be used: give 1 to 65535"),
        ("[broker]\nport = 1.5", "broker.port: 1.5 cannot be used: give a whole number"),
        ("[broker]\nport = true", "broker.port: True cannot be used: give a whole number"),
        ("[broker]\ntls = 'maybe'", "broker.tls: 'maybe' cannot be used: give true or false"),
        ("[broker]\nhost = 5", "broker.host: 5 cannot be used: give text"),
        ("[broker]\nversion = '4'", "broker.version: '4' cannot be used: give 3.1.1 or 5"),
        ("[broker]\nca_file = 'x'", "broker.ca_file: 'x' cannot be used: set broker.tls = true"),
        ("[broker]\npassword_file = '/no/such'", "broker.password_file: /no/such cannot be read"),
        ("site = 'MH 1'", "site: 'MH 1' is not an id"),
        ("[source]\nspeed = -1", "source.speed: -1.0 cannot be used"),
        ("[source]\nspeed = nan", "source.speed: nan cannot be used"),
        ("[source]\nkind = 'modbus'", "source.kind: 'modbus' cannot be used: give replay"),
        ("[sampling]\nbatch_samples = 501", "sampling.batch_samples: 501 cannot be used"),
        ("[sampling]\ndead_band = 3", "sampling.dead_band: 3 cannot be used: give a table"),
        ("[sampling.dead_band]\nlevel_m = 'x'", "sampling.dead_band.level_m: 'x' cannot be used"),
        ("[outbox]\nmax_mb = 0", "outbox.max_mb: 0.0 cannot be used"),
        ("site = ", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_remedy(file: Path, text: str, says: str) -> None:
    file.write_text(text)

    with pytest.raises(SettingsError) as caught:
        load(file)
    assert says in str(caught.value)


def test_a_misspelt_variable_is_refused_with_the_right_one() -> None:
    with pytest.raises(
        SettingsError, match=r"PUMPWATCH_EDGE_BROKER__HSOT is unknown: did you mean broker\.host"
    ):
        load(None, {"PUMPWATCH_EDGE_BROKER__HSOT": "x"})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"edge\.toml: no such file"):
        load(tmp_path / "edge.toml")


def test_a_password_comes_from_its_file_and_is_never_printed(tmp_path: Path, file: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    settings = load(file, overrides={"broker.password_file": str(secret)})

    assert settings.broker.password == "hunter2"
    assert "hunter2" not in repr(settings)


def test_every_setting_has_its_line_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "edge" / "README.md").read_text(encoding="utf-8")

    assert [name for name in setting_names() if f"`{name}`" not in readme] == []
