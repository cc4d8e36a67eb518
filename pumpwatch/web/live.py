"""Live events for the pages, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pumpwatch.web.deps import WebDeps, deps_of

BEAT_S = 10.0
"""Something is sent at least this often: a page that hears nothing for longer knows it is cut off."""

PACE_S = 0.25
"""Pause between deliveries, in which newer samples replace older ones: fast time stays bearable."""

router = APIRouter()


@router.get("/live", response_class=EventSourceResponse)
async def live(
    deps: Annotated[WebDeps, Depends(deps_of)],
    last_event_id: Annotated[str | None, Header()] = None,
    after: str | None = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events since ``Last-Event-ID`` (or ``after``, the id a page was drawn at), then new ones."""
    watcher = deps.feed.subscribe(last_event_id or after)
    try:
        yield _clock(deps)
        while not watcher.closed:
            events = await watcher.take_async(BEAT_S)
            for event in events:
                yield ServerSentEvent(event=event.kind, id=event.id, data=dict(event.data))
            if events:
                await asyncio.sleep(PACE_S)
            elif not watcher.closed:
                yield _clock(deps)
    finally:
        watcher.close()


def _clock(deps: WebDeps) -> ServerSentEvent:
    return ServerSentEvent(event="clock", data=clock_of(deps))


def clock_of(deps: WebDeps) -> dict[str, float]:
    """What time it is here, and how fast it runs."""
    speed = deps.demo.speed() if deps.demo else 1.0
    return {"now_ms": deps.clock.now_ms(), "speed": speed}
