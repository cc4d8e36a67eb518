"""Fan-out that never holds up the one who tells."""

import asyncio
import threading

import pytest

from pumpwatch.services.live import LiveFeed


def sample(site, level):
    return {"tenant": "t", "site": site, "t_ms": 0, "values": {"level_m": level}}


def kinds(events):
    return [e.kind for e in events]


def test_every_watcher_hears_everything_in_order():
    feed = LiveFeed()
    one, two = feed.subscribe(), feed.subscribe()
    for step in ("opened", "worsened"):
        feed.publish("alert", {"id": "a", "step": step})
    for watcher in (one, two):
        assert [e.data["step"] for e in watcher.take(1)] == ["opened", "worsened"]


def test_of_samples_that_wait_only_the_newest_of_a_site_is_kept():
    feed = LiveFeed()
    watcher = feed.subscribe()
    for level in (1.0, 1.1, 1.2):
        feed.publish("sample", sample("a", level))
    feed.publish("sample", sample("b", 2.0))
    assert [e.data["values"]["level_m"] for e in watcher.take(1)] == [1.2, 2.0]


def test_no_change_of_an_alert_replaces_another():
    feed = LiveFeed()
    watcher = feed.subscribe()
    for _ in range(3):
        feed.publish("alert", {"id": "a"})
    assert len(watcher.take(1)) == 3


def test_a_watcher_too_slow_to_follow_is_told_to_read_again():
    feed = LiveFeed(queue=3)
    watcher = feed.subscribe()
    for n in range(4):
        feed.publish("alert", {"id": n})
    feed.publish("alert", {"id": "after"})
    assert kinds(watcher.take(1)) == ["resync", "alert"]


def test_a_slow_watcher_does_not_disturb_a_quick_one():
    feed = LiveFeed(queue=2)
    _slow, quick = feed.subscribe(), feed.subscribe()
    heard = []
    for n in range(10):
        feed.publish("alert", {"id": n})
        heard += quick.take(1)
    assert kinds(heard) == ["alert"] * 10


def test_who_comes_back_gets_what_was_missed():
    feed = LiveFeed()
    seen = feed.publish("alert", {"id": 1})
    feed.publish("alert", {"id": 2})
    assert [e.data["id"] for e in feed.subscribe(seen).take(1)] == [2]


def test_who_missed_nothing_gets_nothing():
    feed = LiveFeed()
    feed.publish("alert", {"id": 1})
    assert feed.subscribe(feed.last_id).take(0) == []


@pytest.mark.parametrize("last_id", ["other.1", "run.999", "run.x", "run.-1", "", "run.0"])
def test_who_was_away_too_long_or_comes_from_elsewhere_reads_again(last_id):
    feed = LiveFeed(ring=2, run="run")
    for n in range(3):
        feed.publish("alert", {"id": n})
    assert kinds(feed.subscribe(last_id).take(1)) == ["resync"]


def test_a_resync_carries_the_place_to_go_on_from():
    feed = LiveFeed(ring=1, run="run")
    for n in range(3):
        feed.publish("alert", {"id": n})
    (event,) = feed.subscribe("run.0").take(1)
    assert feed.subscribe(event.id).take(0) == []


def test_a_closed_subscription_hears_no_more():
    feed = LiveFeed()
    watcher = feed.subscribe()
    watcher.close()
    feed.publish("alert", {"id": 1})
    assert watcher.take(0) == []
    assert feed.watchers == 0


def test_closing_the_feed_wakes_everybody_for_good():
    feed = LiveFeed()
    watcher = feed.subscribe()
    heard = threading.Thread(target=watcher.take)
    heard.start()
    feed.close()
    heard.join(5)
    assert not heard.is_alive()
    assert watcher.closed
    assert feed.subscribe().closed


def test_an_event_from_a_thread_wakes_an_event_loop():
    feed = LiveFeed()

    async def listen():
        watcher = feed.subscribe()
        told = asyncio.get_running_loop().run_in_executor(None, feed.publish, "alert", {"id": 1})
        events = []
        while not events:
            events = await watcher.take_async(5)
        await told
        return events

    assert kinds(asyncio.run(listen())) == ["alert"]


def test_an_event_loop_that_hears_nothing_gets_nothing_in_time():
    feed = LiveFeed()
    assert asyncio.run(feed.subscribe().take_async(0.01)) == []


def test_many_threads_tell_at_once_and_nothing_is_lost():
    feed = LiveFeed(queue=10_000)
    watcher = feed.subscribe()
    tellers = [
        threading.Thread(target=lambda: [feed.publish("alert", {"id": n}) for n in range(200)])
        for _ in range(4)
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    ids = [e.id for e in watcher.take(1)]
    assert len(ids) == len(set(ids)) == 800
    assert [int(i.split(".")[1]) for i in ids] == sorted(int(i.split(".")[1]) for i in ids)
