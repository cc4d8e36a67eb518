"""`tune`: change what diagnosis does at one station, after seeing what it would have told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.wording import fault_title
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption, Tenant
from pumpwatch.app.commands.progress import Bar
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.ledger import open_ledger
from pumpwatch.app.output import OUT, emit, facts, plain_errors, table
from pumpwatch.app.series import reading_series
from pumpwatch.app.settings import load_settings
from pumpwatch.diagnosis.knobs import KNOBS
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuning import Difference, Exclusion, Tuning, check_cause, read_value
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, WallClock
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.sites import Site
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services.failure_log import Failure, failures_of_truth, read_failures
from pumpwatch.services.truth import read_truth
from pumpwatch.services.tuning import (
    LONGEST_DAYS,
    SHORTEST_DAYS,
    TRIAL_DAYS,
    Fate,
    Preview,
    Told,
    TuningService,
    TuningView,
    moment,
    span,
)
from pumpwatch.web.tuning_api import DifferenceOut, PreviewOut, TuningOut, VersionOut

_EN = translator("en")
Names = list[str] | None


def tune(
    site: Annotated[str, typer.Argument(help="the station")],
    set_: Annotated[
        Names, typer.Option("--set", metavar="NAME=VALUE", help="a setting's own value here")
    ] = None,
    reset: Annotated[Names, typer.Option(metavar="NAME", help="as everywhere again")] = None,
    mute: Annotated[
        Names, typer.Option(metavar="CAUSE", help="keep this cause on record, call nobody")
    ] = None,
    unmute: Annotated[Names, typer.Option(metavar="CAUSE", help="tell it again")] = None,
    exclude: Annotated[
        Names, typer.Option(metavar="FROM/TO", help="a time that must not count")
    ] = None,
    include: Annotated[Names, typer.Option(metavar="FROM/TO", help="let it count again")] = None,
    days: Annotated[
        int, typer.Option(min=SHORTEST_DAYS, max=LONGEST_DAYS, help="how far back to try it")
    ] = TRIAL_DAYS,
    failures: Annotated[
        Path | None, typer.Option(help="failure log, CSV as of `study`: what really happened")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="folder of recorded sites that have a truth.json")
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="make it the station's newest version")] = False,
    preview: Annotated[
        bool, typer.Option(help="try it on stored samples before it is saved")
    ] = True,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="MOMENT", help="when it takes effect; now")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="take back the newest version")] = False,
    to: Annotated[
        int | None, typer.Option(min=0, help="with --undo: bring this version back; 0: none of its own")
    ] = None,
    compare: Annotated[
        tuple[int, int] | None, typer.Option(metavar="A B", help="what B changes of A")
    ] = None,
    reason: Annotated[str, typer.Option(help="why, kept with the version")] = "",
    by: Annotated[str, typer.Option("--by", help="who does it")] = "",
    tenant: Tenant = DEFAULT_TENANT,
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show, try, save, compare and take back one station's own settings of diagnosis; the hub may run.

    Without a change: what is set, what may be set, and every version. With one: the alerts it would have
    added and taken away over the station's own stored samples. Other stations stay as they are.
    """
    key, actor = SiteKey(tenant, site), Actor(f"local:{by}" if by else "local", "local")
    wanted = any((set_, reset, mute, unmute, exclude, include))
    with _service(config, data_dir) as service:
        view = service.view(key)
        if undo or compare is not None:
            if wanted or save or (undo and compare is not None):
                raise InvalidInput("--undo, --compare", "stand alone", "do one thing at a time")
            if compare is not None:
                _tell_differences(view, service.compare(key, *compare), as_json)
            else:
                _tell_saved(view, service.undo(key, reason, actor, to=to), as_json)
            return
        if not wanted:
            if save:
                raise InvalidInput(
                    "--save", "nothing to save", "name a change, e.g. --set limit=12"
                )
            _tell_view(view, as_json)
            return
        tuning = _changed(view, set_, reset, mute, unmute, exclude, include)
        if save and not reason.strip():  # said before the trial, which takes its time
            raise InvalidInput("--reason", "is empty", "say why, for whoever reads it in a year")
        answer: dict[str, Any] = {}
        if preview or not save:
            known = _known(view, failures, truth)
            with Bar(quiet=as_json) as progress:
                found = service.preview(key, tuning, days=days, events=known, progress=progress)
            answer["preview"] = PreviewOut.of(found).model_dump(mode="json")
            if not as_json:
                _tell_preview(view, found)
        if save:
            from_ms = None if begin is None else moment(begin, view.site, "--from")
            made = service.save(
                key, tuning, reason, actor, from_ms=from_ms, based_on=len(view.versions)
            )
            answer["saved"] = VersionOut.of(made).model_dump(mode="json")
            if not as_json:
                _tell_saved(view, made, as_json)
        if as_json:
            emit(answer)


@contextmanager
def _service(config: Path | None, data_dir: Path | None) -> Iterator[TuningService]:
    with plain_errors(), ExitStack() as stack:
        settings = load_settings(config, {} if data_dir is None else {"data_dir": data_dir})
        directory = DataDir(settings.data_dir)
        if directory.purpose() is None:
            raise NotFound(f"{settings.data_dir} holds no data", "name another with --data-dir")
        ledger = stack.enter_context(closing(open_ledger(directory, settings.ledger)))
        series = stack.enter_context(closing(reading_series(directory, settings.series)))
        base = DiagnosisSettings(partner_comparison=settings.diagnosis.partner_comparison)
        yield TuningService(ledger, ledger, series, WallClock(), base)


# -- what is asked ---------------------------------------------------------------------------------


def _changed(
    view: TuningView,
    set_: Names,
    reset: Names,
    mute: Names,
    unmute: Names,
    exclude: Names,
    include: Names,
) -> Tuning:
    """The station's newest settings with what the command line changes of them."""
    old = view.tuning
    gone = _settings("--reset", reset, old.values)
    values = {name: value for name, value in old.values.items() if name not in gone}
    for text in set_ or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise InvalidInput("--set", f"{text!r} has no value", "write NAME=VALUE, e.g. limit=12")
        values[name] = read_value(name, value)
    told = _settings("--unmute", unmute, old.muted)
    muted = {*(c for c in old.muted if c not in told), *(check_cause(c) for c in mute or ())}
    back = {_span(text, view.site) for text in include or ()}
    if strange := back - {*old.excluded}:
        shown = ", ".join(_shown(view, one) for one in strange)
        raise InvalidInput("--include", f"{shown} is not excluded", "see: pumpwatch tune SITE")
    spans = {*old.excluded, *(_span(text, view.site) for text in exclude or ())} - back
    return replace(old, values=values, muted=tuple(sorted(muted)), excluded=tuple(sorted(spans)))


def _settings(option: str, names: Names, present: Sequence[str] | Mapping[str, Any]) -> set[str]:
    """Names that are set now. Raises `InvalidInput` for one that is not."""
    for name in names or ():
        if name not in present:
            known = ", ".join(present) or "nothing"
            raise InvalidInput(option, f"{name!r} is not set here", f"set are: {known}")
    return set(names or ())


def _span(text: str, site: Site) -> Exclusion:
    begin, slash, end = text.partition("/")
    if not slash:
        raise InvalidInput(
            "--exclude, --include", f"{text!r} is no span",
            "write FROM/TO, e.g. 2026-08-12T00:00/2026-08-16T00:00",
        )  # fmt: skip
    return span(begin, end, site)


def _known(view: TuningView, log: Path | None, truth: Path | None) -> list[Failure] | None:
    """What really happened, from a file; None: as the ledger knows it."""
    if log is not None:
        return read_failures(log, {view.key.site: view.site})
    if truth is not None:
        folder = truth if any(truth.glob("*/truth.json")) else truth.parent
        return failures_of_truth(read_truth(folder))
    return None


# -- what is answered ------------------------------------------------------------------------------


def _tell_view(view: TuningView, as_json: bool) -> None:
    if as_json:
        emit(TuningOut.of(view, "en").model_dump(mode="json"))
        return
    width = max(map(len, KNOBS))
    for name, knob in KNOBS.items():
        own, default = view.tuning.values.get(name), _plain(getattr(view.base, name))
        value = f"{default} (as everywhere)" if own is None else f"{_plain(own)} (else {default})"
        bounds = "on or off" if knob.sort == "switch" else f"{knob.low:g} to {knob.high:g}"
        line = f"{name:<{width}}  {value}, {bounds} {knob.unit.en}".rstrip()
        OUT.print(line, highlight=False, style="" if own is None else "bold")
        OUT.print(f"{'':<{width}}  {knob.raising.en}", highlight=False, style="dim")
    OUT.print(f"\nmuted: {', '.join(view.tuning.muted) or 'no cause'}", highlight=False)
    spans = [_shown(view, one) for one in view.tuning.excluded]
    OUT.print(f"not counted: {', '.join(spans) or 'no time'}\n", highlight=False)
    versions = [
        [v.n, "*" if v == view.in_force else "", _takes_effect(view, v), v.actor.id, v.reason,
         "; ".join(_said(view, d) for d in view.changes_of(v))]
        for v in reversed(view.versions)
    ]  # fmt: skip
    columns = ["version", "in force", "from", "who", "reason", "what it changed"]
    table(columns, versions, "no versions: this station is judged like every other")


def _tell_differences(view: TuningView, found: Sequence[Difference], as_json: bool) -> None:
    if as_json:
        emit([DifferenceOut.of(one).model_dump(mode="json") for one in found])
        return
    for one in found:
        OUT.print(_said(view, one), highlight=False)
    if not found:
        OUT.print("they are the same")


def _tell_saved(view: TuningView, made: TuningVersion, as_json: bool) -> None:
    if as_json:
        emit(VersionOut.of(made).model_dump(mode="json"))
        return
    when = _takes_effect(view, made)
    OUT.print(f"{view.key}: version {made.n} saved, takes effect {when}", highlight=False)


def _tell_preview(view: TuningView, found: Preview) -> None:
    for change in found.changes:
        OUT.print(_said(view, change), highlight=False)
    OUT.print(
        f"tried on {found.rows} samples, counted from {_at(view, found.known_ms)} "
        f"to {_at(view, found.end_ms)}\n",
        highlight=False,
        soft_wrap=True,
    )
    rows = []
    for line in found.lines:
        one = line.before or line.after
        assert one is not None
        shift = ""
        if line.before and line.after:
            hours = (line.after.opened_ms - line.before.opened_ms) / HOUR_MS
            shift = f"{hours:+.0f} h" if abs(hours) >= 1 else ""
        rows.append([line.fate, _at(view, one.opened_ms), str(one.severity), _named(one), shift])
    empty = "no alert in this time, with the change or without it"
    table(["alert", "began", "severity", "what", "shift"], rows, empty)
    for event in found.events:
        failure = event.failure
        leads = [_lead(event.lead_before_ms), _lead(event.lead_after_ms)]
        what = f"{failure.found or 'repair'} {failure.target or ''}".rstrip()
        OUT.print(
            f"  {_at(view, failure.failed_ms)} {what}: {leads[0]} → {leads[1]}", highlight=False
        )
    budget = found.budget
    n = len(found.events)
    facts(
        {
            "vanish, appear, stay": ", ".join(str(found.count(fate)) for fate in Fate),
            "foreseen": f"{found.foreseen_before} → {found.foreseen_after} of {n} known events"
            if n
            else "nothing is known to have happened: give --failures, or close alerts with what was found",
            "alerts of nothing known": f"{budget.rate_before:.3f} → {budget.rate_after:.3f} per site-month here",
            "the whole fleet": f"{budget.fleet_before:.3f} → {budget.fleet_after:.3f}, "
            f"goal {budget.goal:g}: {'kept' if budget.kept else 'not kept'}",
        }
    )  # fmt: skip


def _said(view: TuningView, one: Difference) -> str:
    if one.what in KNOBS:
        default = getattr(view.base, one.what)
        before, after = (_plain(v, f"{_plain(default)} (as everywhere)") for v in one[1:])
        return f"{one.what}: {before} → {after}"
    which = one.after or one.before
    shown = _shown(view, which) if isinstance(which, Exclusion) else str(which)
    return f"{one.what}: {shown}" if one.after else f"no longer {one.what}: {shown}"


def _plain(value: Any, none: str = "") -> str:
    if value is None:
        return none
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}"


def _at(view: TuningView, t_ms: int) -> str:
    """On the station's own clock."""
    return _EN.moment(t_ms, view.site.timezone, year=True)


def _shown(view: TuningView, one: Exclusion) -> str:
    return f"{_at(view, one.start_ms)} to {_at(view, one.end_ms)}"


def _takes_effect(view: TuningView, version: TuningVersion) -> str:
    return _at(view, version.effective_ms) if version.effective_ms > 0 else "from its first sample"


def _named(one: Told) -> str:
    return f"{one.target or ''} {fault_title(one.fault[0], _EN)}".strip()


def _lead(lead_ms: int | None) -> str:
    return "not foreseen" if lead_ms is None else f"{lead_ms / DAY_MS:.1f} days ahead"
