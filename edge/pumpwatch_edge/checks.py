"""What `pumpwatch-edge check` looks at: one finding each, with what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pumpwatch_edge.clock import clock_quality, wall_ms
from pumpwatch_edge.errors import EdgeError, OutboxUnavailable
from pumpwatch_edge.message import Clock
from pumpwatch_edge.outbox import SqliteOutbox
from pumpwatch_edge.publisher import Connected, Ended, Publisher, monotonic_ms
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.settings import Settings

State = Literal["ok", "degraded", "failed"]
BROKER_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, how it is, and what to do when it is not ok."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def check(settings: Settings) -> list[Finding]:
    """Look at everything an agent with these settings needs. Changes nothing but a missing outbox."""
    return [
        Finding(
            "settings", "ok", f"tenant {settings.tenant}, site {settings.site or 'of the source'}"
        ),
        _guarded("source", lambda: _source(settings)),
        _guarded("outbox", lambda: _outbox(settings)),
        _guarded("broker", lambda: _broker(settings)),
        _clock(),
    ]


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except EdgeError as error:
        return Finding(name, "failed", error.problem, error.remedy)


def _source(settings: Settings) -> Finding:
    source = ReplaySource(settings.source.dir, settings.source.speed)
    try:
        if settings.site and settings.site != source.site:
            return Finding(
                "source", "degraded", f"{source.folder} is site {source.site}, not {settings.site}",
                "set site to it, or replay the right folder",
            )  # fmt: skip
        if source.bad_rows:
            return Finding("source", "degraded", source.problems[0], "correct the recording")
        return Finding("source", "ok", f"{source.folder}: {', '.join(source.signals)}")
    finally:
        source.close()


def _outbox(settings: Settings) -> Finding:
    file = Path(settings.outbox.file)
    if not file.absolute().parent.is_dir():
        raise OutboxUnavailable(f"{file.absolute().parent}: no such folder", "create it")
    outbox = SqliteOutbox(file, int(settings.outbox.max_mb * 1e6))
    depth, notices, percent = outbox.depth(), outbox.notices, outbox.percent
    outbox.close()
    if outbox.is_filling:
        detail = f"{file} is {percent} % full: {depth} messages waiting"
        return Finding("outbox", "degraded", detail, "see why the hub acknowledges nothing")
    if notices:
        return Finding("outbox", "degraded", notices[0], "have the disk checked")
    free_mb = shutil.disk_usage(file.absolute().parent).free / 1e6
    if free_mb < 2 * settings.outbox.max_mb:
        return Finding(
            "outbox", "degraded", f"{free_mb:.0f} MB free beside a bound of {settings.outbox.max_mb:g} MB",
            "free disk space or lower outbox.max_mb",
        )  # fmt: skip
    return Finding("outbox", "ok", f"{file}: {depth} messages waiting")


def _broker(settings: Settings) -> Finding:
    # Another client id than the agent's own: a check must not throw a running agent out.
    client_id = f"pumpwatch-check-{os.getpid()}"
    broker = settings.broker
    publisher = Publisher(broker, client_id)
    deadline_ms = monotonic_ms() + BROKER_TIMEOUT_MS
    try:
        while monotonic_ms() < deadline_ms:
            publisher.step(monotonic_ms())
            for event in publisher.events(0.1, monotonic_ms):
                if isinstance(event, Connected):
                    return Finding("broker", "ok", f"{broker.address} accepts us")
                if isinstance(event, Ended):
                    return Finding(
                        "broker", "failed", f"{broker.address}: {event.why}",
                        "start the broker or correct [broker]",
                    )  # fmt: skip
    finally:
        publisher.close(2.0)
    return Finding("broker", "failed", f"{broker.address}: no answer", "check host, port, firewall")


def _clock() -> Finding:
    quality = clock_quality(wall_ms())
    if quality is Clock.NTP:
        return Finding("clock", "ok", "kept by NTP")
    if quality is Clock.UNSYNCED:
        return Finding("clock", "failed", "was never set", "set it, or start an NTP client")
    return Finding(
        "clock", "degraded", "not kept by NTP", "start an NTP client (chrony, timesyncd)"
    )
