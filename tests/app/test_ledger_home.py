"""Where the ledger of a directory is, that it is never exchanged unawares, and how it is moved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filled_ledger import KEY, fill, rows
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import ledger_url, open_ledger
from pumpwatch.app.settings import LedgerSettings, load_settings
from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.errors import Conflict, InvalidInput
from pumpwatch.domain.sites import Site

SERVER = LedgerSettings(url="postgresql://hub@db.example/town")


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    directory = DataDir(tmp_path / "data")
    directory.claim("live")
    return directory


def settings_for(url: str) -> dict[str, str]:
    """The environment that names a server as a town would: the password apart."""
    bare, password = url.replace(":of-this-test-only", ""), "of-this-test-only"
    return {"PUMPWATCH_LEDGER__URL": bare, "PUMPWATCH_LEDGER__PASSWORD": password}


def run(directory: DataDir, *words: str, env: dict[str, str] | None = None) -> tuple[int, Any]:
    arguments = [*words, "--data-dir", str(directory.path), "--json"]
    done = CliRunner().invoke(app, arguments, env=env)
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else done.stderr


# -- the setting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://hub@db.example/town", "not the address of a PostgreSQL database"),
        ("postgresql://db.example", "not the address of a PostgreSQL database"),
        ("postgresql://hub:secret@db.example/town", "holds a password: use ledger.password"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=rf"ledger\.url: .*{says}") as refused:
        load_settings(overrides={"ledger": {"url": url}})
    assert "secret" not in str(refused.value)


def test_the_password_may_come_from_the_secrets(
    tmp_path: Path, directory: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pumpwatch_ledger").write_text('{"password": "from the secrets"}')
    monkeypatch.setenv("PUMPWATCH_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("PUMPWATCH_LEDGER__URL", SERVER.url)
    found = ledger_url(directory, load_settings().ledger)
    assert found == "postgresql://hub:from the secrets@db.example/town"


# -- its home --------------------------------------------------------------------------------------


def test_a_new_live_directory_takes_the_server_and_keeps_to_it(directory: DataDir) -> None:
    assert ledger_url(directory, SERVER) == SERVER.url
    other = LedgerSettings(url="postgresql://hub@db.example/other")
    for settings in (other, LedgerSettings()):
        with pytest.raises(
            Conflict, match=r"is in postgresql://db.example:5432/town, .* ledger move"
        ):
            ledger_url(directory, settings)
    again = LedgerSettings(url="postgresql://another-user@db.example:5432/town?sslmode=require")
    assert ledger_url(directory, again) == again.url


def test_a_directory_with_a_ledger_of_its_own_is_not_given_another(directory: DataDir) -> None:
    open_ledger(directory).close()
    with pytest.raises(Conflict, match="is in its own file, the settings name postgresql://"):
        ledger_url(directory, SERVER)


@pytest.mark.parametrize("purpose", ["demo", "recording"])
def test_a_demo_or_a_recording_never_touches_the_towns_server(tmp_path: Path, purpose: Any) -> None:
    directory = DataDir(tmp_path / "data")
    directory.claim(purpose)
    assert ledger_url(directory, SERVER) == directory.core_url
    code, says = run(
        directory, "ledger", "move", "server", env={"PUMPWATCH_LEDGER__URL": SERVER.url}
    )
    assert code == 2
    assert f"holds {purpose} data" in says


# -- moving ----------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_ledger_moves_to_a_server_and_back_with_every_row(
    directory: DataDir, postgres: Callable[[], str]
) -> None:
    fill(directory.core_url)
    before, url = rows(directory.core_url), postgres()
    env = settings_for(url)
    code, told = run(directory, "ledger", "move", "server", env=env)
    assert code == 0, told
    assert told["rows"] == sum(map(len, before.values()))
    assert rows(url) == before
    assert not directory.core.exists()
    assert run(directory, "sites", "list", env=env)[1]["sites"][0]["site"] == KEY.site
    code, says = run(directory, "sites", "list")
    assert code == 1
    assert "is in postgresql://127.0.0.1" in says

    ledger = open_ledger(directory, LedgerSettings(url=url.replace(":of-this-test-only", ""), password="of-this-test-only"))  # fmt: skip
    ledger.put_site(KEY, Site("mh0001", pumps=3), LOCAL, 9)  # numbers go on behind the copied ones
    newest, _ = ledger.changed_since(0)
    assert newest == 1 + max(row[0] for row in before["audit"])
    ledger.close()
    after = rows(url)

    code, told = run(directory, "ledger", "move", "file", env=env)
    assert code == 0, told
    assert rows(directory.core_url) == after
    assert run(directory, "sites", "list")[0] == 0


@pytest.mark.postgres
def test_a_ledger_moves_only_to_an_empty_place_and_without_a_hub(
    directory: DataDir, postgres: Callable[[], str]
) -> None:
    fill(directory.core_url)
    url = postgres()
    fill(url)
    before = rows(directory.core_url), rows(url)
    code, says = run(directory, "ledger", "move", "server", env=settings_for(url))
    assert (code, "is not empty" in says) == (1, True)
    with directory.locked():
        code, says = run(directory, "ledger", "move", "server", env=settings_for(postgres()))
    assert (code, "another hub" in says) == (1, True)
    assert (rows(directory.core_url), rows(url)) == before
    assert run(directory, "ledger", "move", "server")[0] == 2, "no server is set"


def test_version_upgrade_and_downgrade_are_commands(directory: DataDir) -> None:
    assert run(directory, "ledger", "version")[1]["revision"] == "none yet"
    code, told = run(directory, "ledger", "upgrade")
    newest = told["revision"]
    code, told = run(directory, "ledger", "version")
    assert (told["revision"], told["newest"]) == (newest, newest)
    code, says = run(directory, "ledger", "downgrade", "9999")
    assert code == 2
    assert f"9999 is none before {newest}" in says
    with directory.locked():
        assert run(directory, "ledger", "upgrade")[0] == 1
