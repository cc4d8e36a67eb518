"""`backtest` and `train`: diagnosis over what was recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.app import logs
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption, Tenant
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import model_service, open_stores
from pumpwatch.app.output import ERR, OUT, Exit, emit, facts, plain_errors, table
from pumpwatch.app.settings import Settings, load_settings
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import LOCAL
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import Conflict, NotFound, PumpwatchError
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.services.backtest import SiteResult
from pumpwatch.services.backtest import backtest as run_backtest
from pumpwatch.services.models import ModelService
from pumpwatch.services.train import Trainer, latest_request
from pumpwatch.stores.shelf import FileShelf


def backtest(
    folder: Annotated[Path, typer.Argument(help="folder of recorded-site folders, or one of them")],
    out: Annotated[Path, typer.Option(help="file of alerts, one JSON object a line")],
    site: Annotated[list[str] | None, typer.Option(help="only these (may be repeated)")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that work side by side")] = 2,
    risk: Annotated[
        Path | None, typer.Option(help="also write the daily 7-day risk of each site here")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole of diagnosis over recorded sites, causally, and write the alerts."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with plain_errors(), Progress(*columns, console=ERR, disable=as_json) as bar:
        task = bar.add_task("diagnosing", total=None)

        def show(done: int, of: int, result: SiteResult) -> None:
            bar.update(task, completed=done, total=of, description=f"diagnosing {result.site}")
            if result.problem:
                ERR.print(f"{result.site}: {result.problem}", style="red", highlight=False)

        summary = run_backtest(folder, out, sites=site, workers=workers, risk=risk, progress=show)
    if as_json:
        emit(
            {
                "sites": summary.sites,
                "failed": summary.failed,
                "alerts": summary.alerts,
                "rows": summary.rows,
                "site_days": round(summary.site_days, 1),
                "read_s": round(summary.read_s, 2),
                "diagnose_s": round(summary.diagnose_s, 2),
                "wall_s": round(summary.wall_s, 2),
                "notes": summary.notes,
                "site_days_per_s": round(summary.site_days_per_s, 1),
            }
        )
    else:
        OUT.print(f"{summary.alerts} alerts of {summary.sites} sites in {out}", highlight=False)
        facts(
            {
                "site-days": f"{summary.site_days:.0f}",
                "site-days per second": f"{summary.site_days_per_s:.0f} (one core, reading apart)",
                "seconds": f"{summary.wall_s:.1f}",
            }
        )
    if summary.failed:
        raise typer.Exit(Exit.of(len(summary.failed), summary.sites))


def train(
    site: Annotated[list[str] | None, typer.Argument(help="sites; all when none is named")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    data_dir: DataDirOption = None,
    why: Annotated[str, typer.Option(help="reason, kept on the model's card")] = "by hand",
    show: Annotated[bool, typer.Option("--list", help="only list the models there are")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fit the model of each site on what it has recorded so far; of a site that has one, a challenger.

    A first model takes effect at the site's next midnight, a challenger when it is promoted
    (`models promote`). A running hub does both by itself: this is for one that is not running.
    """
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        logs.configure(settings.log_format)
        directory = DataDir(settings.data_dir)
        if directory.purpose() is None:
            raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
        if show:
            rows = _models(FileShelf(directory.models), tenant)
        else:
            with directory.locked():
                rows = _train(settings, directory, tenant, site or [], why)
    if as_json:
        emit(rows)
        return
    columns = ["site", "effective", "challenger", "rows", "days", "features", "why", "problem"]
    table(columns, [[r.get(c) for c in columns] for r in rows], "no models yet")


def _train(
    settings: Settings, directory: DataDir, tenant: str, names: list[str], why: str
) -> list[dict[str, Any]]:
    stores = open_stores(directory, settings.series, settings.ledger)
    try:
        sites = stores.ledger.sites(tenant)
        for name in names:
            if SiteKey(tenant, name) not in sites:
                raise NotFound(f"no site {tenant}/{name}", "list them with: pumpwatch sites list")
        trainer = Trainer(stores.shelf)
        diagnosis = DiagnosisSettings(partner_comparison=settings.diagnosis.partner_comparison)
        models = model_service(stores, WallClock(), diagnosis)
        outcome = Counter[str]()
        rows = []
        for key, site in sites.items():
            if names and key.site not in names:
                continue
            if stores.shelf.cards(key):
                rows.append(_challenger(models, key, why))
                continue
            chunk = stores.series.read_raw(key, 0, 2**62)
            request = latest_request(key, site, chunk, stores.ledger.log(key))
            if request is None:
                rows.append({"site": key.site, "problem": "too few clean cycles yet"})
            elif trainer.fit_now(request, why) is None:
                outcome["failed"] += 1
                rows.append({"site": key.site, "problem": trainer.counters.problems[key]})
        if outcome["failed"]:
            raise PumpwatchError(f"{outcome['failed']} models could not be fitted", "see the log")
        kept = _models(stores.shelf, tenant)
        return rows + [r for r in kept if not names or r["site"] in names]
    finally:
        stores.close()


def _challenger(models: ModelService, key: SiteKey, why: str) -> dict[str, Any]:
    try:
        card = models.propose(key, LOCAL, why).card
    except Conflict as error:
        return {"site": key.site, "problem": str(error)}
    return {
        "site": key.site, "challenger": True, "rows": card["rows"], "days": card["days"],
        "why": why, "card": dict(card),
    }  # fmt: skip


def _models(shelf: FileShelf, tenant: str) -> list[dict[str, Any]]:
    return [
        {
            "site": key.site,
            "effective": iso_utc(effective_ms),
            "rows": card.get("rows"),
            "days": card.get("days"),
            "features": len(card.get("features", [])),
            "why": card.get("why"),
            "card": dict(card),
        }
        for key, effective_ms, card in shelf.cards()
        if key.tenant == tenant
    ]
