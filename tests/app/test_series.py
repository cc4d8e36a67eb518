"""Which store holds the samples: chosen by a setting, never exchanged unawares, brought along by a copy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from line_servers import InfluxServer, VictoriaServer
from pydantic import SecretStr
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.copying import Copied, Copying
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import open_stores
from pumpwatch.app.series import open_series, open_server, own_series
from pumpwatch.app.settings import SeriesSettings, load_settings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import Conflict, InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site
from pumpwatch.stores.ledger import SqlLedger

A, B = SiteKey("default", "mh-01"), SiteKey("default", "mh-02")
NOW_MS = 1_763_600_000_000
NOWHERE = "http://127.0.0.1:9"
OWN = SeriesSettings.model_validate({})


def victoria_at(url: str) -> SeriesSettings:
    return SeriesSettings.model_validate({"engine": "victoria", "url": url})


def rows(start_ms: int, count: int, **more: float) -> Chunk:
    t_ms = start_ms + 10_000 * np.arange(count)
    columns = {"level_m": np.arange(count) / 8, **{n: np.full(count, v) for n, v in more.items()}}
    return Chunk(t_ms, columns)


@pytest.fixture
def town(tmp_path: Path) -> DataDir:
    """A live directory with a ledger of two stations, one of which announced a gas sensor."""
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    for key in (A, B):
        ledger.put_site(key, Site(key.site), SYSTEM, 1)
    ledger.put_birth(Birth(A, True, signals={"level_m": {}, "h2s_ppm": {"unit": "ppm"}}), 1)
    ledger.close()
    return directory


def fill(directory: DataDir, *batch: tuple[SiteKey, Chunk]) -> None:
    own = own_series(directory)
    own.write(batch, 7)
    own.close()


def pumpwatch(*arguments: object, code: int = 0) -> Any:
    answer = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pumpwatch.toml"
    file.write_text(text)
    return file


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("engine = 'influxdb'", "series.engine", "influx"),
        ("engine = 'victoria'", "series.url", "http://"),
        ("engine = 'victoria'\nurl = 'localhost:8428'", "series.url", "http://"),
        ("engine = 'victoria'\nurl = 'http://a:b'", "series.url", "http://"),
        ("engine = 'victoria'\nurl = 'http://u:p@a'", "series.url", "series.username"),
        ("engine = 'victoria'\nurl = 'http://a'\ntoken = 't'", "series.token", "take it out"),
        ("engine = 'victoria'\nurl = 'http://a'\ndatabase = 'd'", "series.database", "take it out"),
        ("engine = 'victoria'\nurl = 'http://a'\nca_file = 'ca.pem'", "series.ca_file", "https"),
        ("engine = 'victoria'\nurl = 'http://a'\nusername = 'u'", "series.password", "together"),
        ("engine = 'influx'\nurl = 'http://a'", "series.database", "bucket"),
        ("engine = 'influx'\nurl = 'http://a'\ndatabase = 'd'", "series.org", "organisation"),
        (
            "engine = 'influx'\nurl = 'http://a'\ndatabase = 'd'\norg = 'o'",
            "series.token",
            "read and write",
        ),
        (
            "engine = 'influx'\nversion = 1\nurl = 'http://a'\ndatabase = 'd'\ntoken = 't'",
            "series.token",
            "series.username",
        ),
        (
            "engine = 'influx'\nversion = 3\nurl = 'http://a'\ndatabase = 'd'\nusername = 'u'\n"
            "password = 'p'",
            "series.username",
            "series.token",
        ),
        ("version = 4", "series.version", "less than or equal to 3"),
        ("timeout_s = 0", "series.timeout_s", "greater than 0"),
    ],
)
def test_what_an_engine_needs_and_does_not_need_is_named(
    tmp_path: Path, text: str, field: str, hint: str
) -> None:
    with pytest.raises(InvalidInput) as told:
        load_settings(written(tmp_path, f"[series]\n{text}"))
    assert told.value.field == field
    assert hint in str(told.value)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_password_and_the_token_are_secrets(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, f"[series]\nengine = 'influx'\nurl = 'https://a'\nversion = {version}")
    secret = {"username": "hub", "password": "hunter2"} if version == 1 else {"token": "hunter2"}
    (tmp_path / "pumpwatch_series").write_text(json.dumps(secret))
    monkeypatch.setenv("PUMPWATCH_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("PUMPWATCH_SERIES__DATABASE", "pumps")
    monkeypatch.setenv("PUMPWATCH_SERIES__ORG", "town")
    series = load_settings(file).series
    assert SecretStr("hunter2") in (series.password, series.token)
    assert "hunter2" not in series.model_dump_json()


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    series = SeriesSettings.model_validate(
        {"engine": "victoria", "url": "https://a", "ca_file": tmp_path / "none.pem"}
    )
    with pytest.raises(InvalidInput, match=r"series\.ca_file: .*none\.pem cannot be used"):
        open_server(series, tmp_path / "p.db")


# -- which store -----------------------------------------------------------------------------------


def test_a_server_that_is_away_keeps_nobody_from_opening_the_stores(town: DataDir) -> None:
    stores = open_stores(town, victoria_at(NOWHERE))
    assert stores.series.position() == 0
    with pytest.raises(StoreUnavailable, match="it is tried again"):
        stores.series.latest([A])
    stores.close()


def test_samples_in_the_directory_are_not_left_behind_unawares(town: DataDir) -> None:
    fill(town, (A, rows(NOW_MS, 3)))
    with pytest.raises(Conflict) as told:
        open_series(town, victoria_at(NOWHERE))
    assert "its own files, the settings name VictoriaMetrics http://127.0.0.1:9" in str(told.value)
    assert "pumpwatch series --help" in told.value.remedy


def test_nor_are_those_in_a_server(town: DataDir) -> None:
    open_series(town, victoria_at(NOWHERE)).close()
    open_series(town, victoria_at(NOWHERE + "/")).close()
    for other in (OWN, victoria_at("http://127.0.0.1:10")):
        with pytest.raises(Conflict, match="are in VictoriaMetrics http://127"):
            open_series(town, other)


@pytest.mark.parametrize("purpose", ["demo", "recording"])
def test_demo_and_recordings_never_write_to_the_towns_server(tmp_path: Path, purpose: Any) -> None:
    directory = DataDir(tmp_path / purpose)
    directory.claim(purpose)
    store = open_series(directory, victoria_at(NOWHERE))
    assert isinstance(store, type(open_series(directory)))
    store.close()
    assert not directory.series_home.exists()


def test_use_names_the_new_store_and_the_next_step(town: DataDir, tmp_path: Path) -> None:
    fill(town, (A, rows(NOW_MS, 3)))
    file = written(tmp_path, f"[series]\nengine = 'victoria'\nurl = '{NOWHERE}'")
    at = ("--config", file, "--data-dir", town.path)
    found = pumpwatch("series", "show", *at, code=3)
    assert found["problems"][0]["remedy"].endswith("pumpwatch series --help")
    told = pumpwatch("series", "use", *at)
    assert (told["before"], told["now"]) == ("its own files", f"VictoriaMetrics {NOWHERE}")
    assert told["then"].endswith("pumpwatch series copy --from sqlite")
    open_series(town, victoria_at(NOWHERE)).close()
    assert pumpwatch("series", "use", *at) == {"before": told["now"], "now": told["now"]}
    (away,) = pumpwatch("series", "show", *at, code=3)["problems"]
    assert "cannot be reached" in away["problem"]


def test_a_running_hubs_store_is_not_exchanged(town: DataDir, tmp_path: Path) -> None:
    file = written(tmp_path, f"[series]\nengine = 'victoria'\nurl = '{NOWHERE}'")
    with town.locked():
        answer = CliRunner().invoke(
            app, ["series", "use", "--config", str(file), "--data-dir", str(town.path)]
        )
    assert answer.exit_code == 1
    assert "another hub" in answer.stderr
    assert not town.series_home.exists()


# -- copy ------------------------------------------------------------------------------------------


@pytest.mark.store
def test_a_copy_brings_everything_along_while_the_new_store_is_in_use(
    town: DataDir, tmp_path: Path, victoria: Callable[[Path], Any], victoria_server: VictoriaServer
) -> None:
    victoria(tmp_path).close()
    old, late = rows(NOW_MS - 40 * DAY_MS, 500, h2s_ppm=4.5), rows(NOW_MS - DAY_MS, 300)
    fill(town, (A, old), (A, late), (B, late))
    at = ("--config", written(tmp_path, f"[series]\nengine = 'victoria'\nurl = '{victoria_server.url}'"),
          "--data-dir", town.path)  # fmt: skip
    pumpwatch("series", "use", *at)
    running = open_series(town, victoria_at(victoria_server.url))
    running.write([(A, rows(NOW_MS, 5)), (B, rows(NOW_MS - DAY_MS, 100))], 9)
    told = pumpwatch("series", "copy", "--from", "sqlite", *at)
    assert [(r["site"], r["rows"], r["copied"], r["already_there"]) for r in told] == [
        ("mh-01", 800, 800, 0),
        ("mh-02", 300, 200, 100),
    ]
    found = running.read_raw(A, 0, 2**62, ["level_m", "h2s_ppm"])
    assert len(found) == 805
    assert found.signals["level_m"][:500].tolist() == old.signals["level_m"].tolist()
    assert found.signals["h2s_ppm"][:500].tolist() == [4.5] * 500
    assert running.count(B) == 300
    assert running.position() == 9, "what the hub has seen is the hub's"
    running.close()
    assert not list(town.path.glob("series*copy*"))


@pytest.mark.store
def test_a_copy_that_was_stopped_goes_on_where_it_was(
    town: DataDir, tmp_path: Path, victoria: Callable[[Path], Any], victoria_server: VictoriaServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    victoria(tmp_path).close()
    month = [(key, rows(NOW_MS - 8 * k * DAY_MS, 50)) for k in range(4) for key in (A, B)]
    fill(town, *month)
    ledger = SqlLedger(town.core_url)
    copy = Copying(town, OWN, victoria_at(victoria_server.url), ledger)
    pieces: list[str] = []

    def cut(what: str, _share: float) -> None:
        pieces.append(what)
        if len(pieces) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy.run(NOW_MS, cut)
    other = Copying(town, OWN, victoria_at(NOWHERE), ledger)
    with pytest.raises(Conflict, match="was not finished"):
        other.run(NOW_MS, cut)
    again = copy.run(NOW_MS, lambda *_: None)
    assert 0 < again[A].rows < 200, "what was done is not done again"
    assert again[B] == Copied(rows=200, stored=200)
    found = open_server(victoria_at(victoria_server.url), tmp_path / "reader.db")
    assert (found.count(A), found.count(B)) == (200, 200)
    found.close()
    ledger.close()


@pytest.mark.influx
def test_a_copy_comes_back_from_a_server_as_well(
    town: DataDir, tmp_path: Path, influx_server: InfluxServer
) -> None:
    name = influx_server.new_database()
    text = f"[series]\nengine = 'influx'\nversion = 1\nurl = '{influx_server.url}'\ndatabase = '{name}'"
    old = written(tmp_path, text)
    open_series(town, load_settings(old).series).close()
    server = open_server(load_settings(old).series, tmp_path / "p.db")
    server.write([(A, rows(NOW_MS, 90, h2s_ppm=2.0))], 1)
    server.close()
    at = ("--config", tmp_path / "own.toml", "--data-dir", town.path)
    (tmp_path / "own.toml").write_text("")
    answer = CliRunner().invoke(app, ["series", "copy", "--from", str(old), *map(str, at)])
    assert answer.exit_code == 1
    assert "stop the hub, then: pumpwatch series use" in answer.stderr
    assert "OLD-SETTINGS.toml" in pumpwatch("series", "use", *at)["then"]
    assert [r["copied"] for r in pumpwatch("series", "copy", "--from", old, *at)] == [90, 0]
    own = open_series(town)
    assert own.read_raw(A, 0, 2**62, ["h2s_ppm"]).signals["h2s_ppm"].tolist() == [2.0] * 90
    own.close()


def test_a_copy_into_the_directory_waits_for_the_hub_to_end(town: DataDir) -> None:
    ledger = SqlLedger(town.core_url)
    copy = Copying(town, victoria_at(NOWHERE), OWN, ledger)
    with town.locked(), pytest.raises(PumpwatchError, match="another hub"):
        copy.run(NOW_MS, lambda *_: None)
    ledger.close()


# -- doctor ----------------------------------------------------------------------------------------


def examined(directory: DataDir, tmp_path: Path, url: str) -> tuple[str, str, str]:
    file = written(tmp_path, f"[series]\nengine = 'victoria'\nurl = '{url}'")
    answer = CliRunner().invoke(
        app, ["doctor", "--config", str(file), "--data-dir", str(directory.path), "--json"]
    )
    (check,) = [c for c in json.loads(answer.stdout) if c["name"] == "series"]
    return check["verdict"], check["found"], check["remedy"]


def test_doctor_says_that_the_server_is_away_and_that_alerts_go_on(
    town: DataDir, tmp_path: Path, dead_port: int
) -> None:
    verdict, found, remedy = examined(town, tmp_path, f"http://127.0.0.1:{dead_port}")
    assert verdict == "warning"
    assert "cannot be reached" in found
    assert "alerts go on" in remedy


@pytest.mark.store
def test_doctor_asks_the_server_for_its_settings(
    town: DataDir, tmp_path: Path, victoria_server: VictoriaServer
) -> None:
    verdict, found, _ = examined(town, tmp_path, victoria_server.url)
    assert (verdict, found) == (
        "ok",
        f"VictoriaMetrics {victoria_server.url} answers and is set as it should be: a row that is sent"
        " again is kept once (-dedup.minScrapeInterval=1ms)",
    )


def test_doctor_says_that_the_samples_are_elsewhere(town: DataDir, tmp_path: Path) -> None:
    fill(town, (A, rows(NOW_MS, 3)))
    verdict, found, remedy = examined(town, tmp_path, NOWHERE)
    assert verdict == "failed"
    assert "its own files" in found
    assert "pumpwatch series --help" in remedy
