"""`models`: which model judges a station, which one challenges it, and the decision between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption, Tenant
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import states_in
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.output import ERR, OUT, emit, facts, plain_errors, table
from pumpwatch.app.series import reading_series
from pumpwatch.app.settings import load_settings
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import NotFound
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.references import ReferenceDrift
from pumpwatch.services.models import ModelService, Placed, SiteModels
from pumpwatch.stores.shelf import FileShelf

app = typer.Typer(
    no_args_is_help=True, help="Models: list, show, propose a challenger, promote, roll back."
)
Who = Annotated[str, typer.Option("--by", help="who does it")]
Why = Annotated[str, typer.Option("--why", help="the reason, kept on the model's card")]


@contextmanager
def _models(config: Path | None, data_dir: Path | None) -> Iterator[ModelService]:
    """The models of a data directory, beside a hub that may be running."""
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        directory = DataDir(settings.data_dir)
        if directory.purpose() is None:
            raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
        ledger = open_ledger(directory, settings.ledger)
        series = reading_series(directory, settings.series)
        try:
            yield ModelService(
                shelf=FileShelf(directory.models),
                waiting=FileShelf(directory.challengers),
                sites=ledger,
                alerts=ledger,
                audit=ledger,
                series=series,
                clock=WallClock(),
                state_of=states_in(ledger),
                settings=DiagnosisSettings(
                    partner_comparison=settings.diagnosis.partner_comparison
                ),
            )
        finally:
            series.close()
            ledger.close()


@app.command("list")
def list_models(
    tenant: Annotated[str | None, typer.Option(help="only this tenant")] = None,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """The model of every station, and whether a challenger waits."""
    with _models(config, data_dir) as models:
        rows = [_summary(view) for view in models.views(tenant)]
    if as_json:
        emit(rows)
        return
    columns = ["tenant", "site", "since", "days", "why", "challenger", "appear", "vanish"]
    table(columns, [[row[c] for c in columns] for row in rows], "no stations yet")


@app.command()
def show(
    site: str,
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """One station's model cards, what became of them, and what its references were and are."""
    with _models(config, data_dir) as models:
        view = models.view(SiteKey(tenant, site))
    if as_json:
        emit(view_row(view))
        return
    if view.newest is None:
        OUT.print("no model yet: it is fitted by itself when the references are learnt")
    else:
        facts(card_facts(view.newest))
    columns = ["from", "origin", "placed", "who", "why"]
    rows = [[iso_utc(p.effective_ms), iso_utc(p.origin_ms), *_decision(p)] for p in view.placed]
    table(columns, rows, "")
    if view.challenger is not None:
        OUT.print("\nA challenger waits (pumpwatch models promote SITE --why ...):")
        facts(card_facts(view.challenger))
    OUT.print("\nReferences, and all accepted changes since the first together:")
    table(
        ["feature", "target", "first", "now", "total", "changes"],
        [[d.feature, d.target, _short(d.first), _short(d.now), _share(d), d.changes]
         for d in view.drifts],
        "none noted yet: the hub notes them when they are learnt",
    )  # fmt: skip


@app.command()
def propose(
    site: str,
    why: Why = "by hand",
    by: Who = "",
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Fit a challenger on the station's recent clean days and try it beside the present model."""
    working = ERR.status("fitting a challenger and trying it on the station's own samples")
    with _models(config, data_dir) as models, working:
        placed = models.propose(SiteKey(tenant, site), _actor(by), why)
    if as_json:
        emit(card_row(placed))
    else:
        facts(card_facts(placed))


@app.command()
def promote(
    site: str,
    why: Why,
    by: Who = "",
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Let the waiting challenger judge from the station's next midnight on."""
    with _models(config, data_dir) as models:
        placed = models.promote(SiteKey(tenant, site), _actor(by), why)
    _said(placed, "promoted", as_json)


@app.command()
def rollback(
    site: str,
    why: Why,
    by: Who = "",
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Let the model before this one judge again, from the station's next midnight on."""
    with _models(config, data_dir) as models:
        placed = models.roll_back(SiteKey(tenant, site), _actor(by), why)
    _said(placed, "rolled back", as_json)


def _said(placed: Placed, what: str, as_json: bool) -> None:
    if as_json:
        emit(card_row(placed))
    else:
        typer.echo(f"{what}: in force from {iso_utc(placed.effective_ms)} on")


def _actor(name: str) -> Actor:
    return Actor(f"local:{name}" if name else "local", "local")


def card_row(placed: Placed) -> dict[str, Any]:
    return {
        "from": iso_utc(placed.effective_ms),
        "origin": iso_utc(placed.origin_ms),
        "card": dict(placed.card),
    }


def view_row(view: SiteModels) -> dict[str, Any]:
    """All of a station's models as JSON."""
    challenger = view.challenger
    return {
        **view.key._asdict(),
        "in_force": None if view.in_force is None else iso_utc(view.in_force.effective_ms),
        "models": [card_row(placed) for placed in view.placed],
        "challenger": None if challenger is None else card_row(challenger),
        "challengers": [card_row(placed) for placed in view.challengers],
        "can_roll_back": view.can_roll_back,
        "references": [
            {
                "feature": d.feature, "target": d.target, "first": d.first, "now": d.now,
                "first_since": iso_utc(d.first_ms), "since": iso_utc(d.since_ms),
                "total": d.total, "share": d.share, "changes": d.changes,
            }
            for d in view.drifts
        ],
    }  # fmt: skip


def _summary(view: SiteModels) -> dict[str, Any]:
    newest, challenger = view.newest, view.challenger
    card = {} if newest is None else newest.card
    backtest = {} if challenger is None else challenger.card["backtest"]
    return {
        **view.key._asdict(),
        "since": None if newest is None else iso_utc(newest.effective_ms),
        "days": card.get("days"),
        "why": card.get("placed_why", card.get("why")),
        "challenger": None if challenger is None else challenger.card["proposed"],
        "appear": backtest.get("appear"),
        "vanish": backtest.get("vanish"),
    }


def card_facts(placed: Placed) -> dict[str, Any]:
    """A card in lines: data span, features, versions, scores, who and why."""
    card = placed.card
    backtest = card.get("backtest")
    told = {
        "from": iso_utc(placed.effective_ms),
        "data": f"{card.get('days')} clean days up to {card.get('up_to')}, {card.get('rows')} cycles",
        "features": ", ".join(card.get("features", [])),
        "versions": ", ".join(f"{k} {v}" for k, v in card.get("versions", {}).items()),
        "fitted by": f"{card.get('who')}: {card.get('why')}",
    }
    if "placed" in card:
        told["decided by"] = f"{card['placed_by']}: {card['placed_why']} ({card['placed']})"
    if backtest:
        told["backtest"] = (
            f"{backtest['days']} days: {backtest['champion_alerts']} alerts then, "
            f"{backtest['challenger_alerts']} with it; {backtest['appear']} would appear, "
            f"{backtest['vanish']} vanish"
        )
        for way in ("appearing", "vanishing"):
            for n, line in enumerate(backtest[way], 1):
                told[f"{way} {n}"] = (
                    f"{line['t']} {line['fault']} ({line['kind']}, {line['cause']})"
                )
    return told


def _decision(placed: Placed) -> list[Any]:
    card = placed.card
    if "placed" in card:
        return [card["placed"], card["placed_by"], card["placed_why"]]
    return ["by itself", card.get("who"), card.get("why")]


def _short(value: float) -> str:
    return f"{value:.4g}"


def _share(drift: ReferenceDrift) -> str:
    if drift.feature.endswith("level_m"):
        return f"{drift.total:+.3f} m"
    return "" if drift.share is None else f"{100 * drift.share:+.1f} %"
