"""`benchmark` and `score`: how good a detector is, in figures that anybody can get again."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pumpwatch.app.commands.options import AsJson
from pumpwatch.app.commands.progress import Bar
from pumpwatch.app.output import ERR, OUT, emit, facts, plain_errors, table
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.services.benchmark import examine, score_files
from pumpwatch.services.scoring import Scores, read_lines
from pumpwatch.services.truth import read_truth
from pumpwatch.simulator.recorded import BURN_IN_DAYS, write_recordings
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.scenario_draw import draw_scenario


def benchmark(
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same figures")] = 1,
    stations: Annotated[int, typer.Option(min=1, max=9999, help="how many stations")] = 232,
    days: Annotated[
        int, typer.Option(help=f"how many days; the first {BURN_IN_DAYS} are not scored")
    ] = 60,
    rate: Annotated[
        float, typer.Option(min=0, max=50, help="times as many faults as in life")
    ] = 1.0,
    keep: Annotated[
        Path | None, typer.Option(help="keep the recordings and the alerts in this new folder")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that diagnose")] = 2,
    as_json: AsJson = False,
) -> None:
    """Draw a town in which things fail, diagnose it causally, and score what was said.

    With --keep, other detectors can be scored on the same recordings: pumpwatch score.
    """
    with plain_errors():
        if days <= BURN_IN_DAYS:
            raise InvalidInput(
                "--days", f"the first {BURN_IN_DAYS} are not scored", f"use {BURN_IN_DAYS + 7} or more"
            )  # fmt: skip
        scenario = draw_scenario(seed, stations, days, rate)
        began = time.monotonic()
        with _place(keep) as place, Bar(quiet=as_json) as show:
            write_recordings(
                place / "sites", scenario, form="parquet",
                progress=lambda share: show("simulating", share),
            )  # fmt: skip
            made = time.monotonic()
            examined = examine(
                place / "sites", place, workers=workers,
                progress=lambda done, of, _: show("diagnosing", done / of),
            )  # fmt: skip
        ended = time.monotonic()
    seconds = {"simulate": round(made - began, 1), "diagnose": round(ended - made, 1)}
    asked = {"seed": seed, "stations": stations, "days": days, "rate": rate}
    if as_json:
        events = Counter(event.code for event in scenario.events)
        emit(
            asked
            | {"events": dict(sorted(events.items())), "scores": examined.scores}
            | {"risk": examined.risk, "failed": examined.summary.failed, "seconds": seconds}
        )
        return
    _show(examined.scores, examined.risk)
    facts(
        {
            "": "",
            "events": _events(scenario),
            "seconds": f"{seconds['simulate']} + {seconds['diagnose']}",
        }
    )


def score(
    folder: Annotated[Path, typer.Argument(help="folder of site folders with truth.json")],
    alerts: Annotated[Path, typer.Option(help="file of alerts, one JSON object a line")],
    risk: Annotated[Path | None, typer.Option(help="file of daily risks, likewise")] = None,
    condition: Annotated[
        bool, typer.Option(help="also score alerts that only state a present fact")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score any detector's alerts against the truth of recorded sites."""
    with plain_errors():
        kinds = ("predictive", "condition") if condition else ("predictive",)
        scores, risks = score_files(folder, alerts, risk, kinds)
        strangers = {str(line["site"]) for line in read_lines(alerts)} - set(read_truth(folder))
    if strangers:
        named = ", ".join(sorted(strangers)[:6])
        ERR.print(f"left out: alerts of sites without a truth.json in {folder}: {named}", style="yellow",
                  highlight=False, soft_wrap=True)  # fmt: skip
    if as_json:
        emit({"scores": scores, "risk": risks})
    else:
        _show(scores, risks)


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="pumpwatch-benchmark-") as place:
        yield Path(place)


def _events(scenario: Scenario) -> str:
    faults = sum(not event.kind.harmless for event in scenario.events)
    return f"{faults} faults, {len(scenario.events) - faults} harmless"


_COLUMNS = {
    "n": "n", "recall": "recall", "recall_24h": "24 h ahead", "right_group": "group",
    "exact": "exact", "lead_days": "lead d", "ttd_h": "detect h", "chance": "chance",
}  # fmt: skip


def _show(s: Scores, risk: Scores) -> None:
    """The scores as a table, then each fault by itself."""
    n, abrupt = s["progressive_events"], s["abrupt_events"]
    low, high = s["recall_ci"] or (None, None)
    rows = [
        (f"slow faults seen before breakdown, of {n}", _n(s["recall_before_breakdown"]), f"95 %: {_n(low)} to {_n(high)}"),
        ("… at least 24 h ahead", _n(s["recall_24h_ahead"]), ""),
        ("… with the right group of causes", _n(s["recall_right_group"]), ""),
        ("… mean over kinds of fault", _n(s["macro_recall"]), ""),
        ("… what luck alone would have seen", _n(s["chance_recall"]), f"skill {_n(s['skill'])}"),
        ("median lead, missed ones as 0", _n(s["median_lead_days_missed_as_0"], 1), "days"),
        ("median severity at the first alert", _n(s["median_severity_at_alert"]), ""),
        (f"abrupt faults told in time, of {abrupt}", _n(s["abrupt_in_time"]), ""),
        ("false notifications per site-month", _n(s["false_per_site_month"], 3),
         f"{s['false_n']} in {_n(s['site_months'], 0)} months, 95 % below {_n(s['false_per_site_month_upper95'], 3)}"),
        ("… in storms, in dry weather", _n(s["storm_false_per_site_month"], 3), _n(s["dry_false_per_site_month"], 3)),
        ("first cause right, group right", _n(s["diagnosis_top1"]), _n(s["diagnosis_group"])),
        ("pump named right", _n(s["pump_named_right"]), ""),
    ]  # fmt: skip
    if "auroc" in risk:
        rows.append(("7-day risk: AUROC, calibration error", _n(risk["auroc"]), _n(risk["ece"], 3)))
    table(["", "score", ""], rows, "nothing was scored")
    if s["false_by_cause"]:
        causes = ", ".join(f"{cause} {n}" for cause, n in s["false_by_cause"].items())
        OUT.print(f"false notifications by what was going on: {causes}", highlight=False)
    OUT.print()
    table(
        ["fault", *_COLUMNS.values()],
        [[fault, c["n"], *(_n(c[key]) for key in list(_COLUMNS)[1:])] for fault, c in s["by_class"].items()],
        "no fault fell into the scored time",
    )  # fmt: skip


def _n(value: Any, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
