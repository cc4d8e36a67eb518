"""What commands do behind their answers: whom they tell, and what they ask of a running demo."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from pumpwatch.alerting import lifecycle
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.notifiers import make_notifiers
from pumpwatch.app.settings import NotifySettings, Settings, WebhookSettings
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.stores.ledger import SqlLedger

KEY = SiteKey("default", "mh-01")


def test_a_demo_wakes_nobody_though_the_towns_own_settings_lie_beside_it() -> None:
    hook = WebhookSettings(url="https://pager.example", secret=SecretStr("whsec_" + "A" * 32))
    settings = Settings(notify=NotifySettings(webhook=hook))
    names = [n.name for n in make_notifiers(settings, io.StringIO())]
    assert names == ["console", "webhook"]
    assert [n.name for n in make_notifiers(settings, io.StringIO(), simulated=True)] == ["console"]


def test_who_was_told_of_an_alert_is_owed_its_end_when_it_is_closed_by_hand(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(KEY, Site(KEY.site), SYSTEM, 1)
    finding = Finding(
        KEY, 1_000, Phase.OPENED, "capacity:pump1", Kind.PREDICTIVE, Severity.ALARM,
        ("pump_wear",), "pump1", 0.9,
    )  # fmt: skip
    policy = Policy((Route("webhook"),))
    change = lifecycle.apply(finding, None, 0, policy, 1_000, mode=SiteMode.LIVE)
    assert change is not None
    ledger.commit_assessment([], [change], [])
    answer = CliRunner().invoke(
        app,
        ["alerts", "resolve", change.alert.id[:8], "--found", "wipes",
         "--data-dir", str(directory.path)],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    owed = [(o.transition_n, o.notifier) for o in ledger.owed_for(change.alert.id)]
    ledger.close()
    assert owed == [(1, "webhook"), (2, "webhook")]


def test_what_was_found_is_said_corrected_and_counted(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(KEY, Site(KEY.site), SYSTEM, 1)
    finding = Finding(
        KEY, 1_000, Phase.OPENED, "capacity:pump1", Kind.PREDICTIVE, Severity.ALARM,
        ("pump_wear",), "pump1", 0.9,
    )  # fmt: skip
    change = lifecycle.apply(finding, None, 0, Policy(), 1_000, mode=SiteMode.LIVE)
    assert change is not None
    ledger.commit_assessment([], [change], [])
    ledger.close()

    def alerts(*words: str, code: int = 0) -> str:
        answer = CliRunner().invoke(app, ["alerts", *words, "--data-dir", str(directory.path)])
        assert answer.exit_code == code, answer.output
        return answer.output

    assert "no labels yet" in alerts("labels")
    one = change.alert.id[:8]
    assert "use one of" in alerts("resolve", one, "--cause", "gremlins", code=2)
    alerts("resolve", one, "--cause", "nothing_found", "--at", "2026-04-01T09:00+09:00")
    alerts("label", one, "pump_wear", "--target", "pump1", "--by", "sato")
    alerts("missed", KEY.site, "pump_trip", "--at", "2026-03-01T09:00+09:00")
    told = json.loads(alerts("labels", "--json"))
    assert told["fleet"]["precision"] | {"interval": None} == {
        "hits": 1, "n": 1, "share": 1.0, "interval": None,
    }  # fmt: skip
    assert told["sites"][0]["recall"]["n"] == 2
    answers = [(a["cause"], a["n"], a["found"]) for a in told["labels"] if a["alerted"]]
    assert answers == [
        ("nothing_found", 1, "2026-04-01T00:00:00Z"), ("pump_wear", 2, "2026-04-01T00:00:00Z"),
    ]  # fmt: skip
    assert "default/mh-01" in alerts("labels")


@pytest.mark.parametrize(("more", "path"), [([], "/faults"), (["--clear"], "/faults/clear")])
def test_a_fault_is_started_and_repaired_where_the_demo_listens(
    monkeypatch: pytest.MonkeyPatch, more: list[str], path: str
) -> None:
    asked: list[str] = []

    def post(address: str, **_: Any) -> httpx.Response:
        asked.append(address)
        return httpx.Response(200, json={})

    monkeypatch.setattr(httpx, "post", post)
    answer = CliRunner().invoke(app, ["demo", "fault", "mh-01", "pump_ragging", "pump1", *more])
    assert answer.exit_code == 0, answer.output
    assert asked == [f"http://127.0.0.1:8000/api/v1/demo{path}"]


@pytest.mark.parametrize(("given", "pumps"), [({}, 1), ({"pumps": 3}, 3)])
def test_an_approved_site_is_as_its_agent_announced_unless_its_file_says_otherwise(
    tmp_path: Path, given: dict[str, Any], pumps: int
) -> None:
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    ledger = SqlLedger(directory.core_url)
    birth = Birth(KEY, True, "b", "0.1.0", {"pump1_run": {}}, 10.0)
    ledger.hold(KEY, 1, 5, birth)
    file = tmp_path / "site.json"
    file.write_text(json.dumps({"site": KEY.site, **given}))
    more = ["--file", str(file)] if given else []
    answer = CliRunner().invoke(
        app, ["sites", "approve", KEY.site, *more, "--data-dir", str(directory.path)]
    )
    assert answer.exit_code == 0, answer.output
    site = ledger.site(KEY)
    ledger.close()
    assert site == Site(KEY.site, pumps=pumps, sample_s=10.0)
