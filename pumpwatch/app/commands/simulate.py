"""`simulate`: a scenario, or a town made up from a few options, written, played or checked."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.app import logs
from pumpwatch.app.commands.options import AsJson
from pumpwatch.app.commands.progress import Bar
from pumpwatch.app.commands.run import parse_address
from pumpwatch.app.output import OUT, Exit, emit, facts, plain_errors, table
from pumpwatch.app.server import wait_for_stop
from pumpwatch.app.simulate_check import as_data, check_live, check_recorded
from pumpwatch.app.simulate_live import LiveScenario
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS, WallClock
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import check_id
from pumpwatch.simulator.fleet import draw_fleet
from pumpwatch.simulator.recorded import parse_fault, write_recordings
from pumpwatch.simulator.scenario import Scenario, load_scenario, shipped
from pumpwatch.simulator.scenario_check import Verdict
from pumpwatch.simulator.weather import Sky
from pumpwatch.simulator.writer import FORMATS

_START = "2026-04-01T00:00:00+09:00"
_FOR_EVER_MS = 36_500 * DAY_MS


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(help="file of a scenario (.toml), or the name of a shipped one")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="list the shipped scenarios")] = False,
    out: Annotated[Path | None, typer.Option(help="write recorded-site folders here")] = None,
    live: Annotated[bool, typer.Option("--live", help="drive edge agents over MQTT")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="fail unless the expected alerts come; with --live over a broker"
        ),
    ] = False,
    form: Annotated[str, typer.Option("--format", help=f"one of {', '.join(FORMATS)}")] = "csv.xz",
    speed: Annotated[
        float | None,
        typer.Option(
            min=0, help="with --live, times faster than life; 0: as fast as the hub takes it"
        ),
    ] = None,
    broker: Annotated[str, typer.Option(help="HOST:PORT, with --live")] = "127.0.0.1:1883",
    tenant: Annotated[str, typer.Option(help="tenant, with --live")] = "default",
    outbox: Annotated[
        Path, typer.Option(help="folder of the agents' outboxes, with --live")
    ] = Path("pumpwatch-agents"),
    workers: Annotated[int, typer.Option(min=1, help="processes that diagnose, with --check")] = 2,
    stations: Annotated[
        int | None, typer.Option(min=1, max=9999, help="without a scenario: how many (12)")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="… how many days, with --out (30)")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="… the same seed gives the same bytes (1)")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help=f"… first moment, ISO 8601, with --out ({_START})")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="… STATION:FAULT:PUMP:DAY, or STATION:FAULT:DAY")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Pretend to be a town: write its recording (--out), be its panels (--live), or hold the
    diagnosis to what a scenario expects (--check)."""  # fmt: skip
    with plain_errors():
        if listing:
            _list(as_json)
            return
        if ((out is None) and not (live or check)) or (out is not None and (live or check)):
            raise InvalidInput("--out", "choose one of --out, --live and --check", "see --help")
        if scenario is not None:
            if given := [v for v in (stations, days, seed, start, fault) if v is not None]:
                raise InvalidInput("SCENARIO", f"says that itself, not {given[0]}", "leave it out")
            chosen = load_scenario(scenario)
        elif check:
            raise InvalidInput("SCENARIO", "missing: what shall be checked?", "see --list")
        else:
            begin_ms = WallClock().now_ms() if live else _moment_ms(start or _START)
            end_ms = begin_ms + (_FOR_EVER_MS if live else (days or 30) * DAY_MS)
            chosen = _made_up(stations or 12, 1 if seed is None else seed, begin_ms, end_ms, fault)
        if check:
            _check(chosen, live, workers, as_json)
        elif live:
            logs.configure()
            default = 1.0 if scenario is None else 0.0
            pace = default if speed is None else speed
            _play(
                chosen, check_id(tenant, "--tenant"), outbox, parse_address(broker), pace, as_json
            )
        elif out is not None:
            _write(chosen, out, form, as_json)


def _list(as_json: bool) -> None:
    names = shipped()
    if as_json:
        emit([{"name": name, "title": title} for name, title in names.items()])
    else:
        table(["name", "title"], list(names.items()), "no scenario is shipped")


def _made_up(
    stations: int, seed: int, begin_ms: int, end_ms: int, faults: list[str] | None
) -> Scenario:
    fleet = draw_fleet(seed, stations, begin_ms)
    events = tuple(parse_fault(text, begin_ms) for text in faults or [])
    title = f"{stations} stations"
    return Scenario("town", title, seed, begin_ms, end_ms, fleet, Sky(seed), events)


def _moment_ms(text: str) -> int:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("--start", f"{text!r} is no moment", "write 2026-04-01T00:00Z") from None
    return ms_from_iso(text)


def _write(scenario: Scenario, out: Path, form: str, as_json: bool) -> None:
    with Bar(quiet=as_json) as show:
        folders = write_recordings(
            out, scenario, form=form, progress=lambda share: show("simulating", share)
        )
    if as_json:
        emit({"out": str(out), "sites": [folder.name for folder in folders]})
    else:
        typer.echo(f"{len(folders)} recorded sites in {out}")


def _play(
    scenario: Scenario,
    tenant: str,
    outbox: Path,
    address: tuple[str, int],
    speed: float,
    as_json: bool,
) -> None:
    with LiveScenario(scenario, tenant, outbox, address, speed) as live:
        if not as_json:
            host, port = address
            typer.echo(
                f"{len(live.runners)} simulated stations publish to {host}:{port} as {tenant}"
            )
        wait_for_stop(lambda: not live.over)
        whole, problems = live.over and not live.problems, live.problems
    if as_json:
        emit({"scenario": scenario.name, "whole": whole, "problems": problems})
    for problem in problems:
        OUT.print(problem, style="red", highlight=False)
    if problems:
        raise typer.Exit(Exit.FAILED)


def _check(scenario: Scenario, live: bool, workers: int, as_json: bool) -> None:
    with Bar(quiet=as_json) as show:
        verdict = check_live(scenario, show) if live else check_recorded(scenario, workers, show)
    if as_json:
        emit(as_data(scenario, verdict))
    else:
        _show(scenario, verdict)
    if not verdict.passed:
        raise typer.Exit(Exit.FAILED)


def _show(scenario: Scenario, verdict: Verdict) -> None:
    for met in verdict.missed:
        OUT.print(f"missing     {met.words()}", style="red", highlight=False)
    for line in verdict.unexpected:
        what = f"{line['fault'][0]} {line['target'] or ''}".strip()
        OUT.print(
            f"unexpected  {line['site']}: {what} at {line['ts']}", style="red", highlight=False
        )
    came = len(verdict.expected) - len(verdict.missed)
    facts(
        {
            scenario.name: "passed" if verdict.passed else "failed",
            "expected alerts in time": f"{came} of {len(verdict.expected)}",
            "unexpected alerts": str(len(verdict.unexpected)),
        }
    )
