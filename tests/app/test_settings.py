"""Settings come from four places, and a misspelt one is refused with the word that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.app.settings import load_settings, redacted
from pumpwatch.domain.errors import InvalidInput, PumpwatchError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pumpwatch.toml"


def test_without_any_source_the_defaults_hold(file: Path) -> None:
    settings = load_settings()
    assert settings.web.host == "127.0.0.1"
    assert settings.data_dir == Path("pumpwatch-data")


def test_command_line_beats_environment_beats_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[broker]\nport = 1\nhost = 'from-file'\n[web]\nport = 1\n")
    monkeypatch.setenv("PUMPWATCH_BROKER__PORT", "2")
    monkeypatch.setenv("PUMPWATCH_WEB__PORT", "2")
    settings = load_settings(overrides={"web": {"port": 3}})
    assert (settings.broker.host, settings.broker.port, settings.web.port) == ("from-file", 2, 3)


def test_a_secret_may_come_from_a_file_and_is_never_shown(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "pumpwatch_broker").write_text('{"password": "hunter2hunter2"}')
    monkeypatch.setenv("PUMPWATCH_SECRETS_DIR", str(secrets))
    settings = load_settings()
    assert settings.broker.password is not None
    assert settings.broker.password.get_secret_value() == "hunter2hunter2"
    assert "hunter2" not in str(redacted(settings))


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("data_dirr = 'x'", "data_dirr", "'data_dir'"),
        ("[broker]\nprot = 1883", "broker.prot", "'port'"),
        (
            "[notify.webhook]\nurl='https://x'\nsecrt='y'\nsecret='z'",
            "notify.webhook.secrt",
            "secret",
        ),
    ],
)
def test_a_misspelt_setting_is_refused_with_a_suggestion(
    file: Path, text: str, field: str, hint: str
) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert caught.value.field == field
    assert hint in caught.value.remedy


def test_a_misspelt_variable_is_refused_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMPWATCH_BROKR__PORT", "1")
    with pytest.raises(InvalidInput, match="did you mean PUMPWATCH_BROKER"):
        load_settings()


def test_a_value_out_of_bounds_names_its_setting(file: Path) -> None:
    file.write_text("[web]\nport = 99999\n")
    with pytest.raises(InvalidInput, match=r"web\.port"):
        load_settings()


def test_a_file_that_is_not_toml_or_not_there_says_so(file: Path) -> None:
    file.write_text("port = \n")
    with pytest.raises(InvalidInput, match="not TOML"):
        load_settings()
    with pytest.raises(PumpwatchError, match="no settings file"):
        load_settings(file.with_name("other.toml"))
