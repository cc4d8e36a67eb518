"""``pumpwatch-edge``: run an agent, check what it needs, print the schema."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pumpwatch_edge import __version__
from pumpwatch_edge.agent import Agent
from pumpwatch_edge.checks import check
from pumpwatch_edge.clock import ClockWatch, clock_quality, wall_ms
from pumpwatch_edge.errors import EdgeError, SettingsError
from pumpwatch_edge.message import Channel
from pumpwatch_edge.outbox import SqliteOutbox
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.runner import AgentRunner
from pumpwatch_edge.schema import file_name, schema
from pumpwatch_edge.settings import Settings, load
from pumpwatch_edge.standby import StandbyOutbox

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        return int(options.command(options))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "pumpwatch-edge", description="The pumpwatch agent: store first, then publish over MQTT."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="read, keep and publish until stopped")
    _add_settings(run)
    run.add_argument(
        "--exit-when-done", action="store_true",
        help="end when the recording is over and the hub has everything on disk",
    )  # fmt: skip
    run.add_argument("--json", action="store_true", help="print the counters as JSON at the end")
    run.set_defaults(command=_run, log_level=logging.INFO)

    look = commands.add_parser("check", help="check settings, source, outbox, broker and clock")
    _add_settings(look)
    look.add_argument("--json", action="store_true", help="print the findings as JSON")
    look.set_defaults(command=_check, log_level=logging.ERROR)  # the findings say it all

    show = commands.add_parser("schema", help="print the wire format as JSON Schema")
    show.add_argument("--out", type=Path, metavar="DIR", help="write one file per channel there")
    show.set_defaults(command=_schema, log_level=logging.INFO)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--broker", metavar="HOST:PORT")
    parser.add_argument("--tenant")
    parser.add_argument("--site")
    parser.add_argument("--source", choices=["replay"])
    parser.add_argument("--replay", metavar="DIR", help="folder of a recorded site")
    parser.add_argument("--speed", help="times faster than life, 0 = as fast as the hub takes it")
    parser.add_argument("--outbox", metavar="FILE")


def _settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    given = {
        "tenant": options.tenant,
        "site": options.site,
        "source.kind": options.source,
        "source.dir": options.replay,
        "source.speed": options.speed,
        "outbox.file": options.outbox,
    }
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if options.broker:
        host, colon, port = options.broker.rpartition(":")
        if not colon:
            host, port = options.broker, "1883"
        overrides |= {"broker.host": host.strip("[]"), "broker.port": port}
    settings = load(options.config, environment, overrides)
    if not settings.source.dir:
        raise SettingsError(
            "source.dir: not set", "give --replay DIR or write dir under [source] in the settings"
        )
    return settings


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options, os.environ)
    runner = replay_runner(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    runner.start()
    while runner.alive and not stop.wait(0.2):
        if options.exit_when_done and runner.finished:
            break
    done, in_time = runner.finished, runner.stop(10.0)
    counters = runner.counters
    if options.json:
        print(json.dumps({"finished": done, "error": runner.error, **counters}))
    else:
        print(", ".join(f"{name} {value}" for name, value in counters.items()), file=sys.stderr)
    if runner.error or not in_time:
        return FAILED
    lost = ("bad_rows", "thinned_samples", "dropped_samples", "lost_samples")
    return DEGRADED if any(counters.get(name) for name in lost) else OK


def replay_runner(settings: Settings) -> AgentRunner:
    """A runner for a recording, from settings alone."""
    source = ReplaySource(settings.source.dir, settings.source.speed)
    file, max_bytes = settings.outbox.file, int(settings.outbox.max_mb * 1e6)
    outbox = StandbyOutbox(lambda: SqliteOutbox(file, max_bytes))
    agent = Agent(
        settings.tenant,
        settings.site or source.site,
        outbox,
        signals=source.signals,
        period_s=source.period_s,
        plan=settings.sampling.plan(),
        derive_edges=settings.sampling.derive_edges,
        watch=ClockWatch(),
    )
    return AgentRunner(
        agent, source, wall_ms, settings.broker, patient=True, clock_quality=clock_quality
    )


def _check(options: argparse.Namespace) -> int:
    findings = check(_settings(options, os.environ))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for f in findings:
            print(f"{f.state:9}{f.name:9}{f.detail}{f': {f.remedy}' if f.remedy else ''}")
    states = {finding.state for finding in findings}
    return FAILED if "failed" in states else DEGRADED if "degraded" in states else OK


def _schema(options: argparse.Namespace) -> int:
    if options.out is None:
        print(json.dumps({str(channel): schema(channel) for channel in Channel}, indent=2))
        return OK
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for channel in Channel:
            text = json.dumps(schema(channel), indent=2) + "\n"
            (options.out / file_name(channel)).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EdgeError(f"{options.out}: {error}", "name a folder that can be written") from None
    return OK


if __name__ == "__main__":
    sys.exit(main())
