"""Disks: what a transaction left there survives, and a process may end at either side of every write."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from itertools import islice
from typing import Any

from pumpwatch.domain.alerts import Owed, OwedState, Transition
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane
from pumpwatch.domain.ports import AlertChange
from pumpwatch.stores.inbox import MemoryInbox, _OpenLane
from pumpwatch.stores.lanes import LaneRecord
from pumpwatch.stores.memory import MemoryLedger, MemorySeries

from .timeline import Fuse

WRITES = {
    "commit", "prune", "write", "commit_assessment", "change_alert", "attempt", "settle", "hold",
    "put_birth", "continue_after",
}  # fmt: skip


class HubDisk:
    """The three stores of a hub, as the contract suites know them in memory."""

    def __init__(self) -> None:
        self.inbox, self.ledger, self.series = MemoryInbox(), QuickLedger(), MemorySeries()

    def copied(self) -> HubDisk:
        """A consistent archive of this moment."""
        other = HubDisk()
        other.inbox, other.ledger, other.series = map(
            copied, (self.inbox, self.ledger, self.series)
        )
        return other

    def has(self, key: SiteKey, epoch: str, lane: str, seq: int) -> bool:
        """Whether this message was ever committed to the inbox of this disk."""
        opened = self.inbox._lanes.get((key, epoch, Lane(lane)))
        if opened is None:
            return False
        record = opened.record
        i = bisect_right(record._firsts, seq) - 1
        return i >= 0 and seq <= record._lasts[i]


def copied(store: Any) -> Any:
    """A twin that shares nothing that changes. Locks stay with the original, values are immutable."""
    twin = type(store)()
    for name, value in vars(store).items():
        if "lock" not in name:
            setattr(twin, name, _twin_of(value))
    for opened in getattr(twin, "_lanes", {}).values():
        record = opened.record
        opened.record = LaneRecord(
            record.watermark, zip(record._firsts, record._lasts, strict=True)
        )
    return twin


def _twin_of(value: Any) -> Any:
    if isinstance(value, dict):
        if not any(isinstance(v, dict | list | set | _OpenLane) for v in islice(value.values(), 1)):
            return value.copy()
        return type(value)({name: _twin_of(inner) for name, inner in value.items()})
    return copy(value) if isinstance(value, list | set | _OpenLane) else value


class OnDisk:
    """A store as its process sees it: it may be out of order, and the process may end at any write."""

    def __init__(self, store: Any, name: str, fuse: Fuse, trouble: set[str]) -> None:
        self._store, self._name, self._fuse, self._trouble = store, name, fuse, trouble

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._store, method)
        if not callable(real):
            return real
        label = f"{self._name}.{method}"

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._name in self._trouble:
                raise StoreUnavailable(f"{self._name} is out of order", "wait")
            if method not in WRITES:
                return real(*args, **kwargs)
            self._fuse.burn(f"before {label}")
            result = real(*args, **kwargs)
            self._fuse.burn(f"after {label}")
            return result

        if method not in WRITES and self._name != "series":
            return real if self._name not in self._trouble else call
        return call


class QuickLedger(MemoryLedger):
    """The memory twin with an index: a town of many years owes much."""

    def __init__(self) -> None:
        super().__init__()
        self._unsettled: dict[tuple[str, int, str], None] = {}
        self._of_alert: dict[str, list[tuple[str, int, str]]] = {}

    def _put(self, change: AlertChange, new: Sequence[Transition]) -> None:
        super()._put(change, new)
        for owed in change.owed:
            name = (owed.alert_id, owed.transition_n, owed.notifier)
            known = self._of_alert.setdefault(owed.alert_id, [])
            if name not in known:
                known.append(name)
                self._unsettled[name] = None

    def settle(self, owed: Owed, now_ms: int) -> None:
        super().settle(owed, now_ms)
        if owed.state is not OwedState.OWED:
            self._unsettled.pop((owed.alert_id, owed.transition_n, owed.notifier), None)

    def owed_for(self, alert_id: str) -> list[Owed]:
        return [self._owed[name] for name in sorted(self._of_alert.get(alert_id, []))]

    def _waiting(self) -> list[Owed]:
        found = [self._owed[name] for name in self._unsettled if name in self._owed]
        return [owed for owed in found if owed.state is OwedState.OWED]
