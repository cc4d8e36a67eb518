"""The event stream as a browser reads it."""

import json
from collections.abc import Iterator

import httpx
import pytest

from pumpwatch.web import live


def events(answer: httpx.Response) -> Iterator[tuple[str, str, dict]]:
    """(kind, id, data) of each event; comments are passed over."""
    kind, id_, data = "", "", ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            id_ = value
        elif name == "data":
            data += value
        elif not line and data:
            yield kind, id_, json.loads(data)
            kind, id_, data = "", "", ""


def stream(url: str, **headers: str):
    return httpx.stream("GET", f"{url}/live", headers=headers, timeout=10)


def test_a_watcher_first_learns_the_time_then_what_happens(world, server):
    with stream(server(world)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        assert next(told) == ("clock", "", {"now_ms": world.clock.now_ms(), "speed": 1.0})
        id_ = world.feed.publish("site", {"tenant": "demo", "site": "x"})
        assert next(told) == ("site", id_, {"tenant": "demo", "site": "x"})


def test_who_comes_back_gets_what_was_missed(world, server):
    url = server(world)
    first = world.feed.publish("site", {"site": "a"})
    second = world.feed.publish("site", {"site": "b"})
    with stream(url, **{"last-event-id": first}) as answer:
        told = events(answer)
        next(told)
        assert next(told)[1] == second


def test_who_comes_back_to_another_server_reads_everything_again(world, server):
    with stream(server(world), **{"last-event-id": "other.5"}) as answer:
        told = events(answer)
        next(told)
        assert next(told)[0] == "resync"


def test_a_quiet_stream_still_beats(world, server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "BEAT_S", 0.05)
    with stream(server(world)) as answer:
        told = events(answer)
        assert [next(told)[0] for _ in range(3)] == ["clock", "clock", "clock"]
