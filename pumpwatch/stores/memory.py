"""The same stores in memory, for tests and for work that leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from threading import RLock
from typing import Any

import numpy as np

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Owed, OwedState, Transition
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import (
    AlertChange,
    AuditEntry,
    Checkpoint,
    HeldSite,
    StoredModel,
    WriteReceipt,
)
from pumpwatch.domain.proofs import Proof, draw_downs
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.stores.rows import EMPTY, band, kept_rows, total
from pumpwatch.stores.tunings import tuned_meanwhile, tuning_audited


class MemorySeries:
    """`TimeSeriesStore` in dictionaries: site → time → signal → value."""

    def __init__(self) -> None:
        self._rows: dict[SiteKey, dict[int, dict[str, float]]] = {}
        self._position = 0
        self._floor_ms: int | None = None
        self._lock = RLock()

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        stored: Counter[SiteKey] = Counter()
        duplicates: Counter[SiteKey] = Counter()
        with self._lock:
            kept, refused = kept_rows(batch, self._floor_ms)
            for key, chunk in ((k, chunk) for k, chunks in kept.items() for chunk in chunks):
                rows = self._rows.setdefault(key, {})
                columns = {name: values.tolist() for name, values in chunk.signals.items()}
                for i, t_ms in enumerate(chunk.t_ms.tolist()):
                    (duplicates if t_ms in rows else stored)[key] += 1
                    values = {name: column[i] for name, column in columns.items()}
                    rows.setdefault(t_ms, {}).update(
                        {name: value for name, value in values.items() if value == value}
                    )
            self._position = max(self._position, position)
        return total({k: WriteReceipt(stored[k], duplicates[k], refused[k]) for k in kept})

    def position(self) -> int:
        return self._position

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        with self._lock:
            rows = self._rows.get(key, {})
            times = sorted(t for t in rows if start_ms <= t < end_ms)
            has = {name for row in rows.values() for name in row}
            asked = SIGNALS if signals is None else signals
            return Chunk(
                np.array(times, np.int64),
                {
                    name: np.array([rows[t].get(name, np.nan) for t in times], np.float64)
                    for name in asked
                    if name in has
                },
            )

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        grid = bucket_grid(start_ms, end_ms, points)
        if signal not in SIGNALS:
            return EMPTY
        return band(self.read_raw(key, grid.start_ms, grid.end_ms, [signal]), signal, grid)

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        found = {}
        with self._lock:
            for key in keys:
                if rows := self._rows.get(key):
                    newest = max(rows)
                    known = {n: v for n, v in rows[newest].items() if n in SIGNALS}
                    found[key] = newest, known
        return found

    def count(self, key: SiteKey) -> int:
        return len(self._rows.get(key, {}))

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._lock:
            rows = self._rows.get(key, {})
            gone = [t for t in rows if start_ms <= t < end_ms]
            for t in gone:
                del rows[t]
        return len(gone)

    def apply_retention(self, before_ms: int) -> int:
        with self._lock:
            self._floor_ms = max(before_ms, before_ms if self._floor_ms is None else self._floor_ms)
            return sum(self.delete(key, -(2**63), before_ms) for key in list(self._rows))

    def upkeep(self, now_ms: int) -> bool:
        return False

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


class MemoryLedger:
    """`SiteBook`, `AlertBook`, `LabelBook`, `OwedBook` and `AuditBook` in dictionaries."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._sites: dict[SiteKey, Site] = {}
        self._held: dict[SiteKey, HeldSite] = {}
        self._births: dict[SiteKey, tuple[int, Birth]] = {}
        self._log: dict[SiteKey, set[LogEntry]] = {}
        self._tunings: dict[SiteKey, list[TuningVersion]] = {}
        self._audit: list[AuditEntry] = []
        self._alerts: dict[str, Alert] = {}
        self._transitions: dict[str, dict[int, Transition]] = {}
        self._labels: dict[tuple[str, int], Label] = {}
        self._owed: dict[tuple[str, int, str], Owed] = {}
        self._checkpoints: dict[SiteKey, Checkpoint] = {}
        self._cycles: dict[SiteKey, dict[tuple[int, str], CycleRow]] = {}
        self._proofs: dict[SiteKey, dict[str, Proof]] = {}

    def close(self) -> None:
        pass

    # -- sites ---------------------------------------------------------------------------------

    def sites(self, tenant: str | None = None) -> dict[SiteKey, Site]:
        with self._lock:
            return {k: s for k, s in sorted(self._sites.items()) if tenant in (None, k.tenant)}

    def site(self, key: SiteKey) -> Site | None:
        return self._sites.get(key)

    def put_site(self, key: SiteKey, site: Site, actor: Actor, now_ms: int) -> None:
        with self._lock:
            self._held.pop(key, None)
            before = self._sites.get(key)
            if before == site:
                return
            self._sites[key] = site
            action = "site_changed" if before else "site_added"
            old = before.to_dict() if before else None
            self._audit.append(AuditEntry(now_ms, actor, action, key, old, site.to_dict()))

    def retire_site(self, key: SiteKey, actor: Actor, now_ms: int) -> None:
        with self._lock:
            site = self._sites.pop(key, None)
            if site is None:
                raise NotFound(f"no site {key}", "see `pumpwatch sites list`")
            self._audit.append(AuditEntry(now_ms, actor, "site_retired", key, site.to_dict()))

    def hold(self, key: SiteKey, now_ms: int, messages: int, birth: Birth | None) -> None:
        with self._lock:
            if key in self._sites:
                return
            old = self._held.get(key, HeldSite(key, now_ms, now_ms, 0))
            self._held[key] = replace(
                old,
                last_ms=now_ms,
                messages=old.messages + messages,
                birth=birth or old.birth,
            )

    def held(self) -> list[HeldSite]:
        with self._lock:
            return [held for _, held in sorted(self._held.items())]

    def put_birth(self, birth: Birth, now_ms: int) -> None:
        with self._lock:
            self._births[birth.key] = now_ms, birth

    def births(self) -> dict[SiteKey, tuple[int, Birth]]:
        with self._lock:
            return dict(self._births)

    def add_log(self, key: SiteKey, entry: LogEntry, actor: Actor, now_ms: int) -> None:
        with self._lock:
            entries = self._log.setdefault(key, set())
            if entry in entries:
                return
            entries.add(entry)
            data: dict[str, Any] = {
                "t_ms": entry.t_ms,
                "kind": entry.kind,
                "target": entry.target,
                "note": entry.note,
            }
            self._audit.append(AuditEntry(now_ms, actor, "log_added", key, None, data))

    def log(self, key: SiteKey) -> list[LogEntry]:
        with self._lock:
            entries = list(self._log.get(key, ()))
        return sorted(entries, key=lambda e: (e.t_ms, e.kind, e.target or "", e.note))

    def tunings(self, key: SiteKey | None = None) -> dict[SiteKey, list[TuningVersion]]:
        with self._lock:
            return {k: list(v) for k, v in sorted(self._tunings.items()) if key in (None, k)}

    def add_tuning(self, key: SiteKey, version: TuningVersion) -> None:
        with self._lock:
            versions = self._tunings.get(key, [])
            if version.n != len(versions) + 1:
                raise tuned_meanwhile(key, version.n)
            before = versions[-1].settings if versions else None
            self._tunings[key] = [*versions, version]
            self._audit.append(tuning_audited(key, version, before))

    def changed_since(self, number: int) -> tuple[int, set[SiteKey]]:
        with self._lock:
            changed = {entry.key for entry in self._audit[number:] if entry.key is not None}
            return len(self._audit), changed

    def audit(
        self, limit: int = 100, key: SiteKey | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        with self._lock:
            newest = self._audit[::-1]
        wanted = [e for e in newest if key in (None, e.key) and action in (None, e.action)]
        return wanted[:limit]

    def add_audit(self, entry: AuditEntry) -> None:
        with self._lock:
            self._audit.append(entry)

    # -- alerts --------------------------------------------------------------------------------

    def commit_assessment(
        self,
        checkpoints: Sequence[Checkpoint],
        changes: Sequence[AlertChange],
        cycles: Sequence[tuple[SiteKey, CycleRow]],
    ) -> None:
        with self._lock:
            saved = dict(self._alerts), {a: dict(t) for a, t in self._transitions.items()}
            owed = dict(self._owed)
            try:
                for change in changes:
                    self._apply(change)
            except Conflict:
                (self._alerts, self._transitions), self._owed = saved, owed
                raise
            for checkpoint in checkpoints:
                stored = self._checkpoints.get(checkpoint.key)
                if stored is None or stored.position <= checkpoint.position:
                    self._checkpoints[checkpoint.key] = checkpoint
            for key, cycle in cycles:
                rows = self._cycles.setdefault(key, {})
                rows.setdefault((cycle.start_ms, cycle.pump), cycle)
            for key, proofs in draw_downs(cycles).items():
                self.add_proofs(key, proofs)

    def checkpoint(self, key: SiteKey) -> Checkpoint | None:
        with self._lock:
            return self._checkpoints.get(key)

    def positions(self) -> dict[SiteKey, int]:
        with self._lock:
            return {key: kept.position for key, kept in self._checkpoints.items()}

    def open_alerts(self, key: SiteKey | None = None) -> list[Alert]:
        with self._lock:
            found = [a for a in self._alerts.values() if a.open and key in (None, a.key)]
        return sorted(found, key=lambda a: (a.opened_ms, a.id))

    def alerts(
        self,
        tenant: str | None = None,
        site: str | None = None,
        since_ms: int | None = None,
        include_resolved: bool = True,
        limit: int = 200,
    ) -> list[Alert]:
        with self._lock:
            found = [
                a
                for a in self._alerts.values()
                if tenant in (None, a.key.tenant)
                and site in (None, a.key.site)
                and (since_ms is None or a.changed_ms >= since_ms)
                and (include_resolved or a.open)
            ]
        return sorted(found, key=lambda a: (-a.changed_ms, a.id))[:limit]

    def alert(self, alert_id: str) -> Alert | None:
        return self._alerts.get(alert_id)

    def transitions(self, alert_id: str) -> list[Transition]:
        with self._lock:
            return [t for _, t in sorted(self._transitions.get(alert_id, {}).items())]

    def change_alert(self, change: AlertChange) -> None:
        with self._lock:
            if change.alert.id not in self._alerts:
                raise NotFound(f"no alert {change.alert.id}", "open the list of alerts again")
            taken = self._transitions[change.alert.id]
            if any(transition.n in taken for transition in change.transitions):
                raise _changed_meanwhile(change.alert.id)
            if change.label is not None:
                self.add_label(change.label)
            self._put(change, change.transitions)

    def cycles(self, key: SiteKey, start_ms: int, end_ms: int) -> list[CycleRow]:
        with self._lock:
            rows = sorted(self._cycles.get(key, {}).items())
        return [cycle for (start, _), cycle in rows if start_ms <= start < end_ms]

    def _apply(self, change: AlertChange) -> None:
        alert_id = change.alert.id
        stored = self._transitions.get(alert_id, {})
        new = []
        for again in change.transitions:
            there = stored.get(again.n)
            if there is None:
                new.append(again)
            elif (there.step, there.t_ms, there.actor) != (again.step, again.t_ms, again.actor):
                raise _changed_meanwhile(alert_id)
        self._put(change, new)

    def _put(self, change: AlertChange, new: Sequence[Transition]) -> None:
        alert = change.alert
        if new:
            rival = any(a.cause == alert.cause and a.id != alert.id for a in self._open(alert.key))
            if alert.open and rival:
                raise Conflict(f"{alert.key} has an open alert of {alert.cause}", "read it again")
            self._alerts[alert.id] = alert
            self._transitions.setdefault(alert.id, {}).update({t.n: t for t in new})
        for owed in change.owed:
            self._owed.setdefault(_owed_key(owed), owed)

    def _open(self, key: SiteKey) -> list[Alert]:
        return [a for a in self._alerts.values() if a.open and a.key == key]

    # -- proofs --------------------------------------------------------------------------------

    def proofs(self, key: SiteKey | None = None) -> dict[SiteKey, list[Proof]]:
        with self._lock:
            return {
                k: [proof for _, proof in sorted(own.items())]
                for k, own in self._proofs.items()
                if key in (None, k)
            }

    def add_proofs(self, key: SiteKey, proofs: Sequence[Proof]) -> None:
        with self._lock:
            for proof in proofs:
                own = self._proofs.setdefault(key, {})
                own[proof.subject] = proof.after(own.get(proof.subject))

    # -- labels --------------------------------------------------------------------------------

    def add_label(self, label: Label) -> None:
        with self._lock:
            if (label.subject, label.n) in self._labels:
                raise Conflict(f"answer {label.n} to {label.subject} is there", "read it again")
            self._labels[label.subject, label.n] = label

    def labels(
        self, tenant: str | None = None, site: str | None = None, subject: str | None = None
    ) -> list[Label]:
        with self._lock:
            found = [label for _, label in sorted(self._labels.items())]
        return [
            label
            for label in found
            if tenant in (None, label.key.tenant)
            and site in (None, label.key.site)
            and subject in (None, label.subject)
        ]

    # -- owed ----------------------------------------------------------------------------------

    def due(self, now_ms: int, limit: int = 100) -> list[Owed]:
        with self._lock:
            found = [o for o in self._waiting() if o.due_ms <= now_ms]
            return sorted(found, key=self._urgency)[:limit]

    def next_due_ms(self) -> int | None:
        with self._lock:
            return min((o.due_ms for o in self._waiting()), default=None)

    def attempt(self, owed: Owed, now_ms: int) -> bool:
        with self._lock:
            stored = self._owed.get(_owed_key(owed))
            if stored is None or stored.state is not OwedState.OWED:
                return False
            if stored.attempts != owed.attempts:
                return False
            self._owed[_owed_key(owed)] = replace(stored, attempts=stored.attempts + 1)
            return True

    def settle(self, owed: Owed, now_ms: int) -> None:
        with self._lock:
            stored = self._owed.get(_owed_key(owed))
            if stored is not None and stored.state is OwedState.OWED:
                self._owed[_owed_key(owed)] = replace(owed, attempts=stored.attempts)

    def owed_counts(self) -> dict[str, int]:
        with self._lock:
            return dict(Counter(str(owed.state) for owed in self._owed.values()))

    def owed_for(self, alert_id: str) -> list[Owed]:
        with self._lock:
            return [o for k, o in sorted(self._owed.items()) if k[0] == alert_id]

    def _waiting(self) -> list[Owed]:
        return [owed for owed in self._owed.values() if owed.state is OwedState.OWED]

    def _urgency(self, owed: Owed) -> tuple[Any, ...]:
        transition = self._transitions[owed.alert_id][owed.transition_n]
        return -transition.severity.rank, owed.due_ms, _owed_key(owed)


def _changed_meanwhile(alert_id: str) -> Conflict:
    return Conflict(f"alert {alert_id} has changed meanwhile", "read it again, then decide")


def _owed_key(owed: Owed) -> tuple[str, int, str]:
    return owed.alert_id, owed.transition_n, owed.notifier


class MemoryShelf:
    """`ModelShelf` in a dictionary."""

    def __init__(self) -> None:
        self._models: dict[tuple[SiteKey, int], StoredModel] = {}

    def put(self, model: StoredModel) -> None:
        self._models[model.key, model.effective_ms] = model

    def effective(self, key: SiteKey, at_ms: int) -> StoredModel | None:
        moments = [t for k, t in list(self._models) if k == key and t <= at_ms]
        return self._models[key, max(moments)] if moments else None

    def cards(self, key: SiteKey | None = None) -> list[tuple[SiteKey, int, Mapping[str, Any]]]:
        return [
            (k, t, model.card) for (k, t), model in sorted(self._models.items()) if key in (None, k)
        ]
