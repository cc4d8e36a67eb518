"""`pumpwatch tune`: what it shows, tries, saves and takes back, and how it says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.series import own_series
from pumpwatch.cycles.recording import read_recording
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.stores.ledger import SqlLedger

DATA = Path(__file__).parent.parent / "data" / "recorded"
USUAL = DiagnosisSettings().limit
KEY, EMPTY = SiteKey("default", "well"), SiteKey("default", "empty")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A live directory with a station whose pump clogged, and one that never reported."""
    directory = DataDir(tmp_path_factory.mktemp("tune") / "town")
    directory.claim("live")
    recording = read_recording(DATA / "ragging")
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(KEY, replace(recording.site, site="well", mode=SiteMode.LIVE), LOCAL, 1)
    ledger.put_site(EMPTY, Site("empty"), LOCAL, 1)
    ledger.close()
    series = own_series(directory)
    rows, n = recording.chunk, 19_850  # hours after it is told
    few = Chunk(rows.t_ms[:n], {name: values[:n] for name, values in rows.signals.items()})
    series.write([(KEY, few)], 1)
    series.close()
    return directory


def tune(town: DataDir, *words: str, code: int = 0) -> Result:
    answer = CliRunner().invoke(app, ["tune", *words, "--data-dir", str(town.path)])
    assert answer.exit_code == code, answer.output
    return answer


def told(town: DataDir, *words: str) -> Any:
    return json.loads(tune(town, *words, "--json").stdout)


def test_a_station_is_shown_tried_saved_compared_and_taken_back(
    town: DataDir, tmp_path: Path
) -> None:
    shown = tune(town, "well").output
    for said in ("partner_comparison", "slow changes are told later", "no versions"):
        assert said in shown
    log = tmp_path / "failures.csv"
    log.write_text("site,failed_at,found,target\nwell,2024-12-14T21:00Z,pump_ragging,pump2\n")
    wish = ["well", "--set", "limit=12", "--mute", "pump_ragging", "--mute", "pump_wear"]
    tried = tune(town, *wish, "--failures", str(log)).output
    for said in (
        f"limit: {USUAL:g} (as everywhere) → 12",
        "vanishes",
        "1 → 0 of 1 known events",
        "goal 0.03",
    ):
        assert said in tried
    assert told(town, "well")["newest"] == 0, "a trial saves nothing"
    saved = told(town, *wish, "--save", "--reason", "storms", "--by", "ann", "--no-preview")
    assert list(saved) == ["saved"]
    assert (saved["saved"]["n"], saved["saved"]["actor"]) == (1, "local:ann")
    tune(town, "well", "--reset", "limit", "--unmute", "pump_wear",
         "--exclude", "2030-01-01T00:00/2030-01-03T00:00", "--save", "--reason", "works",
         "--no-preview")  # fmt: skip
    changed = tune(town, "well", "--compare", "1", "2").output
    for said in (
        f"limit: 12 → {USUAL:g} (as everywhere)",
        "no longer muted: pump_wear",
        "excluded: Tue 1 Jan 2030 00:00",
    ):
        assert said in changed
    assert "version 3 saved" in tune(town, "well", "--undo", "--reason", "no").output
    view = told(town, "well")
    assert view["settings"] == {"set": {"limit": 12.0}, "muted": ["pump_ragging", "pump_wear"]}
    assert [v["restores"] for v in view["versions"]] == [None, None, 1]
    assert "storms" in tune(town, "well").output
    assert told(town, "empty")["versions"] == [], "other stations stay as they are"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["none"], 1, "no site default/none"),
        (["well", "--set", "limt=12"], 2, "did you mean limit"),
        (["well", "--set", "limit=4000"], 2, "limit: 4000 is out of bounds: give 4 to 40"),
        (["well", "--set", "limit"], 2, "write NAME=VALUE"),
        (["well", "--set", "limit=13", "--save"], 2, "--reason: is empty"),
        (["well", "--save", "--reason", "x"], 2, "name a change"),
        (["well", "--reset", "nights"], 2, "'nights' is not set here"),
        (["well", "--mute", "overflow"], 2, "present fact"),
        (["well", "--exclude", "2030-01-01"], 2, "write FROM/TO"),
        (["well", "--exclude", "soon/later"], 2, "'soon' is no moment"),
        (["well", "--include", "2029-01-01/2029-01-02"], 2, "is not excluded"),
        (["well", "--undo", "--compare", "1", "2"], 2, "one thing at a time"),
        (["well", "--set", "limit=13", "--from", "2020-01-01", "--save", "--reason", "x",
          "--no-preview"], 2, "has passed"),
        (["empty", "--set", "limit=13"], 1, "no stored samples"),
        (["empty", "--undo", "--reason", "x"], 1, "no settings of its own"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line_with_the_way_out(
    town: DataDir, words: list[str], code: int, said: str
) -> None:
    answer = tune(town, *words, code=code)
    assert said in answer.stderr
    assert len(answer.stderr.strip().splitlines()[-1]) < 900
