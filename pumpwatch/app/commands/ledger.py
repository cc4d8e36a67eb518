"""`sites` and `alerts`: what the ledger holds, and what people change in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.policy import Policy, Route
from pumpwatch.alerting.wording import word
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption, Tenant
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.output import ERR, OUT, Exit, emit, plain_errors, table
from pumpwatch.app.settings import Settings, load_settings
from pumpwatch.cycles.recording import read_log, read_site
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, iso_utc, ms_from_iso
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import InvalidInput, NotFound, PumpwatchError
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey, check_id
from pumpwatch.domain.labels import Found, Label
from pumpwatch.domain.proofs import Proof, unproven_pumps
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode, site_from_dict
from pumpwatch.services.alerts import AlertService
from pumpwatch.services.label_scores import LabelScores, Share, label_scores, scores_by_site
from pumpwatch.services.registry import announced, choose_recordings, register_recording
from pumpwatch.stores.ledger import SqlLedger

sites_app = typer.Typer(no_args_is_help=True, help="Stations: list, add, approve, retire, log.")
alerts_app = typer.Typer(
    no_args_is_help=True, help="Alerts: list, show, acknowledge, resolve, say what was found."
)

Who = Annotated[str, typer.Option("--by", help="who does it")]
Target = Annotated[str | None, typer.Option(help="which pump, e.g. pump1 (default: the station)")]
_CAUSE = "a fault code of the runbook, nothing_found, or other with words"
_WHEN = "when it was found, ISO 8601 (default: now, of a correction: as before)"


@contextmanager
def _ledger(
    config: Path | None, data_dir: Path | None, *, make: bool = False
) -> Iterator[tuple[SqlLedger, Settings]]:
    """The ledger of the data directory; commands and a running hub may use it at the same time."""
    with plain_errors():
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        directory = DataDir(settings.data_dir)
        if make and directory.purpose() is None:
            directory.claim("live")
        if directory.purpose() is None:
            raise NotFound(
                f"{settings.data_dir} holds no data", "name another directory with --data-dir"
            )
        ledger = open_ledger(directory, settings.ledger)
        try:
            yield ledger, settings
        finally:
            ledger.close()


def _actor(name: str) -> Actor:
    return Actor(f"local:{name}" if name else "local", "local")


# -- sites -------------------------------------------------------------------------------------


@sites_app.command("list")
def sites_list(
    config: ConfigFile = None, data_dir: DataDirOption = None, as_json: AsJson = False
) -> None:
    """All stations, and those that wait for approval."""
    with _ledger(config, data_dir) as (ledger, settings):
        sites, held, proofs = ledger.sites(), ledger.held(), ledger.proofs()
    now_ms, days = WallClock().now_ms(), settings.diagnosis.proof_days
    unproven = {
        k: unproven_pumps(proofs.get(k, ()), s.pumps, now_ms, days)
        if s.mode is not SiteMode.RECORDING
        else []
        for k, s in sites.items()
    }
    if as_json:
        emit(
            {
                "sites": [
                    {
                        "tenant": k.tenant,
                        **s.to_dict(),
                        "unproven": unproven[k],
                        "proofs": [_proof_row(proof) for proof in proofs.get(k, ())],
                    }
                    for k, s in sites.items()
                ],
                "held": [
                    {
                        **h.key._asdict(),
                        "messages": h.messages,
                        "first": iso_utc(h.first_ms),
                        "last": iso_utc(h.last_ms),
                    }
                    for h in held
                ],
            }
        )
        return
    table(
        ["tenant", "site", "name", "mode", "pumps", "sample_s", "no proof of standby"],
        [
            [k.tenant, k.site, s.name, s.mode, s.pumps, s.sample_s, ", ".join(unproven[k])]
            for k, s in sites.items()
        ],
        "no stations yet: approve one (pumpwatch sites approve) or import (pumpwatch sites import)",
    )
    if held:
        OUT.print(f"\n{len(held)} wait for approval (pumpwatch sites approve SITE):")
        columns = ["tenant", "site", "messages", "last"]
        table(columns, [[*h.key, h.messages, iso_utc(h.last_ms)] for h in held], "")


@sites_app.command("show")
def sites_show(
    site: str,
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = True,
) -> None:
    """One station and its log, always as JSON."""
    with _ledger(config, data_dir) as (ledger, _):
        key = SiteKey(tenant, site)
        found, log = _known(ledger, key), ledger.log(key)
        proofs = ledger.proofs(key).get(key, ())
    emit(
        {
            "tenant": tenant,
            **found.to_dict(),
            "log": [_log_row(e) for e in log],
            "proofs": [_proof_row(proof) for proof in proofs],
        }
    )


@sites_app.command("import")
def sites_import(
    path: Annotated[Path, typer.Argument(help="a site.json, or a folder of recorded-site folders")],
    site: Annotated[list[str] | None, typer.Option(help="only these (may be repeated)")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    recording: Annotated[
        bool, typer.Option("--recording", help="these are recordings: nobody is ever notified")
    ] = False,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Add stations, or change them, from site.json files; a folder's site log comes along.

    A folder that cannot be used is named and stops no other; the exit code is then 3.
    """
    failed: dict[str, str] = {}
    with _ledger(config, data_dir, make=True) as (ledger, _):
        check_id(tenant, "--tenant")
        now_ms = WallClock().now_ms()
        if path.is_file():
            sites = [_site_file(path, recording=recording)]
            for found in sites:
                ledger.put_site(SiteKey(tenant, found.site), found, _actor(by), now_ms)
            names = [found.site for found in sites]
        else:
            chosen = choose_recordings(path, site or [])
            names, failed = [], chosen.broken
            for name, folder in chosen.folders.items():
                try:
                    _import_folder(ledger, folder, tenant, now_ms, _actor(by), recording=recording)
                    names.append(name)
                except PumpwatchError as error:
                    failed[name] = str(error)
    if as_json:
        emit({"imported": names, "failed": failed})
    else:
        typer.echo(f"{len(names)} stations imported into {tenant}")
        for name, why in failed.items():
            ERR.print(f"{name}: {why}", style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(Exit.of(len(failed), len(failed) + len(names)))


def _site_file(path: Path, told: Mapping[str, Any] | None = None, *, recording: bool) -> Site:
    """The site a file describes; what it leaves out is as ``told``."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            str(path), f"cannot be read ({error})", "write one JSON object"
        ) from None
    mode = SiteMode.RECORDING if recording else SiteMode.LIVE
    return site_from_dict({**(told or {}), **raw, "mode": str(mode)})


def _import_folder(
    ledger: SqlLedger, folder: Path, tenant: str, now_ms: int, actor: Actor, *, recording: bool
) -> None:
    if recording:
        register_recording(ledger, folder, tenant, now_ms, actor)
        return
    site = site_from_dict({**read_site(folder).to_dict(), "mode": str(SiteMode.LIVE)})
    key, entries = SiteKey(tenant, site.site), read_log(folder)
    ledger.put_site(key, site, actor, now_ms)
    for entry in entries:
        ledger.add_log(key, entry, actor, now_ms)


@sites_app.command("approve")
def sites_approve(
    site: str,
    file: Annotated[Path | None, typer.Option(help="its site.json, when there is one")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Let a station in that has been sending; what it sent so far is taken up."""
    with _ledger(config, data_dir) as (ledger, _):
        key = SiteKey(tenant, check_id(site, "site"))
        held = next((h for h in ledger.held() if h.key == key), None)
        if held is None:
            raise NotFound(f"{key} does not wait for approval", "see: pumpwatch sites list")
        told = {"site": site, **announced(held)}
        known = _site_file(file, told, recording=False) if file else site_from_dict(told)
        if known.site != site:
            raise InvalidInput(
                "--file", f"{file} describes {known.site!r}, not {site!r}", "give that site's file"
            )
        ledger.put_site(key, known, _actor(by), WallClock().now_ms())
    _say({"approved": key._asdict()}, f"{key} approved", as_json)


@sites_app.command("retire")
def sites_retire(
    site: str,
    tenant: Tenant = DEFAULT_TENANT,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Take a station out of service; its data and alerts stay."""
    with _ledger(config, data_dir) as (ledger, _):
        key = SiteKey(tenant, site)
        _known(ledger, key)
        ledger.retire_site(key, _actor(by), WallClock().now_ms())
    line = f"{key} retired; import or approve it to bring it back"
    _say({"retired": key._asdict()}, line, as_json)


@sites_app.command("log")
def sites_log(
    site: str,
    kind: Annotated[
        LogKind | None, typer.Argument(help="what was done; none: list the log")
    ] = None,
    target: Annotated[str | None, typer.Option(help="e.g. pump1")] = None,
    at: Annotated[str | None, typer.Option(help="when, ISO 8601 (default: now)")] = None,
    note: Annotated[str, typer.Option(help="in words")] = "",
    tenant: Tenant = DEFAULT_TENANT,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Write into a station's log (an overhaul sets its pump's reference anew), or list it."""
    with _ledger(config, data_dir) as (ledger, _):
        key = SiteKey(tenant, site)
        _known(ledger, key)
        if kind is not None:
            now_ms = WallClock().now_ms()
            entry = LogEntry(_moment(at) if at else now_ms, kind, target, note)
            ledger.add_log(key, entry, _actor(by), now_ms)
        rows = [_log_row(entry) for entry in ledger.log(key)]
    if as_json:
        emit(rows)
    else:
        columns = ["t", "kind", "target", "note"]
        table(columns, [[row[c] for c in columns] for row in rows], "nothing logged yet")


def _proof_row(proof: Proof) -> dict[str, Any]:
    return {
        "subject": proof.subject,
        "proven": None if proof.proven_ms is None else iso_utc(proof.proven_ms),
        "checked": iso_utc(proof.checked_ms),
        "measured": proof.measured,
        "expected": proof.expected,
    }


def _say(data: Any, line: str, as_json: bool) -> None:
    if as_json:
        emit(data)
    else:
        typer.echo(line)


def _known(ledger: SqlLedger, key: SiteKey) -> Site:
    site = ledger.site(key)
    if site is None:
        raise NotFound(f"no site {key}", "see: pumpwatch sites list")
    return site


def _moment(text: str) -> int:
    try:
        return ms_from_iso(text)
    except ValueError:
        raise InvalidInput(
            "--at", f"{text!r} is no moment", "write 2026-04-01T09:00+09:00"
        ) from None


def _log_row(entry: LogEntry) -> dict[str, Any]:
    return {
        "t": iso_utc(entry.t_ms), "kind": str(entry.kind), "target": entry.target,
        "note": entry.note,
    }  # fmt: skip


# -- alerts ------------------------------------------------------------------------------------


@alerts_app.command("list")
def alerts_list(
    tenant: Annotated[str | None, typer.Option(help="only this tenant")] = None,
    site: Annotated[str | None, typer.Option(help="only this site")] = None,
    everything: Annotated[bool, typer.Option("--all", help="resolved ones too")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 200,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Alerts, the newest change first."""
    with _ledger(config, data_dir) as (ledger, _):
        found = ledger.alerts(tenant, site, include_resolved=everything, limit=limit)
        rows = [alert_row(a) | {"transitions": _transitions(ledger, a)} for a in found]
    if as_json:
        emit(rows)
        return
    columns = ["id", "site", "target", "severity", "fault", "since", "state"]
    cells = [[str(r[c])[:8] if c == "id" else _plain(r[c]) for c in columns] for r in rows]
    table(columns, cells, "no open alerts" if not everything else "no alerts")


@alerts_app.command("show")
def alerts_show(
    alert: Annotated[str, typer.Argument(help="id, or its beginning")],
    lang: Annotated[
        Literal["ja", "en"] | None, typer.Option(help="language (default: of the notifications)")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """One alert in words: what, since when, why, what to do and what to bring."""
    with _ledger(config, data_dir) as (ledger, settings):
        found = _service(ledger).find(alert)
        if as_json:
            emit(alert_row(found) | {"transitions": _transitions(ledger, found)})
            return
        site = ledger.site(found.key) or Site(found.key.site)
        tr = translator(lang or settings.notify.language)
        text = word(found, site, tr)
    about = [text.summary, f"{text.priority} {text.urgency}", text.how_soon, *text.not_known]
    told = "\n".join(part for part in about if part)
    OUT.print(f"[bold]{text.title}[/bold]\n{told}\n", highlight=False)
    for heading, lines in ((tr.gettext("Why"), text.why), (tr.gettext("Do"), text.do), (tr.gettext("Bring"), text.bring)):  # fmt: skip
        if lines:
            OUT.print(heading, style="bold")
            for line in lines:
                OUT.print(f"  - {line}", highlight=False)


@alerts_app.command("ack")
def alerts_ack(
    alert: Annotated[str, typer.Argument(help="id, or its beginning")],
    note: Annotated[str, typer.Option(help="in words")] = "",
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Say that somebody has taken it in hand."""
    with _ledger(config, data_dir) as (ledger, _):
        service = _service(ledger)
        changed = service.acknowledge(service.find(alert).id, _actor(by), note)
    _say(alert_row(changed), f"{changed.id[:8]} acknowledged", as_json)


@alerts_app.command("resolve")
def alerts_resolve(
    alert: Annotated[str, typer.Argument(help="id, or its beginning")],
    found: Annotated[str, typer.Option(help="in words: what was found and done")] = "",
    cause: Annotated[str | None, typer.Option(help=_CAUSE)] = None,
    target: Target = None,
    at: Annotated[str | None, typer.Option(help=_WHEN)] = None,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Close it, saying what was found: its cause becomes a label (see `alerts labels`)."""
    with _ledger(config, data_dir) as (ledger, _):
        known = _service(ledger).find(alert).id
        told = sorted({owed.notifier for owed in ledger.owed_for(known)})
        label = None if cause is None else _found(cause, target, found, at)
        changed = _service(ledger, told).resolve(known, _actor(by), found, label)
    _say(alert_row(changed), f"{changed.id[:8]} resolved", as_json)


@alerts_app.command("label")
def alerts_label(
    subject: Annotated[
        str, typer.Argument(help="id of an alert or missed failure, or its beginning")
    ],
    cause: Annotated[str, typer.Argument(help=_CAUSE)],
    target: Target = None,
    at: Annotated[str | None, typer.Option(help=_WHEN)] = None,
    note: Annotated[str, typer.Option(help="in words; needed for other")] = "",
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what was found, or correct it: the earlier answer stays in the record."""
    with _ledger(config, data_dir) as (ledger, _):
        label = _service(ledger).answer(subject, _actor(by), _found(cause, target, note, at))
    _say(_label_row(label), f"{label.subject[:8]}: {label.cause} (answer {label.n})", as_json)


@alerts_app.command("missed")
def alerts_missed(
    site: str,
    cause: Annotated[str, typer.Argument(help=_CAUSE)],
    target: Target = None,
    at: Annotated[str | None, typer.Option(help="when it failed, ISO 8601 (default: now)")] = None,
    note: Annotated[str, typer.Option(help="in words; needed for other")] = "",
    tenant: Tenant = DEFAULT_TENANT,
    by: Who = "",
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """Write down a failure that no alert told of: only so can recall be known."""
    with _ledger(config, data_dir) as (ledger, _):
        found = _found(cause, target, note, at)
        label = _service(ledger).missed(SiteKey(tenant, site), _actor(by), found)
    _say(_label_row(label), f"{label.subject[:8]}: {label.key} failed, {label.cause}", as_json)


@alerts_app.command("labels")
def alerts_labels(
    tenant: Annotated[str | None, typer.Option(help="only this tenant")] = None,
    site: Annotated[str | None, typer.Option(help="only this site")] = None,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:
    """How right the alerts were, by what people found; with --json every answer too."""
    with _ledger(config, data_dir) as (ledger, _):
        labels = ledger.labels(tenant, site)
    total, by_site = label_scores(labels), scores_by_site(labels)
    if as_json:
        emit(
            {
                "fleet": _scores_row(total),
                "sites": [{**k._asdict(), **_scores_row(s)} for k, s in by_site.items()],
                "labels": [_label_row(label) for label in labels],
            }
        )
        return
    parts = {f"{key.tenant}/{key.site}": scores for key, scores in by_site.items()}
    table(
        ["", "precision", "named rightly", "recall"],
        [
            [name, *(_share(share) for share in (s.precision, s.named, s.recall))]
            for name, s in ({"all": total} | parts if parts else {}).items()
        ],
        "no labels yet: say what was found (pumpwatch alerts resolve|label|missed)",
    )


def _service(ledger: SqlLedger, told: Iterable[str] = ()) -> AlertService:
    """``told`` are the notifiers that are owed the end of what they told the beginning of."""
    policy = Policy(tuple(Route(name) for name in told))
    return AlertService(ledger, ledger, WallClock(), policy)


def alert_row(alert: Alert) -> dict[str, Any]:
    """An alert as JSON: the fields of a backtest's line, and its state."""
    state = "open" if alert.open else "resolved"
    return {
        "id": alert.id,
        "tenant": alert.key.tenant,
        "site": alert.key.site,
        "ts": iso_utc(alert.opened_ms),
        "kind": str(alert.kind),
        "severity": str(alert.severity),
        "fault": list(alert.fault),
        "target": alert.target,
        "score": alert.score,
        "evidence": dict(alert.evidence),
        "cause": alert.cause,
        "since": alert.evidence.get("since"),
        "state": "acknowledged" if alert.open and alert.acknowledged_ms else state,
        "changed": iso_utc(alert.changed_ms),
        "resolved": iso_utc(alert.resolved_ms) if alert.resolved_ms else None,
        "acknowledged_by": alert.acknowledged_by,
    }


def _transitions(ledger: SqlLedger, alert: Alert) -> list[dict[str, Any]]:
    return [
        {
            "n": t.n,
            "step": str(t.step),
            "t": iso_utc(t.t_ms),
            "severity": str(t.severity),
            "fault": list(t.fault),
            "who": t.actor.id,
            "why": t.why,
        }
        for t in ledger.transitions(alert.id)
    ]


def _found(cause: str, target: str | None, note: str, at: str | None) -> Found:
    return Found(cause, target, note, None if at is None else _moment(at))


def _label_row(label: Label) -> dict[str, Any]:
    return {
        "subject": label.subject, "n": label.n, **label.key._asdict(), "cause": label.cause,
        "target": label.target, "note": label.note, "found": iso_utc(label.found_ms),
        "recorded": iso_utc(label.recorded_ms), "who": label.actor.id,
        "alerted": label.said is not None, "said": label.said and label.said.fault,
    }  # fmt: skip


def _scores_row(scores: LabelScores) -> dict[str, Any]:
    shares = {"precision": scores.precision, "named": scores.named, "recall": scores.recall}
    return {
        name: {"hits": s.hits, "n": s.n, "share": s.value, "interval": s.interval}
        for name, s in shares.items()
    }


def _share(share: Share) -> str:
    if share.value is None or share.interval is None:
        return "-"
    low, high = share.interval
    return f"{share.value:.2f} ({share.hits} of {share.n}; {low:.2f}-{high:.2f})"


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")
