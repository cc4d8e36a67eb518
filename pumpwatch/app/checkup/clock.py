"""Clocks: the hub's own, whether something keeps it right, and what the stations' agents think it is."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pumpwatch.app.checkup import Check, Verdict
from pumpwatch.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.stores.inbox import SenderClock, sender_clocks

OLD_BUILD_S = 1_750_000_000
"""2025-06-15: a clock before this is certainly wrong."""
AHEAD_MS = 10 * SECOND_MS
"""A message cannot come before it was sent."""
BEHIND_MS = 5 * MINUTE_MS
"""Messages may wait on the way, so what is later than sent says little below this."""
RECENT_MS = HOUR_MS
MANY = 3
"""Stations that must agree before the hub's own clock is blamed."""
_NAMED = 3
_STA_UNSYNC = 0x40
_STATUS_AT, _TIMEX_BYTES = 5 * ctypes.sizeof(ctypes.c_long), 512


def clock_checks(now_s: float, inbox: Path, kept_right: bool | None) -> Iterator[Check]:
    """``kept_right`` is `is_kept_right`; ``inbox`` need not be there."""
    yield _own(now_s, kept_right)
    if not inbox.is_file():
        return
    try:
        heard = sender_clocks(inbox)
    except StoreUnavailable as error:
        yield Check("clocks of stations", Verdict.FAILED, error.problem, error.remedy)
        return
    newest_ms = now_s * 1000 - RECENT_MS
    yield _stations([one for one in heard if one.received_ms >= newest_ms])


def is_kept_right() -> bool | None:
    """Whether the kernel says that something (NTP, PTP, a radio) keeps its clock; None where it cannot be
    asked. The flag STA_UNSYNC of adjtimex(2), asked without the right to change anything."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        if ctypes.CDLL(None).adjtimex(timex) < 0:
            return None
    except (AttributeError, OSError):
        return None
    return not ctypes.c_int.from_buffer(timex, _STATUS_AT).value & _STA_UNSYNC


def _own(now_s: float, kept_right: bool | None) -> Check:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    if now_s < OLD_BUILD_S:
        return Check("clock", Verdict.FAILED, moment, "set the clock; keep it right with NTP")
    if kept_right is None:
        return Check("clock", Verdict.OK, f"{moment}; whether it is kept right is not to be seen")
    if not kept_right:
        return Check(
            "clock",
            Verdict.WARNING,
            f"{moment}; the kernel says that nothing keeps it right",
            "turn on NTP (timedatectl set-ntp true, or chrony); in a virtual machine or container,"
            " look on its host",
        )
    return Check("clock", Verdict.OK, f"{moment}, kept right")


def _stations(heard: list[SenderClock]) -> Check:
    """``late_ms`` of a station is the least time between sending and receipt: its clock's distance and
    the way together."""
    name = "clocks of stations"
    if not heard:
        return Check(name, Verdict.OK, "no message of the last hour in the inbox to compare with")
    ahead = [one for one in heard if one.late_ms < -AHEAD_MS]
    behind = [one for one in heard if one.late_ms > BEHIND_MS]
    middle_ms = median(one.late_ms for one in heard)
    if len(heard) >= MANY and 2 * max(len(ahead), len(behind)) > len(heard):
        side = "later" if middle_ms < 0 else "earlier"
        return Check(
            name,
            Verdict.FAILED,
            f"most of {len(heard)} stations think it {_span(middle_ms)} {side} than this machine does",
            "set this machine's clock; or, if it is right, see whether a backlog is coming in",
        )
    unsure = [one for one in heard if one.clock == "unsynced"]
    odd = {one.key: f"{one.key} {_span(one.late_ms)} ahead" for one in ahead}
    odd |= {one.key: f"{one.key} {_span(one.late_ms)} behind" for one in behind}
    odd |= {one.key: f"{one.key} not synchronised" for one in unsure if one.key not in odd}
    if odd:
        more = f" and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
        return Check(
            name,
            Verdict.WARNING,
            f"of {len(heard)}: {', '.join(list(odd.values())[:_NAMED])}{more}",
            "give these stations NTP or set their clocks; one that is behind may only be sending a backlog",
        )
    return Check(name, Verdict.OK, f"{len(heard)} stations agree with this one")


def _span(ms: float) -> str:
    seconds = abs(ms) / 1000
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
