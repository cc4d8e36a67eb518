"""`demo`, `serve`, `replay`: the commands that run until something ends them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from fastapi import FastAPI, Response

from pumpwatch.alerting.wording import word
from pumpwatch.app import logs
from pumpwatch.app.commands.options import AsJson, ConfigFile, DataDirOption
from pumpwatch.app.commands.progress import Bar
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.demo import FASTEST, Demo, DemoOptions
from pumpwatch.app.hub import Hub
from pumpwatch.app.metrics import CONTENT_TYPE, HubCollector, exposition
from pumpwatch.app.notifiers import make_heartbeat, make_notifiers
from pumpwatch.app.output import OUT, Exit, emit, facts, plain_errors, table
from pumpwatch.app.replay import Replay
from pumpwatch.app.server import WebServer, listen, names_of, wait_for_stop
from pumpwatch.app.settings import Settings, load_settings
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import WallClock
from pumpwatch.domain.errors import InvalidInput, PumpwatchError
from pumpwatch.domain.ports import DemoControls
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.web.app import create_app
from pumpwatch.web.deps import WebDeps

demo_app = typer.Typer(
    invoke_without_command=True,
    help="Run a simulated town: broker, hub, fleet, 30 days of history, and a page.",
)


@demo_app.callback()
def demo(
    ctx: typer.Context,
    config: ConfigFile = None,
    data_dir: Annotated[Path, typer.Option(help="the demo's own directory, made anew")] = Path(
        "pumpwatch-demo"
    ),
    port: Annotated[int | None, typer.Option(help="port of the page; 0 takes a free one")] = None,
    stations: Annotated[int, typer.Option(min=2, max=500, help="how many stations")] = 12,
    seed: Annotated[int, typer.Option(help="the same seed gives the same town")] = 1,
    speed: Annotated[
        float, typer.Option(min=0, max=FASTEST, help="how much faster than life time runs")
    ] = 600,
    no_fault: Annotated[
        bool, typer.Option("--no-fault", help="begin with a healthy fleet")
    ] = False,
    fault: Annotated[
        list[str] | None, typer.Option(help="start a fault at once: STATION:FAULT[:PUMP]")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="end by itself with a JSON summary")
    ] = False,
    for_s: Annotated[
        float | None, typer.Option("--for", help="seconds to run after the page opened")
    ] = None,
) -> None:
    """Run a simulated town: broker, hub, fleet, 30 days of history, and a page."""
    if ctx.invoked_subcommand is not None:
        return
    with plain_errors():
        if headless and for_s is None:
            raise InvalidInput(
                "--for", "missing", "say how many seconds, e.g. --headless --for 120"
            )
        overrides = {} if port is None else {"web": {"port": port}}
        settings = load_settings(config, overrides)
        logs.configure(settings.log_format, least=logging.WARNING)
        options = DemoOptions(stations, seed, speed, not no_fault)
        wanted = [_parse_demo_fault(text) for text in fault or []]
        _run_demo(settings, data_dir, options, wanted, headless, for_s)


@demo_app.command("fault")
def demo_fault(
    site: Annotated[str, typer.Argument(help="station, e.g. mh-05")],
    code: Annotated[str, typer.Argument(metavar="FAULT", help="e.g. check_valve_leak")],
    target: Annotated[str | None, typer.Argument(metavar="[PUMP]", help="e.g. pump2")] = None,
    url: Annotated[str, typer.Option(help="address of the running demo")] = "http://127.0.0.1:8000",
    clear: Annotated[bool, typer.Option("--clear", help="repair it instead")] = False,
    as_json: AsJson = False,
) -> None:
    """Start (or repair) a fault in a demo that is running."""
    with plain_errors():
        body = {"site": site, "fault": code, "target": target}
        address = f"{url.rstrip('/')}/api/v1/demo/faults"
        answer = _ask_demo(f"{address}/clear" if clear else address, body)
    if as_json:
        emit(answer)
    else:
        typer.echo(
            f"{'repaired' if clear else 'started'}: {code} at {site} {target or ''}".rstrip()
        )


def _ask_demo(address: str, body: dict[str, Any]) -> Any:
    try:
        answer = httpx.post(address, json=body, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PumpwatchError(
            f"no demo answers at {address} ({error})", "start one with: pumpwatch demo"
        ) from None
    try:
        data = answer.json() if answer.content else None
    except ValueError:
        raise PumpwatchError(
            f"{address} is no demo", "give the demo's address with --url"
        ) from None
    if answer.is_error:
        problem = (data or {}).get("detail") or (data or {}).get("title") or answer.reason_phrase
        raise PumpwatchError(str(problem), str((data or {}).get("remedy", "")))
    return data


def _parse_demo_fault(text: str) -> tuple[str, str, str | None]:
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise InvalidInput("--fault", f"{text!r} cannot be read", "write STATION:FAULT[:PUMP]")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _run_demo(
    settings: Settings,
    path: Path,
    options: DemoOptions,
    faults: Sequence[tuple[str, str, str | None]],
    headless: bool,
    for_s: float | None,
) -> None:
    names_of(settings.web)
    bound = listen(settings.web.host, settings.web.port)
    console = sys.stderr if headless else sys.stdout
    notifiers = make_notifiers(settings, console, simulated=True)
    demo = Demo(settings, path, options, notifiers)
    for site, code, _ in faults:
        demo.check_fault(site, code)
    started = time.monotonic()
    try:
        with Bar(quiet=headless) as progress:
            demo.start(progress)
        server = WebServer(_web(demo.hub, settings, demo), bound)
        server.start()
        opened = time.monotonic()
        for site, code, target in faults:
            demo.start_fault(site, code, target)
        if not headless:
            OUT.print(f"\n  {server.url}   (Ctrl-C ends it)", highlight=False)
            OUT.print(f"  simulated data; time runs {options.speed:g} times faster\n")
        demo.hub.telling = True
        seen = _AlertTimes(demo.hub, opened)
        wait_for_stop(lambda: server.alive and seen.look(), for_s)
        if headless:
            emit(_summary(demo, server.url, opened - started, seen))
        demo.hub.feed.close()
        server.stop()
    finally:
        bound.close()
        demo.stop()


class _AlertTimes:
    """Notes how many seconds after the page opened each alert was first seen."""

    def __init__(self, hub: Hub, opened: float) -> None:
        self._hub, self._opened = hub, opened
        self.seconds: dict[str, float] = {}

    def look(self) -> bool:
        for alert in self._hub.stores.ledger.open_alerts():
            self.seconds.setdefault(alert.id, round(time.monotonic() - self._opened, 1))
        return True


def _summary(demo: Demo, url: str, start_s: float, seen: _AlertTimes) -> dict[str, Any]:
    ledger = demo.hub.stores.ledger
    status = demo.hub.status()
    alerts = [
        {
            "id": a.id,
            "site": a.key.site,
            "target": a.target,
            "fault": list(a.fault),
            "kind": str(a.kind),
            "severity": str(a.severity),
            "open": a.open,
            "since": a.evidence.get("since"),
            "opened": iso_utc(a.opened_ms),
            "seconds_after_page": seen.seconds.get(a.id),
        }
        for a in ledger.alerts(limit=1000)
    ]
    return {
        "url": url,
        "stations": len(demo.sites),
        "speed": demo.speed(),
        "seconds_to_page": round(start_s, 1),
        "simulated_now": iso_utc(demo.clock.now_ms()),
        "samples_stored": sum(demo.hub.stores.series.count(k) for k in ledger.sites()),
        "faults": [
            {"site": f.site, "fault": f.fault, "target": f.target, "since": iso_utc(f.since_ms)}
            for f in demo.active_faults()
        ],
        "alerts": alerts,
        "owed": ledger.owed_counts(),
        "counters": dict(status.counters),
        "problems": list(status.problems),
    }


def serve(
    config: ConfigFile = None,
    data_dir: DataDirOption = None,
    port: Annotated[int | None, typer.Option(help="port of the pages; 0 takes a free one")] = None,
    broker: Annotated[
        str | None, typer.Option(help="HOST:PORT of the broker, or 'embedded'")
    ] = None,
) -> None:
    """Run the hub: receive, keep, judge, tell, and serve the pages."""
    with plain_errors():
        settings = load_settings(config, _serve_overrides(data_dir, port, broker))
        logs.configure(settings.log_format)
        directory = DataDir(settings.data_dir)
        directory.claim("live")
        with directory.locked():
            _serve(settings, directory)


def _serve_overrides(data_dir: Path | None, port: int | None, broker: str | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if data_dir is not None:
        overrides["data_dir"] = data_dir
    if port is not None:
        overrides["web"] = {"port": port}
    if broker == "embedded":
        overrides["broker"] = {"embedded": True}
    elif broker is not None:
        host, number = parse_address(broker)
        overrides["broker"] = {"host": host, "port": number}
    return overrides


def parse_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``host`` (port 1883). Raises `InvalidInput`."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "1883")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidInput("--broker", f"{text!r} is not HOST:PORT", "e.g. 127.0.0.1:1883")
    return host, int(port)


def _serve(settings: Settings, directory: DataDir) -> None:
    names_of(settings.web)
    bound = listen(settings.web.host, settings.web.port)
    embedded = (
        EmbeddedBroker(directory.path, settings.broker.port) if settings.broker.embedded else None
    )
    try:
        if embedded is not None:
            embedded.start()
        notifiers = make_notifiers(settings, console=sys.stdout)
        hub = Hub(settings, directory, WallClock(), notifiers, beat=make_heartbeat(settings))
        try:
            server = WebServer(_web(hub, settings, None), bound)
            hub.start()
            server.start()
            typer.echo(f"pumpwatch serves {server.url}")
            wait_for_stop(lambda: server.alive)
            hub.feed.close()
            server.stop()
        finally:
            hub.stop()
    finally:
        bound.close()
        if embedded is not None:
            embedded.stop()


def _web(hub: Hub, settings: Settings, controls: DemoControls | None) -> FastAPI:
    """The pages over a hub, with its metrics beside them."""
    ledger = hub.stores.ledger
    app = create_app(
        WebDeps(
            queries=hub.queries,
            alerts=hub.alerts,
            sites=ledger,
            feed=hub.feed,
            clock=hub.clock,
            word=word,
            status=hub,
            models=hub.models,
            demo=controls,
            tuning=hub.tuning,
            hosts=names_of(settings.web),
        )
    )
    collector = HubCollector(ledger, ledger, hub.stores.series, hub)
    app.add_api_route(
        "/metrics",
        lambda: Response(exposition(collector), media_type=CONTENT_TYPE),
        include_in_schema=False,
    )
    return app


def replay(
    folder: Annotated[Path, typer.Argument(help="folder of recorded-site folders, or one of them")],
    site: Annotated[list[str] | None, typer.Option(help="only these (may be repeated)")] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="times faster than life; 0: as fast as the hub takes it")
    ] = 0,
    tenant: Annotated[str, typer.Option(help="tenant of the replayed sites")] = "default",
    data_dir: Annotated[
        Path, typer.Option(help="directory of the replay's own hub, kept and gone on with")
    ] = Path("pumpwatch-replay"),
    broker: Annotated[
        str | None, typer.Option(help="HOST:PORT: send to a hub that runs elsewhere")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send recorded sites down the ordinary road: agent, broker, hub. Nobody is notified."""
    with plain_errors():
        settings = load_settings(config, {"data_dir": data_dir})
        logs.configure(settings.log_format)
        address = parse_address(broker) if broker else None
        run = Replay(settings, folder, site or [], tenant, speed, address)
        with Bar(quiet=as_json) as progress:
            rows = run.run(progress)
    if as_json:
        emit(rows)
    else:
        columns = ["site", "sent", "stored", "duplicate", "rejected", "alerts", "problem"]
        table(columns, [[row[c] for c in columns] for row in rows["sites"]], "nothing to replay")
        facts({"seconds": rows["seconds"], "data_dir": str(settings.data_dir)})
    if rows["failed"]:
        raise typer.Exit(Exit.of(len(rows["failed"]), len(rows["sites"])))
