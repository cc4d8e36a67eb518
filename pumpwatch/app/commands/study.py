"""`study`: what pumpwatch would have told a town, on its own recorded months and failure log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.alerting.i18n import LANGS
from pumpwatch.app.commands.options import AsJson
from pumpwatch.app.datadir import write_whole
from pumpwatch.app.output import ERR, OUT, Exit, emit, facts, plain_errors
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import WallClock
from pumpwatch.services.failure_log import Failure, failures_of_truth, read_failures
from pumpwatch.services.study import LOOKBACK_DAYS, SiteStudy, Study, Today, site_names
from pumpwatch.services.study import study as run_study
from pumpwatch.services.truth import read_truth
from pumpwatch.web.study import study_json, study_report


def study(
    folder: Annotated[Path, typer.Argument(help="folder of recorded-site folders, or one of them")],
    out: Annotated[Path, typer.Option(help="folder for the reports; made if it is missing")],
    failures: Annotated[
        Path | None,
        typer.Option(help="failure log, CSV: site,failed_at,found,target,repaired_at,note"),
    ] = None,
    title: Annotated[str, typer.Option(help="heading of the report; the folder's name")] = "",
    lookback_days: Annotated[
        float, typer.Option(min=1, max=365, help="an alert that began up to so long before counts")
    ] = LOOKBACK_DAYS,
    today_run_min: Annotated[
        float | None,
        typer.Option(min=0.1, help="today's limit for the length of a run [min], if there is one"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that work side by side")] = 2,
    as_json: AsJson = False,
) -> None:
    """Write a verification study as HTML, in Japanese and in English, with its figures as JSON.

    Without --failures, recordings whose truth is known (truth.json) give their own failures; where
    there is neither, the report shows how often pumpwatch would have called, and what the data are like.
    """
    with plain_errors():
        known = _failures(folder, failures)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=ERR, disable=as_json) as bar:
            task = bar.add_task("studying", total=None)

            def show(done: int, of: int, site: SiteStudy) -> None:
                bar.update(task, completed=done, total=of, description=f"studying {site.name}")
                if site.problem:
                    ERR.print(f"{site.name}: {site.problem}", style="red", highlight=False)

            result = run_study(
                folder,
                known,
                today=Today(today_run_min),
                lookback_days=lookback_days,
                workers=workers,
                progress=show,
            )
        written = _write(result, out, title or folder.resolve().name)
    if as_json:
        emit(study_json(result) | {"reports": [str(path) for path in written]})
    else:
        _tell(result, written)
    failed = sum(bool(site.problem) for site in result.sites)
    if failed:
        raise typer.Exit(Exit.of(failed, len(result.sites)))


def _failures(folder: Path, log: Path | None) -> list[Failure]:
    if log is not None:
        return read_failures(log, site_names(folder))
    if any(folder.glob("*/truth.json")):
        return failures_of_truth(read_truth(folder))
    return []


def _write(result: Study, out: Path, title: str) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    made_ms = WallClock().now_ms()
    pages = {f"study-{lang}.html": study_report(result, title, made_ms, lang) for lang in LANGS}
    figures = json.dumps(study_json(result), ensure_ascii=False, indent=2) + "\n"
    for name, text in {**pages, "study.json": figures}.items():
        write_whole(out / name, text)
    return [out / name for name in pages]


def _tell(result: Study, written: list[Path]) -> None:
    lead = result.median_lead_days
    rate, upper = result.stray_rate, result.stray_rate_upper
    facts(
        {
            "failures": f"{len(result.cases)}, of which {len(result.judged)} could be foreseen",
            "foreseen": f"{result.foreseen}, {result.day_ahead} of them a day ahead or more",
            "median lead": "-" if lead is None else f"{lead:.1f} days, missed ones as none",
            "by today's alarms": str(result.foreseen_today),
            "unneeded alerts": "-"
            if rate is None
            else f"{rate:.3f} per site-month (95 % below {upper:.3f})",
        }
    )
    for failure in result.outside:
        OUT.print(f"not recorded: {failure.site} {iso_utc(failure.failed_ms)}", highlight=False)
    for path in written:
        OUT.print(str(path), highlight=False)
