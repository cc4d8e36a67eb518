"""What was promised, held against what truly happened: at every deletion, every watermark, and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pumpwatch.domain.alerts import Alert, Kind, Owed, OwedState, Severity, Step
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import SiteMode
from pumpwatch_edge.message import Ack, Lane, Record

from .disks import HubDisk
from .plant import CAUSE, DELAY_IN
from .station import Name, Station
from .timeline import HOUR

if TYPE_CHECKING:
    from .town import Town

MERGED = 6 * HOUR
"""So long after an episode a newer one may stand for both, where edges of the first came last."""


class Checker:
    """Knows the side logs of the stations and both sides of every disk."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._marks: dict[tuple[str, str, Lane], int] = {}
        self._journalled = 0
        self.accepted: dict[str, set[Name]] = {}
        """Site → its messages that were ever committed as sound."""
        self.disk_is_lost = False
        self.restores = 0

    # -- while it runs -----------------------------------------------------------------------------

    def published(self, topic: str, ack: Ack) -> None:
        """A watermark never goes back while the disk behind it is there."""
        for lane in Lane:
            name = (topic, ack.epoch, lane)
            before = self._marks.get(name, 0)
            if ack.up_to(lane) < before:
                self._violate(f"watermark of {name} went back from {before} to {ack.up_to(lane)}")
            self._marks[name] = ack.up_to(lane)

    def committed(self) -> None:
        """Note what is new in the inbox, before anything can be forgotten there."""
        inbox = self._town.hub.disk.inbox
        for row in inbox.read(self._journalled, 10**9):
            key, epoch, lane, seq, *_ = row.stamp
            self.accepted.setdefault(key.site, set()).add((epoch, str(lane), seq))
            self._journalled = row.id

    def trimmed(self, station: Station, epoch: str, lane: Lane, gone: list[Record]) -> None:
        """Nothing leaves an outbox that is not on the hub's disk."""
        counts = self._town.time.counts
        for record in gone:
            name = (epoch, str(lane), record.seq)
            counts["acknowledged"] += 1
            if name in station.log.given_up or self._on_disk(station.plant.key, name):
                continue
            station.log.given_up.add(name)
            if self.disk_is_lost:
                counts["acknowledged by a disk that was lost"] += 1
            else:
                counts["lost"] += 1
                self._violate(f"{station.name} deleted {name}, which the hub does not have")

    def disk_lost(self) -> None:
        self.disk_is_lost = True

    def restored(self, old: HubDisk, new: HubDisk) -> None:
        """What only the lost disk had is lost with it; what an outbox still holds is owed as before."""
        self.disk_is_lost = False
        self.restores += 1
        self._marks.clear()
        self._journalled = new.inbox.last_id()
        for station in self._town.stations.values():
            key, disk = station.plant.key, station.disk
            for name in station.log.rows.keys() - station.log.given_up:
                epoch, lane, seq = name
                held = epoch == disk.epoch and seq >= disk.low(Lane(lane))
                if held or new.has(key, epoch, lane, seq):
                    continue
                station.log.given_up.add(name)
                self._town.time.counts["lost with the hub's disk"] += 1

    # -- at the end --------------------------------------------------------------------------------

    def finish(self, end: int) -> None:
        self.committed()
        for station in self._town.stations.values():
            self._messages(station)
            self._series(station)
            if self._is_comparable(station):
                self._alerts(station, end)
        for owed, alert in self._owed():
            self._notification(owed, alert)
        for alert in self._all_alerts():
            self._obligations(alert)

    def _messages(self, station: Station) -> None:
        for name in station.log.rows.keys() - station.log.given_up:
            self._town.time.counts["messages"] += 1
            if not self._on_disk(station.plant.key, name):
                self._town.time.counts["lost"] += 1
                self._violate(f"{station.name}: {name} is missing at the hub in the end")

    def _series(self, station: Station) -> None:
        """Every row of every sound message is in the series, as one of the rows of its time."""
        rows = self._town.hub.disk.series._rows.get(station.plant.key, {})
        owed: dict[int, set[object]] = {}
        sound = self.accepted.get(station.name, set()) - station.log.given_up
        for name in sound:
            if name[1] == Lane.TELEMETRY:
                for t, serial in station.log.rows.get(name, ()):
                    owed.setdefault(t, set()).add(serial)
        self._town.time.counts["rows"] += len(owed)
        missing = [t for t in owed if t not in rows]
        strange = [t for t, serials in owed.items() if t in rows and rows[t].get("x_serial") not in serials]  # fmt: skip
        if missing:
            self._violate(f"{station.name}: {len(missing)} of {len(owed)} rows are not in the series, first t={min(missing)}")  # fmt: skip
        if strange:
            self._violate(f"{station.name}: {len(strange)} rows of the series are other rows")

    def _is_comparable(self, station: Station) -> bool:
        """Nothing but hub, broker, lines and people went wrong, so the alerts must be those of a fault-free run."""
        log = station.log
        sound = self.accepted.get(station.name, set())
        return (
            station.is_pristine
            and not log.given_up
            and not self.restores
            and log.rows.keys() <= sound
        )

    def _alerts(self, station: Station, end: int) -> None:
        """Every episode that owes an alert has one; each alert is one of an episode.

        An edge may come so late that rows told the episode, or a newer one, before: then the alert
        that is told begins later. The end of an episode may come late or after the hub gave up waiting:
        then it was told as if it lasted, up to the next one.
        """
        key, counts = station.plant.key, self._town.time.counts
        found = {a.id: a for a in self._all_alerts() if a.key == key and a.cause in CAUSE.values()}
        begun = {(a.cause, a.opened_ms) for a in found.values()}
        real = {(CAUSE[c.signal], c.t + DELAY_IN[c.signal]) for c in station.plant.changes}
        for signal, t, over in station.plant.episodes(end):
            counts["alerts_owed"] += 1
            cause, opened = CAUSE[signal], t + DELAY_IN[signal]
            if (cause, opened) in begun:
                continue
            later = [at for name, at in begun if name == cause and opened < at < over + MERGED]
            joined = any(
                a.cause == cause
                and a.opened_ms <= t
                and (a.resolved_ms is None or a.resolved_ms > t)
                for a in found.values()
            )
            counts["alerts_begun_late"] += bool(later)
            counts["alerts_joined"] += joined
            real.update((cause, at) for at in later)
            if not later and not joined:
                counts["alerts_lost"] += 1
                self._violate(f"{station.name}: no alert of {(signal, t, over)}")
        for alert in found.values():
            if (alert.cause, alert.opened_ms) not in real and alert.opened_ms + HOUR < end:
                self._violate(f"{station.name}: an alert of nothing: {alert}")

    def _notification(self, owed: Owed, alert: Alert) -> None:
        """What is settled was settled for a reason that holds."""
        counts = self._town.time.counts
        counts["owed"] += 1
        provider = next(p for p in self._town.hub.providers if p.name == owed.notifier)
        said = f"{owed.alert_id}-{owed.transition_n}-{owed.notifier}"
        took = provider.accepted.get(said, [])
        site = self._town.stations[alert.key.site].plant
        counts["told"] += bool(took)
        counts["told_again"] += max(len(took) - 1, 0)
        if site.mode is SiteMode.RECORDING and took:
            self._violate(f"somebody was told of a recording: {said}")
        if owed.state is OwedState.SENT and not took:
            counts["unsent"] += 1
            self._violate(f"settled as sent, but {owed.notifier} never took it: {said}")
        if owed.state is OwedState.OWED:
            counts["unsent"] += 1
            self._violate(f"still owed in the end: {said} ({owed.last_error})")
        if owed.state is OwedState.GIVEN_UP and alert.severity is Severity.CRITICAL:
            counts["unsent"] += 1
            self._violate(f"a critical notification was given up: {said} ({owed.last_error})")

    def _obligations(self, alert: Alert) -> None:
        """An alert that opened at a live station owes every channel a word."""
        plant = self._town.stations[alert.key.site].plant
        if alert.kind is Kind.INFO or plant.mode is SiteMode.RECORDING:
            return
        ledger = self._town.hub.disk.ledger
        opened = next(t for t in ledger.transitions(alert.id) if t.step is Step.OPENED)
        if opened.severity.rank < Severity.WARNING.rank:
            return
        owed = {o.notifier for o in ledger.owed_for(alert.id) if o.transition_n == opened.n}
        for provider in self._town.hub.providers:
            if provider.name not in owed:
                self._town.time.counts["unsent"] += 1
                self._violate(f"nothing is owed to {provider.name} for {alert}")

    def _all_alerts(self) -> list[Alert]:
        return self._town.hub.disk.ledger.alerts(limit=10**9)

    def _owed(self) -> Iterator[tuple[Owed, Alert]]:
        ledger = self._town.hub.disk.ledger
        for alert in self._all_alerts():
            for owed in ledger.owed_for(alert.id):
                yield owed, alert

    def _on_disk(self, key: SiteKey, name: Name) -> bool:
        epoch, lane, seq = name
        return self._town.hub.disk.has(key, epoch, lane, seq)

    def _violate(self, text: str) -> None:
        self._town.time.violate(text)
