"""The command line: every command answers people and machines, and an error is one line and a code."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.fleet_process import FleetPlan, FleetProcess
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import (
    Alert,
    Kind,
    Severity,
    Step,
    Transition,
    alert_id,
    iso_utc,
)
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import AlertChange
from pumpwatch.domain.sites import Site
from pumpwatch.simulator.recorded import FORMATS
from pumpwatch.stores.ledger import SqlLedger

KEY, WAITING = SiteKey("default", "mh-01"), SiteKey("default", "mh-77")
NOW = 1_763_607_600_000
SECRET = "hunter2hunter2"


def run(*words: object) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    surprise = done.exception
    assert surprise is None or isinstance(surprise, SystemExit), surprise
    return done


def answer(*words: object, code: int = 0) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def refused(*words: object, code: int = 1) -> str:
    """The one line that an expected error is."""
    done = run(*words)
    assert done.exit_code == code, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.output
    return lines[0]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def port() -> Iterator[int]:
    """A port in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A live directory with one station, one that waits for approval, and two open alerts."""
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(KEY, Site(KEY.site, name="北町第一"), SYSTEM, NOW)
    ledger.hold(WAITING, NOW, 12, Birth(WAITING, online=True))
    for cause, kind, fault in (
        ("capacity:pump1", Kind.PREDICTIVE, "pump_ragging"),
        ("high_level", Kind.CONDITION, "high_level"),
    ):
        alert = Alert(
            alert_id(KEY, cause, NOW), KEY, cause, kind, Severity.WARNING, (fault,),
            "pump1" if kind is Kind.PREDICTIVE else None, 0.9,
            {"since": iso_utc(NOW), "capacity_index": 0.8}, NOW, NOW,
        )  # fmt: skip
        opened = Transition(1, Step.OPENED, NOW, NOW, SYSTEM, alert.severity, alert.fault)
        ledger.commit_assessment([], [AlertChange(alert, [opened])], [])
    ledger.close()
    return directory.path


# -- every command -------------------------------------------------------------------------------


def commands() -> Iterator[tuple[list[str], Any]]:
    def walk(path: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk([*path, name], inner)

    yield from walk([], get_command(app))


@pytest.mark.parametrize("path", [p for p, _ in commands()], ids=lambda p: " ".join(p) or "root")
def test_every_command_explains_itself(path: list[str]) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.output


ENDLESS = {"demo", "serve"}
ALWAYS_JSON = {"schema"}


def test_every_command_that_answers_data_answers_in_json() -> None:
    without = {
        " ".join(path)
        for path, command in commands()
        if not getattr(command, "commands", None)
        and "--json" not in {word for option in command.params for word in option.opts}
    }
    assert {name.split()[-1] for name in without} <= ENDLESS | ALWAYS_JSON


def test_the_version_and_a_command_that_does_not_exist() -> None:
    assert run("--version").stdout.strip()
    assert run("no-such-command").exit_code == 2
    assert run("sites", "approve").exit_code == 2


# -- sites ---------------------------------------------------------------------------------------


def test_sites_are_listed_with_those_that_wait(town: Path) -> None:
    listed = answer("sites", "list", "--data-dir", town)
    assert [site["site"] for site in listed["sites"]] == ["mh-01"]
    assert [(h["site"], h["messages"]) for h in listed["held"]] == [("mh-77", 12)]
    words = run("sites", "list", "--data-dir", town).stdout
    assert "北町第一" in words
    assert "1 wait for approval" in words


def test_a_waiting_site_is_approved_with_its_settings_and_retired_again(
    town: Path, tmp_path: Path
) -> None:
    about = tmp_path / "site.json"
    about.write_text(json.dumps({"site": "mh-77", "start_level_m": 1.2, "mode": "recording"}))
    where = ("--data-dir", town)
    approved = answer("sites", "approve", "mh-77", "--file", about, "--by", "sato", *where)
    assert approved == {"approved": {"tenant": "default", "site": "mh-77"}}
    shown = answer("sites", "show", "mh-77", *where)
    assert (shown["start_level_m"], shown["mode"]) == (1.2, "live")
    assert answer("sites", "list", *where)["held"] == []
    assert "does not wait for approval" in refused("sites", "approve", "mh-77", *where)
    assert answer("sites", "retire", "mh-77", *where)["retired"]["site"] == "mh-77"
    assert "no site default/mh-77" in refused("sites", "retire", "mh-77", *where)


def test_the_settings_of_another_site_are_not_taken_for_a_site_that_waits(
    town: Path, tmp_path: Path
) -> None:
    about = tmp_path / "site.json"
    about.write_text(json.dumps({"site": "mh-02"}))
    line = refused("sites", "approve", "mh-77", "--file", about, "--data-dir", town, code=2)
    assert "mh-02" in line


def test_the_site_log_is_written_once_and_listed(town: Path) -> None:
    where = ("--data-dir", town)
    moment = ("--at", "2026-04-01T09:00+09:00")
    for _ in range(2):
        answer("sites", "log", "mh-01", "overhaul", "--target", "pump1", *moment, *where)
    (row,) = answer("sites", "log", "mh-01", *where)
    assert (row["t"], row["kind"], row["target"]) == ("2026-04-01T00:00:00Z", "overhaul", "pump1")
    assert "no moment" in refused("sites", "log", "mh-01", "visit", "--at", "x", *where, code=2)
    assert run("sites", "log", "mh-01", "party", *where).exit_code == 2
    assert "no site default/mh-99" in refused("sites", "log", "mh-99", *where)


def test_sites_are_imported_and_a_broken_one_stops_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "sites"
    for name, about in (("mh-01", '{"site": "mh-01"}'), ("mh-02", "[1]"), ("mh-03", "{")):
        (folder / name).mkdir(parents=True)
        (folder / name / "site.json").write_text(about)
    (folder / "mh-01" / "events.csv").write_text("ts,kind,target\n2026-04-01,overhaul,pump1\n")
    imported = answer("sites", "import", folder, "--data-dir", tmp_path / "new", code=3)
    assert imported["imported"] == ["mh-01"]
    (row,) = answer("sites", "log", "mh-01", "--data-dir", tmp_path / "new")
    assert row["kind"] == "overhaul"
    assert set(imported["failed"]) == {"mh-02", "mh-03"}
    assert "mh-03" in run("sites", "import", folder, "--data-dir", tmp_path / "new").stderr
    one = tmp_path / "one.json"
    one.write_text("[1]")
    line = refused("sites", "import", one, "--data-dir", tmp_path / "new", code=2)
    assert "no JSON object" in line
    line = refused("sites", "import", folder, "--site", "mh-9", "--data-dir", tmp_path / "new")
    assert "holds no site 'mh-9'" in line


# -- alerts --------------------------------------------------------------------------------------


def ids(town: Path) -> dict[str, str]:
    return {a["cause"]: a["id"] for a in answer("alerts", "list", "--data-dir", town)}


def test_alerts_are_shown_in_both_languages(town: Path) -> None:
    found = ids(town)["capacity:pump1"]
    japanese = run("alerts", "show", found[:10], "--lang", "ja", "--data-dir", town).stdout
    english = run("alerts", "show", found[:10], "--lang", "en", "--data-dir", town).stdout
    default = run("alerts", "show", found, "--data-dir", town).stdout
    assert "ポンプ" in japanese
    assert japanese == default
    assert "ポンプ" not in english
    assert "pump" in english.lower()
    assert run("alerts", "show", found, "--lang", "fr", "--data-dir", town).exit_code == 2
    assert answer("alerts", "show", found, "--data-dir", town)["fault"] == ["pump_ragging"]


def test_an_alert_is_taken_in_hand_once_and_closed_with_what_was_found(town: Path) -> None:
    where, found = ("--data-dir", town), ids(town)["capacity:pump1"]
    taken = answer("alerts", "ack", found, "--by", "sato", "--note", "行きます", *where)
    assert (taken["state"], taken["acknowledged_by"]) == ("acknowledged", "local:sato")
    line = refused("alerts", "ack", found, *where)
    assert "already acknowledged by local:sato" in line
    closed = answer("alerts", "resolve", found, "--found", "ウェス除去", *where)
    assert closed["state"] == "resolved"
    assert "already resolved" in refused("alerts", "resolve", found, "--found", "x", *where)
    assert found not in ids(town).values()
    (over,) = [a for a in answer("alerts", "list", "--all", *where) if a["id"] == found]
    assert [(t["step"], t["why"]) for t in over["transitions"]][1:] == [
        ("acknowledged", "行きます"),
        ("resolved", "ウェス除去"),
    ]


def test_a_present_fact_is_not_closed_by_hand_and_a_stranger_not_found(town: Path) -> None:
    where, found = ("--data-dir", town), ids(town)["high_level"]
    assert "present fact" in refused("alerts", "resolve", found, "--found", "x", *where)
    assert "no alert 'zz'" in refused("alerts", "show", "zz", *where)
    line = refused("alerts", "resolve", found, "--found", " ", *where)
    assert "present fact" in line


def test_the_tables_are_for_people(town: Path) -> None:
    words = run("alerts", "list", "--data-dir", town).stdout
    assert "pump_ragging" in words
    assert "no open alerts" in run("alerts", "list", "--site", "x", "--data-dir", town).stdout


# -- config and doctor ---------------------------------------------------------------------------


def test_settings_are_shown_checked_and_described_and_no_secret_with_them(tmp_path: Path) -> None:
    file = tmp_path / "pumpwatch.toml"
    file.write_text(f'[broker]\npassword = "{SECRET}"\nhost = "b.example"\n')
    for done in (run("config", "show"), run("config", "show", "--json"), run("config", "schema")):
        assert done.exit_code == 0
        assert SECRET not in done.output
    assert answer("config", "show")["broker"]["host"] == "b.example"
    assert answer("config", "check") == {"ok": True}
    assert "properties" in json.loads(run("config", "schema").stdout)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[broker]\nprot = 1", "broker.prot: there is no such setting"),
        (b"[web]\nport = 'x'", "web.port"),
        (b"port = ", "not TOML"),
        (b'data_dir = "\xff"', "not TOML"),
        (b"broker = 5", "broker"),
    ],
)
@pytest.mark.parametrize("command", [("config", "check"), ("serve",), ("sites", "list")])
def test_a_wrong_setting_is_named_before_anything_begins(
    tmp_path: Path, command: tuple[str, ...], content: bytes, says: str
) -> None:
    (tmp_path / "pumpwatch.toml").write_bytes(content)
    line = refused(*command, code=2)
    assert says in line
    assert not (tmp_path / "pumpwatch-data").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[broker]\ntls = true\nca_file = 'none.pem'", "broker.ca_file: none.pem"),
        (b"[broker]\ntls = true\nca_file = 'pumpwatch.toml'", "broker.ca_file: pumpwatch.toml"),
        (b"[web]\nhost = 'no.such.invalid'\nhosts = ['x']", "web.host: no.such.invalid"),
        (b"[web]\nhost = '0.0.0.0'", "web.hosts: missing, and web.host is 0.0.0.0"),
        (b"[notify.webhook]\nurl = 'ftp://x'\nsecret = 'x'", "'ftp://x' is not https"),
    ],
)
def test_a_setting_that_names_something_unusable_is_named(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "pumpwatch.toml").write_bytes(content)
    assert says in refused("serve", "--port", 0, "--data-dir", tmp_path / "d", code=2)


@pytest.mark.parametrize(
    ("name", "value", "says", "code"),
    [
        ("PUMPWATCH_BROKER", "{x", "PUMPWATCH_BROKER__PORT", 2),
        ("PUMPWATCH_BROKR__PORT", "1", "did you mean PUMPWATCH_BROKER?", 2),
        ("PUMPWATCH_SECRETS_DIR", "/nowhere/at/all", "no secrets directory", 1),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str, code: int
) -> None:
    monkeypatch.setenv(name, value)
    assert says in refused("config", "check", code=code)


def verdicts(*words: object, code: int) -> dict[str, tuple[str, str]]:
    found = answer("doctor", *words, code=code)
    return {check["name"]: (check["verdict"], check["remedy"]) for check in found}


def test_doctor_names_stations_that_wait_and_a_broker_that_is_not_there(
    town: Path, tmp_path: Path
) -> None:
    file = tmp_path / "pumpwatch.toml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        file.write_text(f"[broker]\nport = {probe.getsockname()[1]}\n")
        found = verdicts("--data-dir", town, code=1)
    assert found["broker"][0] == "failed"
    assert "broker.host" in found["broker"][1]
    assert found["ledger"] == ("warning", "look at them with: pumpwatch sites list")
    assert "start it" in run("doctor", "--data-dir", town).stdout


def test_doctor_finds_a_damaged_ledger(town: Path) -> None:
    (town / "core.db").write_bytes(b"no database at all, only words" * 100)
    found = verdicts("--data-dir", town, code=1)
    assert found["ledger"][0] == "failed"
    assert found["databases"][0] == "failed"
    assert "pumpwatch backup restore" in found["databases"][1]


# -- directories and ports -----------------------------------------------------------------------


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path, port: int) -> None:
    for command in ("serve", "demo"):
        line = refused(command, "--port", port, "--data-dir", tmp_path / command)
        assert f"port {port} of 127.0.0.1" in line
        assert "--port" in line
    (tmp_path / "pumpwatch.toml").write_text(f"[broker]\nport = {port}\n")
    own = ("serve", "--broker", "embedded", "--port", 0, "--data-dir", tmp_path / "own")
    assert f"port {port} is in use" in refused(*own)


def test_demo_live_and_recorded_data_never_share_a_directory(tmp_path: Path, town: Path) -> None:
    DataDir(tmp_path / "demo").claim("demo")
    line = refused("serve", "--data-dir", tmp_path / "demo", "--port", 0)
    assert "holds demo data, not live data" in line
    line = refused("demo", "--data-dir", town, "--port", 0)
    assert "holds live data, not demo data" in line
    line = refused("replay", recorded(tmp_path), "--data-dir", town)
    assert "holds live data, not recording data" in line
    (tmp_path / "file").touch()
    line = refused("serve", "--data-dir", tmp_path / "file", "--port", 0)
    assert "is a file" in line


def test_a_directory_in_use_is_refused_with_the_process_that_uses_it(
    tmp_path: Path, town: Path
) -> None:
    demo, replay = DataDir(tmp_path / "demo"), DataDir(tmp_path / "replay")
    demo.claim("demo")
    replay.claim("recording")
    with DataDir(town).locked(), demo.locked(), replay.locked():
        for command in (
            ("serve", "--data-dir", town, "--port", 0),
            ("train", "--data-dir", town),
            ("demo", "--data-dir", demo.path, "--port", 0),
            ("replay", recorded(tmp_path), "--data-dir", replay.path),
        ):
            line = refused(*command)
            assert "another hub (process" in line
            assert "stop it" in line
        assert answer("sites", "list", "--data-dir", town)["sites"], "reading is free"


def test_a_directory_that_holds_nothing_is_named(tmp_path: Path) -> None:
    for command in (("sites", "list"), ("alerts", "list"), ("train",)):
        line = refused(*command, "--data-dir", tmp_path / "nothing")
        assert "holds no data" in line
        assert "--data-dir" in line
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_store_is_named(town: Path) -> None:
    (town / "inbox.db").write_bytes(b"no database at all" * 100)
    line = refused("serve", "--data-dir", town, "--port", 0)
    assert "inbox.db" in line
    assert "not a database" in line


# -- recordings ----------------------------------------------------------------------------------


def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    (folder / "mh-01").mkdir(parents=True, exist_ok=True)
    (folder / "mh-01" / "data.csv").write_text("ts,level_m\n2026-03-01T00:00:00Z,0.8\n")
    return folder


def test_unknown_names_are_named(tmp_path: Path) -> None:
    folder = recorded(tmp_path)
    assert "mh-9" in refused("replay", folder, "--site", "mh-9", "--data-dir", "r")
    assert "mh-9" in refused("backtest", folder, "--site", "mh-9", "--out", "o")
    assert "nowhere is not a folder" in refused("backtest", "nowhere", "--out", "o", code=2)
    assert "not HOST:PORT" in refused("replay", folder, "--broker", "x:y", code=2)
    assert "--tenant" in refused("replay", folder, "--tenant", "A/B", code=2)
    simulate = ("simulate", "--stations", 2, "--days", 1, "--out", "s")
    assert "mh-99" in refused(*simulate, "--fault", "mh-99:pump_ragging:pump1:0", code=2)
    assert "rust" in refused(*simulate, "--fault", "mh-01:rust:pump1:0", code=2)
    assert "pump9" in refused(*simulate, "--fault", "mh-01:pump_ragging:pump9:0", code=2)
    assert "xls" in refused(*simulate, "--format", "xls", code=2)
    assert "no moment" in refused(*simulate, "--start", "yesterday", code=2)
    assert "--out" in refused("simulate", code=2)
    assert "--check" in refused("simulate", "typhoon", "--out", "s", "--check", code=2)
    assert "says that itself" in refused("simulate", "typhoon", "--check", "--days", 3, code=2)
    assert "did you mean 'typhoon'" in refused("simulate", "typhon", "--check")
    assert "--list" in refused("simulate", "--check", code=2)


def test_a_scenario_that_cannot_be_is_named_by_file_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "storm.toml"
    file.write_text(
        'title = "x"\nseed = 1\n[span]\nstart = 2025-05-01\ndays = 2\n[fleet]\ndraw = 1\n'
        '[[event]]\nwhat = "pump_raging"\nstation = "mh-01"\ntarget = "pump1"\nstart = "1d"\n'
    )
    line = refused("simulate", file, "--out", tmp_path / "out", code=2)
    assert f"{file}:9: event[1].what" in line
    assert "did you mean 'pump_ragging'?" in line
    assert not (tmp_path / "out").exists()


def test_the_shipped_scenarios_are_listed() -> None:
    assert {"typhoon", "quiet-week"} <= {row["name"] for row in answer("simulate", "--list")}


def test_a_benchmark_too_short_to_be_scored_is_refused() -> None:
    assert "--days" in refused("benchmark", "--days", 21, code=2)


def test_scores_are_shown_as_tables(data_dir: Path) -> None:
    folder = data_dir / "scoring"
    shown = CliRunner().invoke(
        app, ["score", str(folder), "--alerts", str(folder / "alerts.jsonl"),
              "--risk", str(folder / "risk.jsonl")],
    )  # fmt: skip
    assert shown.exit_code == 0
    assert "slow faults seen before breakdown, of 6" in shown.stdout
    assert "check_valve_leak" in shown.stdout
    assert "AUROC" in shown.stdout


def test_alerts_of_a_site_that_is_not_there_are_left_out_aloud(
    data_dir: Path, tmp_path: Path
) -> None:
    alerts = tmp_path / "mine.jsonl"
    alerts.write_text('{"site": "mh-77", "ts": "2025-06-20T03:00:00Z", "kind": "predictive"}\n')
    shown = CliRunner().invoke(
        app, ["score", str(data_dir / "scoring"), "--alerts", str(alerts), "--json"]
    )
    assert shown.exit_code == 0
    assert "mh-77" in shown.stderr
    assert "mh-77" not in shown.stdout


@pytest.mark.slow
def test_a_simulated_town_is_written_in_every_form_and_backtested(tmp_path: Path) -> None:
    rows = set()
    for form in FORMATS:
        out = tmp_path / form
        made = answer(
            "simulate", "--out", out, "--stations", 1, "--days", 1, "--seed", 3, "--format", form
        )
        assert made["sites"] == ["mh-01"]
        assert (out / "mh-01" / f"data.{form}").is_file()
        judged = answer("backtest", out, "--out", tmp_path / "alerts.jsonl", "--workers", 1)
        assert judged["failed"] == {}
        rows.add(judged["rows"])
    assert len(rows) == 1, "every form holds the same"
    line = refused("simulate", "--out", out, "--stations", 1, "--days", 1, "--format", form, code=2)
    assert "already" in line


@pytest.mark.slow
def test_a_recorded_town_is_replayed_and_its_models_are_listed_and_fitted_anew(
    tmp_path: Path, data_dir: Path
) -> None:
    town = tmp_path / "replay"
    folder = tmp_path / "folder"
    shutil.copytree(data_dir / "recorded" / "ragging", folder / "ragging")
    replayed = answer("replay", folder, "--data-dir", town)
    (row,) = replayed["sites"]
    assert row["sent"] == row["stored"] + row["duplicate"] + row["rejected"] > 0
    before = answer("train", "--list", "--data-dir", town)
    refusal, *kept = answer("train", "--why", "a test", "--data-dir", town)
    assert "too few clean days for a challenger" in refusal["problem"]
    assert kept == before, "where there is a model, no other takes its place by itself"
    shutil.rmtree(DataDir(town).models)
    fitted = answer("train", "--why", "a test", "--data-dir", town)
    assert {(r["site"], r["why"]) for r in fitted} == {("ragging", "a test")}
    assert answer("train", "--list", "--data-dir", town) == fitted
    assert "no site default/mh-9" in refused("train", "mh-9", "--data-dir", town)
    again = answer("replay", folder, "--data-dir", town)["sites"][0]
    assert (again["stored"], again["alerts"]) == (row["stored"], row["alerts"])
    other = answer("replay", folder, "--tenant", "other", "--data-dir", town)["sites"][0]
    assert other["stored"] == row["stored"], "another tenant's town is another town"


# -- the demo from outside -----------------------------------------------------------------------


def test_a_fault_for_a_demo_that_is_not_running(port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        line = refused("demo", "fault", "mh-01", "pump_ragging", "pump1", "--url", url)
    assert f"no demo answers at {url}" in line
    assert "pumpwatch demo" in line
    assert "no demo answers" in refused("demo", "fault", "mh-01", "x", "--url", "http://[")
    assert "no demo answers" in refused("demo", "fault", "mh-01", "x", "--url", "nonsense")


def test_the_demo_names_what_it_cannot_start_at_once(tmp_path: Path) -> None:
    demo = ("demo", "--data-dir", tmp_path / "d", "--port", 0, "--stations", 2)
    assert "mh-99" in refused(*demo, "--fault", "mh-99:pump_ragging", code=2)
    assert "rust" in refused(*demo, "--fault", "mh-01:rust:pump1", code=2)
    assert "cannot be read" in refused(*demo, "--fault", "mh-01", code=2)
    assert "--for" in refused(*demo, "--headless", code=2)
    assert run(*demo, "--speed", "-1").exit_code == 2


def test_the_fleet_names_a_station_a_fault_and_a_pump_it_does_not_have(tmp_path: Path) -> None:
    fleet = FleetProcess(FleetPlan(2, 1, NOW, 1, False, tmp_path, ("127.0.0.1", 9)))
    try:
        for site, fault, target, field in (
            ("mh-99", "pump_ragging", "pump1", "site"),
            ("mh-01", "rust", "pump1", "fault"),
            ("mh-01", "pump_ragging", "pump9", "target"),
        ):
            with pytest.raises(InvalidInput) as caught:
                fleet.start_fault(site, fault, target)
            assert caught.value.field == field
            assert caught.value.remedy
    finally:
        fleet.stop()
