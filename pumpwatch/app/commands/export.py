"""`pumpwatch export`: samples, cycles and alerts of stations as files that other programs open."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pumpwatch import __version__
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption, Tenant
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.output import ERR, emit, plain_errors, table
from pumpwatch.app.series import reading_series
from pumpwatch.app.settings import load_settings
from pumpwatch.domain.alerts import Alert, iso_utc
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.domain.sites import Site
from pumpwatch.services.extract import EARLIEST_MS, LONGEST_MS, backwards, told_beside
from pumpwatch.services.tuning_file import write_tunings
from pumpwatch.stores.export_files import FORMS, Form, TableFile, Written, moments
from pumpwatch.stores.ledger import SqlLedger

SIGNAL_UNITS = {signal.name: signal.unit for signal in SIGNALS.values()}
_CYCLE_COLUMNS = ("start", "end", "pump", "valid", "reason")
_ALERT_COLUMNS = (
    "id", "opened", "resolved", "cause", "kind", "severity", "fault", "target", "score", "changed",
    "acknowledged", "acknowledged_by", "evidence", "transitions",
)  # fmt: skip

Tell = Callable[[str], None]
"""Hears how far one station is."""


def export(
    out: Annotated[Path, typer.Option(help="folder to write to; a folder a station is made in it")],
    site: Annotated[list[str] | None, typer.Option(help="only these (may be repeated)")] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="MOMENT", help="ISO 8601; the station's own time if no zone"),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="MOMENT", help="up to, but without, this moment")
    ] = None,
    form: Annotated[str, typer.Option("--format", help=f"one of {', '.join(FORMS)}")] = "parquet",
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write samples, cycles and alerts of stations to files; the hub may run.

    A station's folder is a recorded site: `pumpwatch backtest` and `replay` take it. Times in it are UTC.
    """
    with plain_errors(), ExitStack() as stack:
        if form not in FORMS:
            raise InvalidInput("--format", f"{form!r} is unknown", f"use one of {', '.join(FORMS)}")
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        directory = DataDir(settings.data_dir)
        if directory.purpose() is None:
            raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
        ledger = stack.enter_context(closing(open_ledger(directory, settings.ledger)))
        series = stack.enter_context(closing(reading_series(directory, settings.series)))
        keys = _chosen(ledger, tenant, site or [])
        spans = {key: _span(found, begin, end) for key, found in keys.items()}
        for key in keys:
            if (out / key.site).exists():
                raise Conflict(f"{out / key.site} exists", "nothing is replaced: use another --out")
        out.mkdir(parents=True, exist_ok=True)
        tell = stack.enter_context(_progress(as_json))
        told_of = told_beside(ledger)
        rows = []
        for number, (key, found) in enumerate(keys.items(), start=1):
            job = _Export(key, found, spans[key], told_of.get(key, []), ledger, series)
            rows.append(job.run(out, form, partial(tell, f"{number} of {len(keys)}")))
        if not any(row["files"] for row in rows):
            raise _nothing(list(keys), series, begin, end)
    _answer(out, rows, as_json)


@dataclass
class _Export:
    """One station, of which everything within ``span`` is written: [ms, ms)."""

    key: SiteKey
    site: Site
    span: tuple[int, int]
    beside: list[str]
    ledger: SqlLedger
    series: TimeSeriesStore

    def run(self, out: Path, form: Form, tell: Tell) -> dict[str, Any]:
        """Make the folder, whole or not at all; a station without anything gets none."""
        with tempfile.TemporaryDirectory(prefix=f".{self.key.site}.", dir=out) as work:
            folder = Path(work) / "site"
            folder.mkdir()
            files = [
                made.write(folder, name, form)
                for name, made in (
                    ("data", self._samples(Path(work) / "data", tell)),
                    ("cycles", self._cycles(Path(work) / "cycles", tell)),
                    ("alerts", self._alerts(Path(work) / "alerts")),
                )
            ]
            made = {w.path.stem.partition(".")[0]: w for w in files if w is not None}
            if made:
                self._describe(folder, made)
                folder.replace(out / self.key.site)
        return {
            "site": self.key.site,
            "samples": made["data"].rows if "data" in made else 0,
            "cycles": made["cycles"].rows if "cycles" in made else 0,
            "alerts": made["alerts"].rows if "alerts" in made else 0,
            "files": [str(out / self.key.site / w.path.name) for w in made.values()],
        }

    # -- tables --------------------------------------------------------------------------------

    def _samples(self, scratch: Path, tell: Tell) -> TableFile:
        units = SIGNAL_UNITS | self._units_beside()
        made = TableFile(scratch, ["ts", *SIGNALS], units, self._about())
        for begin_ms, rows in backwards(self.series, self.key, *self.span, self.beside):
            tell(
                f"{self.key.site}, {made.rows + len(rows)} samples back to {iso_utc(begin_ms)[:10]}"
            )
            there = {n: v for n, v in rows.signals.items() if not np.isnan(v).all()}
            made.add({"ts": moments(rows.t_ms), **there})
        return made

    def _cycles(self, scratch: Path, tell: Tell) -> TableFile:
        made = TableFile(scratch, [*_CYCLE_COLUMNS, *FEATURE_UNITS], FEATURE_UNITS, self._about())
        start_ms, end_ms = self.span
        while end_ms > start_ms:
            begin_ms = max(end_ms - LONGEST_MS, start_ms)
            made.add(_cycle_columns(self.ledger.cycles(self.key, begin_ms, end_ms)))
            tell(f"{self.key.site}, {made.rows} cycles back to {iso_utc(begin_ms)[:10]}")
            end_ms = begin_ms
        return made

    def _alerts(self, scratch: Path) -> TableFile:
        """Those that were open at any moment of the span."""
        made = TableFile(scratch, _ALERT_COLUMNS, {}, self._about())
        start_ms, end_ms = self.span
        everything = self.ledger.alerts(self.key.tenant, self.key.site, limit=10**9)
        inside = [
            a
            for a in everything
            if a.opened_ms < end_ms and (a.resolved_ms is None or a.resolved_ms >= start_ms)
        ]
        made.add(self._alert_columns(sorted(inside, key=lambda a: (a.opened_ms, a.id))))
        return made

    def _alert_columns(self, alerts: list[Alert]) -> dict[str, Any]:
        steps = [
            [
                {"step": str(t.step), "t": iso_utc(t.t_ms), "severity": str(t.severity),
                 "actor": t.actor.id, "why": t.why}
                for t in self.ledger.transitions(a.id)
            ]
            for a in alerts
        ]  # fmt: skip
        return {
            "id": [a.id for a in alerts],
            "opened": moments([a.opened_ms for a in alerts]),
            "resolved": moments([a.resolved_ms for a in alerts]),
            "cause": [a.cause for a in alerts],
            "kind": [str(a.kind) for a in alerts],
            "severity": [str(a.severity) for a in alerts],
            "fault": [" ".join(a.fault) for a in alerts],
            "target": [a.target or "" for a in alerts],
            "score": [a.score for a in alerts],
            "changed": moments([a.changed_ms for a in alerts]),
            "acknowledged": moments([a.acknowledged_ms for a in alerts]),
            "acknowledged_by": [a.acknowledged_by or "" for a in alerts],
            "evidence": [json.dumps(dict(a.evidence), ensure_ascii=False) for a in alerts],
            "transitions": [json.dumps(told, ensure_ascii=False) for told in steps],
        }

    # -- beside the tables ---------------------------------------------------------------------

    def _units_beside(self) -> dict[str, str]:
        _, birth = self.ledger.births().get(self.key, (0, None))
        signals = birth.signals if birth else {}
        return {name: str(signals[name].get("unit") or "") for name in self.beside}

    def _about(self) -> dict[str, str]:
        start_ms, end_ms = self.span
        return {
            "pumpwatch": __version__,
            "tenant": self.key.tenant,
            "site": self.key.site,
            "timezone": self.site.timezone,
            "from": iso_utc(start_ms),
            "to": iso_utc(end_ms),
        }

    def _describe(self, folder: Path, files: dict[str, Written]) -> None:
        """What a recorded site has beside its data, and ``export.json``: files, columns, units."""
        site = {name: value for name, value in self.site.to_dict().items() if name != "mode"}
        _write_json(folder / "site.json", site)
        told = {w.path.name: {"rows": w.rows, "columns": w.columns} for w in files.values()}
        _write_json(folder / "export.json", {**self._about(), "files": told})
        write_tunings(folder, self.ledger.tunings(self.key).get(self.key, []))
        log = self.ledger.log(self.key)
        if log:
            with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["ts", "kind", "target", "note"])
                for entry in sorted(log, key=lambda e: e.t_ms):
                    rows.writerow([iso_utc(entry.t_ms), str(entry.kind), entry.target, entry.note])


def _cycle_columns(cycles: list[CycleRow]) -> dict[str, Any]:
    names = sorted({name for cycle in cycles for name in cycle.features})
    return {
        "start": moments([c.start_ms for c in cycles]),
        "end": moments([c.end_ms for c in cycles]),
        "pump": [c.pump for c in cycles],
        "valid": [c.valid for c in cycles],
        "reason": [c.reason for c in cycles],
        **{
            name: np.array([c.features.get(name, np.nan) for c in cycles], np.float64)
            for name in names
        },
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# -- what is asked, and what is answered -----------------------------------------------------------


def _chosen(ledger: SqlLedger, tenant: str, names: list[str]) -> dict[SiteKey, Site]:
    """The stations asked for, those out of service too; without names all of the tenant."""
    known = {key: Site(key.site) for key in ledger.births()} | ledger.sites()
    found = {key: site for key, site in sorted(known.items()) if key.tenant == tenant}
    for name in names:
        if SiteKey(tenant, name) not in found:
            raise NotFound(f"no site {tenant}/{name}", "list them with: pumpwatch sites list")
    chosen = {key: site for key, site in found.items() if not names or key.site in names}
    if not chosen:
        raise NotFound(f"no stations of tenant {tenant}", "list them with: pumpwatch sites list")
    return chosen


def _span(site: Site, begin: str | None, end: str | None) -> tuple[int, int]:
    zone = ZoneInfo(site.timezone)
    tomorrow_ms = time.time_ns() // 1_000_000 + DAY_MS
    start_ms = EARLIEST_MS if begin is None else max(_moment_ms("--from", begin, zone), EARLIEST_MS)
    end_ms = tomorrow_ms if end is None else min(_moment_ms("--to", end, zone), tomorrow_ms)
    if start_ms >= end_ms:
        raise InvalidInput("--to", "the span ends before it begins", "give a --to after --from")
    return start_ms, end_ms


def _moment_ms(field: str, text: str, zone: ZoneInfo) -> int:
    """A moment; one without an offset is in the station's own time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            field, f"{text!r} is no moment", "write 2026-09-01 or 2026-09-01T06:00+09:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return round(moment.timestamp() * 1000)


def _nothing(
    keys: list[SiteKey], series: TimeSeriesStore, begin: str | None, end: str | None
) -> NotFound:
    span = f"from {begin or 'the beginning'} to {end or 'now'}"
    newest = series.latest(keys)
    if newest:
        key, (t_ms, _) = max(newest.items(), key=lambda pair: pair[1][0])
        remedy = f"the newest sample is of {key.site}, {iso_utc(t_ms)}: choose another span"
    else:
        remedy = "no sample has been stored of them yet"
    return NotFound(f"no samples, cycles or alerts of {len(keys)} stations {span}", remedy)


def _answer(out: Path, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit({"out": str(out), "sites": rows})
        return
    columns = ["site", "samples", "cycles", "alerts"]
    table(columns, [[row[c] for c in columns] for row in rows], "")
    ERR.print(f"written to {out}", highlight=False)


@contextmanager
def _progress(hidden: bool) -> Iterator[Callable[[str, str], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = hidden or not ERR.is_terminal
    with Progress(*columns, console=ERR, disable=hidden, transient=True) as bar:
        task = bar.add_task("export", total=None)
        yield lambda which, text: bar.update(task, description=f"{which}: {text}")
