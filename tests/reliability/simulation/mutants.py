"""Broken hubs and agents: each must be found, or the simulation proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pumpwatch.domain.alerts import Alert, Owed, OwedState, Transition
from pumpwatch.domain.errors import DeliveryError
from pumpwatch.domain.messages import Poison
from pumpwatch.domain.ports import CommitReceipt, Inbox, InboxRow
from pumpwatch.services.notify import NotifyMachine
from pumpwatch_edge.agent import Action, Agent
from pumpwatch_edge.clock import Now

from .disks import OnDisk, copied
from .hub import HubProcess, Parts


class _Other:
    """All else is done as the sound one does it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _HastyInbox(_Other):
    """Answers from memory at once and writes with the next batch."""

    def __init__(self, disk: OnDisk, store: Any) -> None:
        super().__init__(disk)
        self._memory = copied(store)
        self._unwritten: tuple[Sequence[InboxRow], Sequence[Poison], int] | None = None

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        if self._unwritten is not None:
            self._real.commit(*self._unwritten)
        self._unwritten = (rows, poison, now_ms)
        receipt: CommitReceipt = self._memory.commit(rows, poison, now_ms)
        return receipt


class AcksBeforeCommit(Parts):
    def inbox(self, inbox: Any, process: HubProcess) -> Inbox:
        hasty: Any = _HastyInbox(inbox, process.disk.inbox)
        found: Inbox = hasty
        return found


class _ForgetfulSeries(_Other):
    def write(self, batch: Any, position: int) -> Any:
        self._real.write([], position)
        return self._real.write(batch, position)


class MovesItsCursorBeforeTheRows(Parts):
    def series(self, series: Any) -> Any:
        return _ForgetfulSeries(series)


class _ForgetfulLedger(_Other):
    def commit_assessment(self, checkpoints: Any, changes: Any, cycles: Any) -> None:
        self._real.commit_assessment(checkpoints, [], [])
        self._real.commit_assessment([], changes, cycles)


class MovesItsCursorBeforeTheAlert(Parts):
    def ledger(self, ledger: Any) -> Any:
        return _ForgetfulLedger(ledger)


class _Hopeful(NotifyMachine):
    def _send(self, row: Owed, alert: Alert, transition: Transition, now_ms: int) -> bool:
        self._settle(row, now_ms, OwedState.SENT, "")
        with suppress(DeliveryError):
            self._notifier(row.notifier).send(self._notice(row, alert, transition))
        return True


class SettlesBeforeSending(Parts):
    notify = _Hopeful


class DeletesOnPuback(Agent):
    def puback(self, handles: Iterable[int], now: Now) -> list[Action]:
        handles = list(handles)
        for handle in handles:
            sent = self._unacked.get(handle)
            if sent is not None and sent.lane is not None:
                self.outbox.trim(sent.lane, sent.seq)
        return super().puback(handles, now)
