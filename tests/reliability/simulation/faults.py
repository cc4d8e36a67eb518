"""What goes wrong. Each seed draws which faults it knows (a swarm), how often they come, and how bad they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .broker import Packet
from .hub import Provider
from .timeline import DAY, HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from .town import Town

Fault = Callable[["Town"], None]
EVERY_H: dict[str, float] = {}
"""Fault → hours between two of a kind in a town that knows it, on average."""
FAULTS: dict[str, Fault] = {}


def fault(every_h: float) -> Callable[[Fault], Fault]:
    def add(make: Fault) -> Fault:
        FAULTS[make.__name__] = make
        EVERY_H[make.__name__] = every_h
        return make

    return add


def _lasting(town: Town, *choices: int) -> int:
    return int(town.chance.choice(choices) * town.chance.uniform(0.5, 1.5))


# -- the edge --------------------------------------------------------------------------------------


@fault(12)
def edge_kill(town: Town) -> None:
    """The agent ends at one of its next steps, half the time with the machine's power."""
    town.some_station().fuse.light(town.chance.randint(1, 12))


@fault(48)
def edge_power_cut(town: Town) -> None:
    """Hours without power; the clock wakes up in 1970 half the time, and NTP comes when it comes."""
    station = town.some_station()
    station.end(power=True)
    wrong = _lasting(town, MINUTE, HOUR, 12 * HOUR) if town.chance.random() < 0.5 else 0
    town.time.after(_lasting(town, MINUTE, 3 * HOUR), town.boot, station, wrong)


@fault(200)
def edge_disk_lost(town: Town) -> None:
    """The outbox is damaged: set aside, and a new epoch begins."""
    station = town.some_station()
    station.lose_disk()
    town.time.after(10 * SECOND, town.boot, station, 0)


@fault(60)
def edge_disk_full(town: Town) -> None:
    station = town.some_station()
    disk = station.disk
    disk.is_full = True

    def free() -> None:
        disk.is_full = False

    town.time.after(_lasting(town, 10 * MINUTE, 5 * HOUR), free)


@fault(80)
def edge_rot(town: Town) -> None:
    """One record of the outbox becomes garbage and stays it."""
    station = town.some_station()
    if not station.disk.rot(town.chance):
        town.time.counts["fault edge_rot"] -= 1


@fault(60)
def edge_clock_jump(town: Town) -> None:
    """Somebody sets the clock wrong, and right again later."""
    station = town.some_station()
    station.is_pristine = False
    offset = town.chance.choice((-HOUR, HOUR, -2 * SECOND, -3 * DAY, 4 * MINUTE, 3650 * DAY))
    station.set_clock(offset)
    town.time.after(_lasting(town, MINUTE, 2 * HOUR), station.set_clock, 0)


# -- lines and broker ------------------------------------------------------------------------------


@fault(6)
def line_cut(town: Town) -> None:
    town.broker.hang_up(town.somebody())


@fault(24)
def line_half_open(town: Town) -> None:
    town.broker.stall(town.somebody())


@fault(48)
def partition(town: Town) -> None:
    """Minutes to weeks without a way to the broker."""
    name = town.somebody()
    lasts = _lasting(town, 5 * MINUTE, 2 * HOUR, 2 * DAY, 14 * DAY if name != "hub" else 3 * HOUR)
    town.broker.unreachable.add(name)
    town.broker.hang_up(name)
    town.time.after(lasts, town.broker.unreachable.discard, name)


@fault(36)
def broker_kill(town: Town) -> None:
    """Killed; it comes back empty, or with what it had saved some time ago."""
    broker = town.broker
    broker.kill(empty=town.chance.random() < 0.5)
    town.time.after(_lasting(town, 2 * SECOND, 20 * MINUTE, HOUR), broker.start)


@fault(12)
def broker_save(town: Town) -> None:
    if town.broker.is_up:
        town.broker.save()


# -- the hub ---------------------------------------------------------------------------------------


@fault(6)
def hub_kill(town: Town) -> None:
    town.hub.fuse.light(town.chance.randint(1, 25))


@fault(48)
def hub_stop(town: Town) -> None:
    town.hub.leave()
    town.time.after(_lasting(town, 5 * SECOND, HOUR), town.hub.start)


def _out_of_order(town: Town, store: str, *choices: int) -> None:
    town.hub.trouble.add(store)
    town.time.after(_lasting(town, *choices), town.hub.trouble.discard, store)


@fault(48)
def hub_disk_full(town: Town) -> None:
    _out_of_order(town, "inbox", MINUTE, 2 * HOUR)


@fault(48)
def ledger_locked(town: Town) -> None:
    _out_of_order(town, "ledger", MINUTE, HOUR)


@fault(48)
def series_down(town: Town) -> None:
    _out_of_order(town, "series", HOUR, DAY)


@fault(48)
def slow_consumer(town: Town) -> None:
    hub, worker = town.hub, town.chance.choice(("assess", "record"))
    hub.slow[worker] = _lasting(town, MINUTE, HOUR)

    def recover() -> None:
        hub.slow.pop(worker, None)

    town.time.after(_lasting(town, HOUR, 12 * HOUR), recover)


@fault(72)
def hub_clock_jump(town: Town) -> None:
    clock = town.hub.clock
    clock.offset = town.chance.choice((HOUR, -HOUR, 2 * MINUTE, -10 * SECOND))

    def set_right() -> None:
        clock.offset = 0

    town.time.after(_lasting(town, MINUTE, 2 * HOUR), set_right)


@fault(24)
def backup(town: Town) -> None:
    if town.hub.is_up:
        town.take_backup()


@fault(240)
def restore(town: Town) -> None:
    """The hub's disk is lost; the archive goes onto a new one."""
    town.restore(_lasting(town, 10 * MINUTE, 5 * HOUR))


# -- messages --------------------------------------------------------------------------------------


@fault(8)
def poison(town: Town) -> None:
    """A stranger, or an agent gone mad, publishes what cannot be used."""
    chance = town.chance
    site = town.some_station().name
    payloads = [
        chance.randbytes(40),
        b"[" * 50_000,
        b'{"schema":1,"epoch":"stranger","seq":1,"t":[NaN],"signals":{}}',
        b'{"schema":9}',
        b'{"schema":1,"epoch":"stranger","seq":9e99,"t":[1],"signals":{"level_m":[1e309]}}',
        b"x" * 70_000,
        b"",
    ]
    topics = [
        "pumpwatch/v1/default/nobody/telemetry",
        "pumpwatch/v1/default/UPPER/event",
        f"pumpwatch/v1/default/{site}/status",
        f"pumpwatch/v1/default/{site}/telemetry",
    ]
    packet = Packet(chance.choice(topics), chance.choice(payloads), False)
    if packet.topic.endswith(f"{site}/telemetry"):
        # On a site's own topic each noise is another one: only the station itself repeats itself.
        packet = packet._replace(payload=chance.randbytes(30))
    town.shout(packet)


# -- people and providers --------------------------------------------------------------------------


@fault(24)
def provider_down(town: Town) -> None:
    _down(town, [town.chance.choice(town.hub.providers)], HOUR, 6 * HOUR)


@fault(96)
def all_providers_down(town: Town) -> None:
    _down(town, town.hub.providers, HOUR, 6 * HOUR)


def _down(town: Town, providers: list[Provider], *choices: int) -> None:
    mode = town.chance.choice(Provider.MODES)

    def recover() -> None:
        for provider in providers:
            provider.mode = "ok"

    for provider in providers:
        provider.mode = mode
    town.time.after(_lasting(town, *choices), recover)


@fault(10)
def person_answers(town: Town) -> None:
    town.hub.acknowledge_one(town.chance)


DISTURBING = {
    "edge_kill", "edge_power_cut", "edge_disk_lost", "edge_rot", "edge_clock_jump", "restore",
    "hub_clock_jump",
}  # fmt: skip
"""After these the alerts of a station may honestly differ from those of a town without faults."""
