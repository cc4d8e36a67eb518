"""Everything that breaks besides processes: each fault is made, lasts, and is healed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pumpwatch_edge.clock import wall_ms

from .town import ONE_WAY_S, Town

LASTS_S = 4.0
DISK_MB = 1_024
"""Well above what a hub keeps free: below that it takes events only."""


def broker_killed(town: Town) -> None:
    town.kill_broker(empty=False)


def broker_emptied(town: Town) -> None:
    town.kill_broker(empty=True)


def broker_away(town: Town) -> None:
    town.broker.stop()
    time.sleep(LASTS_S)
    town.broker.start()


def hub_blocked(town: Town) -> None:
    town.children["hub"].send(signal.SIGSTOP)
    time.sleep(LASTS_S)
    town.children["hub"].send(signal.SIGCONT)


def _line(name: str, mode: str, lasts_s: float = LASTS_S) -> Callable[[Town], None]:
    def fault(town: Town) -> None:
        town.tell(name, "set", mode=mode, delay_s=1.0)
        time.sleep(lasts_s)
        town.heal()

    return fault


def _receiver(mode: str) -> Callable[[Town], None]:
    def fault(town: Town) -> None:
        town.tell("receiver", "mode", mode=mode)
        time.sleep(LASTS_S)
        town.tell("receiver", "mode", mode="ok")

    return fault


def receiver_dies(town: Town) -> None:
    """It accepts, and ends before it could answer."""
    town.tell("receiver", "mode", mode="die")
    died = town.children["receiver"].ended.wait(30)
    town.start("receiver")
    assert died, "nothing was sent to the receiver"


def edge_clocks_jump(town: Town) -> None:
    """An hour ahead, an hour back, and to 1970, where nothing may be dated nor sent."""
    for ms in (3_600_000, -3_600_000, 5_000_000 - wall_ms(), 0):
        for name in town.groups:
            town.tell(name, "clock", ms=ms)
        time.sleep(LASTS_S / 4)


def poison(town: Town) -> None:
    _rogue(town, "poison", 200)


def repeats(town: Town) -> None:
    """Late, many times, and in any order."""
    time.sleep(2)
    _rogue(town, "repeat", 600)


def _rogue(town: Town, what: str, n: int) -> None:
    if "rogue" not in town.children:
        town.start("rogue")
        time.sleep(1.0)
    for _ in range(4):
        town.tell("rogue", what, n=n // 4)
        time.sleep(LASTS_S / 8)


FAULTS: dict[str, Callable[[Town], None]] = {
    "broker killed": broker_killed,
    "broker killed and emptied": broker_emptied,
    "broker away": broker_away,
    "hub blocked": hub_blocked,
    "stations cut off": _line("to-edge", "cut"),
    "stations half open": _line("to-edge", "half_open", 12.0),
    "stations delayed by 1 s": _line("to-edge", "delay"),
    "stations' bytes corrupted": _line("to-edge", "corrupt"),
    "hub cut off": _line("to-hub", "cut"),
    "receiver answers 500": _receiver("500"),
    "receiver answers 429": _receiver("429"),
    "receiver hangs": _receiver("hang"),
    "receiver accepts and dies": receiver_dies,
    "edge clocks jump": edge_clocks_jump,
    "poison": poison,
    "repeats out of order": repeats,
}
"""All that need no more than a town; a full disk and a stopped time-series server need their own."""


def suffer(town: Town, name: str) -> float:
    """Let the fault happen; how long after its end [s] every station was heard again."""
    FAULTS[name](town)
    return recovery_s(town)


def recovery_s(town: Town, seconds: float = 90) -> float:
    began = time.monotonic()
    time.sleep(2 * ONE_WAY_S)  # what was confirmed before has arrived by then
    before = {name: town.acked(name) for name in town.groups}
    town.until(
        lambda: all(town.acked(name) > before[name] for name in town.groups),
        "every station is heard again",
        seconds,
    )
    return time.monotonic() - began


# -- the full disk ---------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own of `DISK_MB`. Raises `PermissionError` where none may be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"no tmpfs may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def disk_full(town: Town) -> float:
    """Fill the hub's disk: it stops confirming and stays alive. Returns how long after there was
    space again it went on [s]."""
    hub, ballast = town.children["hub"], town.data_dir / "ballast"
    _fill(ballast)
    time.sleep(2 * ONE_WAY_S + 0.5)  # what it confirmed while there was room has arrived by then
    before = {name: town.acked(name) for name in town.groups}
    waiting = town.in_flight()
    time.sleep(2 * LASTS_S)
    _fill(ballast)
    confirmed = sum(town.acked(name) - before[name] for name in town.groups)
    assert confirmed <= waiting, "a hub without space goes on confirming"
    assert town.in_flight() > waiting, "stations do not keep what the hub cannot take"
    problems = town.ask("/api/v1/status")["problems"]
    assert problems, "a hub without space says nothing about it"
    assert not hub.ended.is_set(), town.words("hub")
    ballast.unlink()
    took_s = recovery_s(town)
    assert not hub.ended.is_set(), town.words("hub")
    return took_s


def _fill(ballast: Path) -> None:
    """Write until not one byte more can be written."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
