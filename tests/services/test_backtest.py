"""Backtest: causal alerts in a file, whatever else lies in the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.services.backtest import SiteResult, backtest

EARLY = DiagnosisSettings(reference_days=4.0, fit_days=6)


@pytest.fixture
def sites(tmp_path: Path, data_dir: Path) -> Path:
    folder = tmp_path / "sites"
    shutil.copytree(data_dir / "recorded", folder)
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_alerts_are_written_in_order_with_all_the_fields_of_a_line(
    sites: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "alerts.jsonl"
    summary = backtest(sites, out, workers=1, settings=EARLY)
    got = lines(out)
    assert summary.alerts == len(got) > 0
    assert [a["ts"] for a in got] == sorted(str(a["ts"]) for a in got)
    assert all(a["phase"] in ("opened", "worsened") for a in got)
    fields = {"site", "ts", "kind", "severity", "fault", "target", "score", "evidence"}
    assert all(fields <= set(a) for a in got)
    named = [a for a in got if a["kind"] == "predictive"]
    assert {(a["site"], a["target"]) for a in named} == {("ragging", "pump2")}
    assert summary.site_days_per_s > 0
    assert summary.sites == 2


def test_a_bad_site_is_reported_and_stops_no_other(sites: Path, tmp_path: Path) -> None:
    for name, content in (("broken", "ts,level_m\n"), ("mute", "ts\n2024-05-01\n")):
        (sites / name).mkdir()
        (sites / name / "data.csv").write_text(content)
    seen: list[SiteResult] = []
    summary = backtest(
        sites, tmp_path / "a.jsonl", workers=2, settings=EARLY,
        progress=lambda done, of, result: seen.append(result),
    )  # fmt: skip
    assert set(summary.failed) == {"broken", "mute"}
    assert "no rows" in summary.failed["broken"]
    assert len(seen) == 4
    assert summary.alerts > 0


def test_a_surprise_in_one_site_costs_no_other_its_result(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = SiteAssessor.feed

    def trip(self: SiteAssessor, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        if self.key.site == "quiet10s":
            raise ZeroDivisionError("no such luck")
        return feed(self, chunk, edges)

    monkeypatch.setattr(SiteAssessor, "feed", trip)
    summary = backtest(sites, tmp_path / "a.jsonl", workers=1, settings=EARLY)
    assert "ZeroDivisionError: no such luck" in summary.failed["quiet10s"]
    assert summary.alerts > 0


def test_answers_and_folder_names_change_nothing(sites: Path, tmp_path: Path) -> None:
    backtest(sites, tmp_path / "a.jsonl", workers=1, settings=EARLY)
    (sites / "ragging" / "truth.json").write_text('{"faults": "none"}')
    (sites / "ragging").rename(sites / "zzz")
    backtest(sites, tmp_path / "b.jsonl", workers=1, settings=EARLY)
    assert lines(tmp_path / "a.jsonl") == lines(tmp_path / "b.jsonl")


def test_one_process_and_two_find_the_same(sites: Path, tmp_path: Path) -> None:
    backtest(sites, tmp_path / "a.jsonl", workers=1, settings=EARLY)
    backtest(sites, tmp_path / "b.jsonl", workers=2, settings=EARLY)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_daily_risk_rises_with_an_open_episode(sites: Path, tmp_path: Path) -> None:
    backtest(sites, tmp_path / "a.jsonl", workers=1, risk=tmp_path / "r.jsonl", settings=EARLY)
    risk = [r for r in lines(tmp_path / "r.jsonl") if r["site"] == "ragging"]
    assert len(risk) == 19
    assert float(str(risk[0]["risk"])) < 0.1 < float(str(risk[-2]["risk"]))


def test_only_the_sites_asked_for_are_run(sites: Path, tmp_path: Path) -> None:
    assert backtest(sites, tmp_path / "a.jsonl", sites=["quiet10s"], workers=1).sites == 1
    with pytest.raises(NotFound, match="nowhere"):
        backtest(sites, tmp_path / "a.jsonl", sites=["nowhere"])


def test_a_folder_without_sites_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no recorded site"):
        backtest(tmp_path, tmp_path / "a.jsonl")
