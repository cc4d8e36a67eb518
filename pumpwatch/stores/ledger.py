"""Sites, alerts and what is owed, in one SQL database. The writes of one step are one transaction."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Alert, Kind, Owed, OwedState, Severity, Step, Transition
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import Conflict, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, Said
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import AlertChange, AuditEntry, Checkpoint, HeldSite
from pumpwatch.domain.proofs import Proof, draw_downs
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.stores import tables
from pumpwatch.stores.database import Database
from pumpwatch.stores.tunings import read_tunings, tuning_audited, write_tuning

_URGENCY = case(
    {str(severity): severity.rank for severity in Severity}, value=tables.transitions.c.severity
)


class SqlLedger:
    """`SiteBook`, `AlertBook`, `LabelBook`, `OwedBook` and `AuditBook` over SQLite or PostgreSQL.

    ``url`` is SQLAlchemy's: ``sqlite:////var/lib/pumpwatch/core.db``. Opening migrates forward.
    Safe to use from any thread. Every method may raise `StoreUnavailable`.
    """

    def __init__(self, url: str) -> None:
        self._db = Database(url)

    def close(self) -> None:
        self._db.close()

    def claim(self) -> None:
        """Be its only hub: see `Database.claim`."""
        self._db.claim()

    # -- sites ---------------------------------------------------------------------------------

    def sites(self, tenant: str | None = None) -> dict[SiteKey, Site]:
        table = tables.sites
        query = select(table).where(table.c.retired_ms.is_(None)).order_by(*_key_columns(table))
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return {SiteKey(row.tenant, row.site): _site(row.data) for row in rows}

    def site(self, key: SiteKey) -> Site | None:
        with self._db.read() as connection:
            row = _site_row(connection, key)
        return None if row is None or row.retired_ms is not None else _site(row.data)

    def put_site(self, key: SiteKey, site: Site, actor: Actor, now_ms: int) -> None:
        """Approve, add or change. What changes nothing is not audited."""
        table, data = tables.sites, site.to_dict()
        with self._db.write() as connection:
            connection.execute(delete(tables.held_sites).where(_of(tables.held_sites, key)))
            before = _site_row(connection, key)
            present = before is not None and before.retired_ms is None
            if before is not None and present and _site(before.data) == site:
                return
            put = self._db.insert(table).values(
                tenant=key.tenant, site=key.site, data=data, created_ms=now_ms, changed_ms=now_ms
            )
            new = {"data": put.excluded.data, "changed_ms": now_ms, "retired_ms": None}
            connection.execute(put.on_conflict_do_update(index_elements=_KEY, set_=new))
            old = before.data if before is not None and present else None
            action = "site_changed" if present else "site_added"
            _audit(connection, AuditEntry(now_ms, actor, action, key, old, data))

    def retire_site(self, key: SiteKey, actor: Actor, now_ms: int) -> None:
        """From now on the site is as if never approved; its history stays. Raises `NotFound`."""
        with self._db.write() as connection:
            before = _site_row(connection, key)
            if before is None or before.retired_ms is not None:
                raise NotFound(f"no site {key}", "see `pumpwatch sites list`")
            retire = update(tables.sites).where(_of(tables.sites, key)).values(retired_ms=now_ms)
            connection.execute(retire)
            _audit(connection, AuditEntry(now_ms, actor, "site_retired", key, before.data))

    def hold(self, key: SiteKey, now_ms: int, messages: int, birth: Birth | None) -> None:
        """Count ``messages`` more of a site nobody approved. An approved site is left alone."""
        table = tables.held_sites
        with self._db.write() as connection:
            row = _site_row(connection, key)
            if row is not None and row.retired_ms is None:
                return
            put = self._db.insert(table).values(
                tenant=key.tenant, site=key.site, first_ms=now_ms, last_ms=now_ms,
                messages=messages, birth=None if birth is None else _birth_data(birth),
            )  # fmt: skip
            new = {
                "last_ms": put.excluded.last_ms,
                "messages": table.c.messages + put.excluded.messages,
                "birth": func.coalesce(put.excluded.birth, table.c.birth),
            }
            connection.execute(put.on_conflict_do_update(index_elements=_KEY, set_=new))

    def held(self) -> list[HeldSite]:
        table = tables.held_sites
        with self._db.read() as connection:
            rows = connection.execute(select(table).order_by(*_key_columns(table))).all()
        held = []
        for row in rows:
            key = SiteKey(row.tenant, row.site)
            birth = None if row.birth is None else Birth(key=key, **row.birth)
            held.append(HeldSite(key, row.first_ms, row.last_ms, row.messages, birth))
        return held

    def put_birth(self, birth: Birth, now_ms: int) -> None:
        put = self._db.insert(tables.births).values(
            tenant=birth.key.tenant, site=birth.key.site, at_ms=now_ms, data=_birth_data(birth)
        )
        new = {"at_ms": put.excluded.at_ms, "data": put.excluded.data}
        with self._db.write() as connection:
            connection.execute(put.on_conflict_do_update(index_elements=_KEY, set_=new))

    def births(self) -> dict[SiteKey, tuple[int, Birth]]:
        with self._db.read() as connection:
            rows = connection.execute(select(tables.births)).all()
        keys = [SiteKey(row.tenant, row.site) for row in rows]
        return {
            key: (row.at_ms, Birth(key=key, **row.data))
            for key, row in zip(keys, rows, strict=True)
        }

    def add_log(self, key: SiteKey, entry: LogEntry, actor: Actor, now_ms: int) -> None:
        data = {"t_ms": entry.t_ms, "kind": entry.kind, "target": entry.target, "note": entry.note}
        digest = hashlib.sha256(repr(list(data.values())).encode()).hexdigest()
        put = self._db.insert(tables.site_log).values(
            tenant=key.tenant, site=key.site, entry=digest, actor=actor.id, recorded_ms=now_ms,
            **data,
        )  # fmt: skip
        new = put.on_conflict_do_nothing().returning(tables.site_log.c.entry)
        with self._db.write() as connection:
            if connection.execute(new).first() is not None:
                _audit(connection, AuditEntry(now_ms, actor, "log_added", key, None, data))

    def log(self, key: SiteKey) -> list[LogEntry]:
        table = tables.site_log
        with self._db.read() as connection:
            rows = connection.execute(select(table).where(_of(table, key))).all()
        return sort_log([LogEntry(r.t_ms, LogKind(r.kind), r.target, r.note) for r in rows])

    def tunings(self, key: SiteKey | None = None) -> dict[SiteKey, list[TuningVersion]]:
        with self._db.read() as connection:
            return read_tunings(connection, key)

    def add_tuning(self, key: SiteKey, version: TuningVersion) -> None:
        with self._db.write() as connection:
            before = write_tuning(connection, key, version)
            _audit(connection, tuning_audited(key, version, before))

    def changed_since(self, number: int) -> tuple[int, set[SiteKey]]:
        table = tables.audit
        query = select(table.c.id, table.c.tenant, table.c.site).where(table.c.id > number)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        newest = max((row.id for row in rows), default=number)
        return newest, {SiteKey(row.tenant, row.site) for row in rows if row.site is not None}

    # -- audit ---------------------------------------------------------------------------------

    def audit(
        self, limit: int = 100, key: SiteKey | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        table = tables.audit
        query = select(table)
        if key is not None:
            query = query.where(_of(table, key))
        if action is not None:
            query = query.where(table.c.action == action)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit)).all()
        return [
            AuditEntry(
                row.at_ms, Actor(row.actor, row.role), row.action,
                None if row.site is None else SiteKey(row.tenant, row.site), row.before, row.after,
            )
            for row in rows
        ]  # fmt: skip

    def add_audit(self, entry: AuditEntry) -> None:
        with self._db.write() as connection:
            _audit(connection, entry)

    # -- alerts --------------------------------------------------------------------------------

    def commit_assessment(
        self,
        checkpoints: Sequence[Checkpoint],
        changes: Sequence[AlertChange],
        cycles: Sequence[tuple[SiteKey, CycleRow]],
    ) -> None:
        """Alert changes, checkpoints and cycles in one durable transaction.

        Doing it again changes nothing. Raises `Conflict`, having written nothing, when a
        transition's number was taken by another one meanwhile (a person acknowledged) or when
        another alert of the cause is open: read the alert again and decide again.
        """
        with self._db.write() as connection:
            for change in changes:
                self._apply(connection, change)
            if checkpoints:
                self._put_checkpoints(connection, checkpoints)
            if cycles:
                put = self._db.insert(tables.cycles).on_conflict_do_nothing()
                connection.execute(put, [_cycle_data(key, cycle) for key, cycle in cycles])
                for key, proofs in draw_downs(cycles).items():
                    self._join_proofs(connection, key, proofs)
            sys.audit("pumpwatch.reached", "assess.in_txn")

    def checkpoint(self, key: SiteKey) -> Checkpoint | None:
        query = select(tables.checkpoints).where(_of(tables.checkpoints, key))
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Checkpoint(key, row.position, row.state)

    def positions(self) -> dict[SiteKey, int]:
        table = tables.checkpoints
        with self._db.read() as connection:
            rows = connection.execute(select(table.c.tenant, table.c.site, table.c.position)).all()
        return {SiteKey(row.tenant, row.site): row.position for row in rows}

    def open_alerts(self, key: SiteKey | None = None) -> list[Alert]:
        """Oldest first."""
        table = tables.alerts
        query = select(table).where(table.c.resolved_ms.is_(None))
        if key is not None:
            query = query.where(_of(table, key))
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(table.c.opened_ms, table.c.id)).all()
        return [_alert(row) for row in rows]

    def alerts(
        self,
        tenant: str | None = None,
        site: str | None = None,
        since_ms: int | None = None,
        include_resolved: bool = True,
        limit: int = 200,
    ) -> list[Alert]:
        table = tables.alerts
        query = select(table)
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        if site is not None:
            query = query.where(table.c.site == site)
        if since_ms is not None:
            query = query.where(table.c.changed_ms >= since_ms)
        if not include_resolved:
            query = query.where(table.c.resolved_ms.is_(None))
        newest = query.order_by(table.c.changed_ms.desc(), table.c.id).limit(limit)
        with self._db.read() as connection:
            rows = connection.execute(newest).all()
        return [_alert(row) for row in rows]

    def alert(self, alert_id: str) -> Alert | None:
        with self._db.read() as connection:
            query = select(tables.alerts).where(tables.alerts.c.id == alert_id)
            row = connection.execute(query).one_or_none()
        return None if row is None else _alert(row)

    def transitions(self, alert_id: str) -> list[Transition]:
        table = tables.transitions
        query = select(table).where(table.c.alert_id == alert_id).order_by(table.c.n)
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [_transition(row) for row in rows]

    def change_alert(self, change: AlertChange) -> None:
        alert_id = change.alert.id
        numbers = [transition.n for transition in change.transitions]
        table = tables.transitions
        taken = select(table.c.n).where(table.c.alert_id == alert_id, table.c.n.in_(numbers))
        with self._db.write() as connection:
            known = select(tables.alerts.c.id).where(tables.alerts.c.id == alert_id)
            if connection.execute(known).first() is None:
                raise NotFound(f"no alert {alert_id}", "open the list of alerts again")
            if connection.execute(taken).first() is not None:
                raise _changed_meanwhile(alert_id)
            self._write_change(connection, change, change.transitions)
            if change.label is not None:
                connection.execute(insert(tables.labels).values(_label_data(change.label)))

    def cycles(self, key: SiteKey, start_ms: int, end_ms: int) -> list[CycleRow]:
        """Cycles whose run begins in [start_ms, end_ms), in time order."""
        table = tables.cycles
        inside = table.c.start_ms.between(start_ms, end_ms - 1)
        query = select(table).where(_of(table, key), inside)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(table.c.start_ms, table.c.pump)).all()
        return [CycleRow(r.start_ms, r.end_ms, r.pump, r.reason, r.features) for r in rows]

    def _apply(self, connection: Connection, change: AlertChange) -> None:
        new = [
            transition
            for transition in change.transitions
            if not _is_stored(connection, change.alert.id, transition)
        ]
        self._write_change(connection, change, new)

    def _write_change(
        self, connection: Connection, change: AlertChange, new: Sequence[Transition]
    ) -> None:
        alert_id = change.alert.id
        if new:
            put = self._db.insert(tables.alerts).values(_alert_data(change.alert))
            values = {c.name: c for c in put.excluded if c.name != "id"}
            connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=values))
            rows = [_transition_data(alert_id, transition) for transition in new]
            connection.execute(insert(tables.transitions), rows)
        if change.owed:
            owe = self._db.insert(tables.owed).on_conflict_do_nothing()
            connection.execute(owe, [_owed_data(owed) for owed in change.owed])

    def _put_checkpoints(self, connection: Connection, checkpoints: Sequence[Checkpoint]) -> None:
        table = tables.checkpoints
        put = self._db.insert(table)
        forward = put.on_conflict_do_update(
            index_elements=_KEY,
            set_={"position": put.excluded.position, "state": put.excluded.state},
            where=put.excluded.position >= table.c.position,
        )
        rows = [
            {"tenant": c.key.tenant, "site": c.key.site, "position": c.position, "state": c.state}
            for c in checkpoints
        ]
        connection.execute(forward, rows)

    # -- proofs --------------------------------------------------------------------------------

    def proofs(self, key: SiteKey | None = None) -> dict[SiteKey, list[Proof]]:
        table = tables.proofs
        query = select(table).order_by(*_key_columns(table), table.c.subject)
        if key is not None:
            query = query.where(_of(table, key))
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        found: dict[SiteKey, list[Proof]] = {}
        for row in rows:
            found.setdefault(SiteKey(row.tenant, row.site), []).append(_proof(row))
        return found

    def add_proofs(self, key: SiteKey, proofs: Sequence[Proof]) -> None:
        if proofs:
            with self._db.write() as connection:
                self._join_proofs(connection, key, proofs)

    def _join_proofs(self, connection: Connection, key: SiteKey, proofs: Sequence[Proof]) -> None:
        table = tables.proofs
        rows = connection.execute(select(table).where(_of(table, key))).all()
        known = {row.subject: _proof(row) for row in rows}
        joined = [proof.after(known.get(proof.subject)) for proof in proofs]
        put = self._db.insert(table)
        names = [f.name for f in fields(Proof) if f.name != "subject"]
        upsert = put.on_conflict_do_update(
            index_elements=[*_KEY, "subject"], set_={name: put.excluded[name] for name in names}
        )
        connection.execute(upsert, [{**key._asdict(), **asdict(proof)} for proof in joined])

    # -- labels --------------------------------------------------------------------------------

    def add_label(self, label: Label) -> None:
        with self._db.write() as connection:
            connection.execute(insert(tables.labels).values(_label_data(label)))

    def labels(
        self, tenant: str | None = None, site: str | None = None, subject: str | None = None
    ) -> list[Label]:
        table = tables.labels
        query = select(table)
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        if site is not None:
            query = query.where(table.c.site == site)
        if subject is not None:
            query = query.where(table.c.subject == subject)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(table.c.subject, table.c.n)).all()
        return [_label(row) for row in rows]

    # -- owed ----------------------------------------------------------------------------------

    def due(self, now_ms: int, limit: int = 100) -> list[Owed]:
        """What is to be sent now: most urgent first, then what has been due longest."""
        table, changes = tables.owed, tables.transitions
        transition = and_(
            table.c.alert_id == changes.c.alert_id, table.c.transition_n == changes.c.n
        )
        query = (
            select(table)
            .join(changes, transition)
            .where(table.c.state == OwedState.OWED, table.c.due_ms <= now_ms)
            .order_by(_URGENCY.desc(), table.c.due_ms, *_owed_order())
            .limit(limit)
        )
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [_owed(row) for row in rows]

    def next_due_ms(self) -> int | None:
        table = tables.owed
        query = select(func.min(table.c.due_ms)).where(table.c.state == OwedState.OWED)
        with self._db.read() as connection:
            return connection.execute(query).scalar()

    def attempt(self, owed: Owed, now_ms: int) -> bool:
        table = tables.owed
        as_read = and_(
            _is(table, owed), table.c.state == OwedState.OWED, table.c.attempts == owed.attempts
        )
        number = owed.attempts + 1
        with self._db.write() as connection:
            claim = update(table).where(as_read).values(attempts=number)
            if connection.execute(claim).rowcount == 0:
                return False
            row = {**_owed_key(owed), "attempt": number, "started_ms": now_ms, "error": ""}
            connection.execute(insert(tables.attempts).values(row))
        return True

    def settle(self, owed: Owed, now_ms: int) -> None:
        """``owed`` carries the new state, due time and error; what is settled already stays so."""
        table, tries = tables.owed, tables.attempts
        latest = select(table.c.attempts).where(_is(table, owed)).scalar_subquery()
        with self._db.write() as connection:
            connection.execute(
                update(table)
                .where(_is(table, owed), table.c.state == OwedState.OWED)
                .values(state=owed.state, due_ms=owed.due_ms, last_error=owed.last_error)
            )
            connection.execute(
                update(tries)
                .where(_is(tries, owed), tries.c.attempt == latest, tries.c.ended_ms.is_(None))
                .values(ended_ms=now_ms, outcome=owed.state, error=owed.last_error)
            )

    def owed_counts(self) -> dict[str, int]:
        table = tables.owed
        query = select(table.c.state, func.count().label("n")).group_by(table.c.state)
        with self._db.read() as connection:
            return {row.state: row.n for row in connection.execute(query)}

    def owed_for(self, alert_id: str) -> list[Owed]:
        table = tables.owed
        query = select(table).where(table.c.alert_id == alert_id).order_by(*_owed_order())
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return [_owed(row) for row in rows]


def sort_log(entries: list[LogEntry]) -> list[LogEntry]:
    """Time order; entries of one moment in an order that does not depend on who wrote first."""
    return sorted(entries, key=lambda e: (e.t_ms, e.kind, e.target or "", e.note))


# -- rows and nouns ----------------------------------------------------------------------------

_KEY = ["tenant", "site"]
_SITE_FIELDS = {field.name for field in fields(Site)}


def _key_columns(table: Table) -> list[ColumnElement[Any]]:
    return [table.c.tenant, table.c.site]


def _of(table: Table, key: SiteKey) -> ColumnElement[bool]:
    return and_(table.c.tenant == key.tenant, table.c.site == key.site)


def _site_row(connection: Connection, key: SiteKey) -> Row[Any] | None:
    return connection.execute(select(tables.sites).where(_of(tables.sites, key))).one_or_none()


def _site(data: Mapping[str, Any]) -> Site:
    """Fields that a newer version wrote are left out; a dropped None is the default again."""
    known = {name: value for name, value in data.items() if name in _SITE_FIELDS}
    return Site(**{**known, "mode": SiteMode(known["mode"])})


def _birth_data(birth: Birth) -> dict[str, Any]:
    return {f.name: getattr(birth, f.name) for f in fields(Birth) if f.name != "key"}


def _audit(connection: Connection, entry: AuditEntry) -> None:
    row = {
        "at_ms": entry.at_ms,
        "actor": entry.actor.id,
        "role": entry.actor.role,
        "action": entry.action,
        "tenant": entry.key.tenant if entry.key else None,
        "site": entry.key.site if entry.key else None,
        "before": entry.before,
        "after": entry.after,
    }
    connection.execute(insert(tables.audit).values(row))


def _alert(row: Row[Any]) -> Alert:
    values = dict(row._mapping)
    key = SiteKey(values.pop("tenant"), values.pop("site"))
    values |= {
        "kind": Kind(row.kind),
        "severity": Severity(row.severity),
        "fault": tuple(row.fault),
    }
    return Alert(key=key, **values)


def _alert_data(alert: Alert) -> dict[str, Any]:
    values = {f.name: getattr(alert, f.name) for f in fields(Alert) if f.name != "key"}
    return {**values, "tenant": alert.key.tenant, "site": alert.key.site}


def _is_stored(connection: Connection, alert_id: str, transition: Transition) -> bool:
    """Whether exactly this change is there; another one under its number is a `Conflict`."""
    table = tables.transitions
    query = select(table).where(table.c.alert_id == alert_id, table.c.n == transition.n)
    row = connection.execute(query).one_or_none()
    if row is None:
        return False
    if not same_change(_transition(row), transition):
        raise _changed_meanwhile(alert_id)
    return True


def same_change(stored: Transition, again: Transition) -> bool:
    """The same change derived a second time; when it was written down does not matter."""
    return (stored.step, stored.t_ms, stored.actor) == (again.step, again.t_ms, again.actor)


def _changed_meanwhile(alert_id: str) -> Conflict:
    return Conflict(f"alert {alert_id} has changed meanwhile", "read it again, then decide")


def _transition(row: Row[Any]) -> Transition:
    return Transition(
        row.n, Step(row.step), row.t_ms, row.recorded_ms, Actor(row.actor, row.role),
        Severity(row.severity), tuple(row.fault), row.why,
    )  # fmt: skip


def _transition_data(alert_id: str, transition: Transition) -> dict[str, Any]:
    values = {f.name: getattr(transition, f.name) for f in fields(Transition)}
    actor = transition.actor
    return {**values, "actor": actor.id, "role": actor.role, "alert_id": alert_id}


def _cycle_data(key: SiteKey, cycle: CycleRow) -> dict[str, Any]:
    values = {f.name: getattr(cycle, f.name) for f in fields(CycleRow)}
    return {**values, "tenant": key.tenant, "site": key.site}


def _proof(row: Row[Any]) -> Proof:
    return Proof(
        row.subject, row.first_ms, row.checked_ms, row.proven_ms, row.measured, row.expected
    )


def _label(row: Row[Any]) -> Label:
    said = None if row.said is None else Said(**{**row.said, "kind": Kind(row.said["kind"])})
    return Label(
        row.subject, row.n, SiteKey(row.tenant, row.site), row.cause, row.target, row.note,
        row.found_ms, row.recorded_ms, Actor(row.actor, row.role), said,
    )  # fmt: skip


def _label_data(label: Label) -> dict[str, Any]:
    values = {f.name: getattr(label, f.name) for f in fields(Label) if f.name != "key"}
    actor, said = label.actor, None if label.said is None else asdict(label.said)
    return {**values, **label.key._asdict(), "actor": actor.id, "role": actor.role, "said": said}


def _owed(row: Row[Any]) -> Owed:
    return Owed(**{**row._mapping, "state": OwedState(row.state)})


def _owed_data(owed: Owed) -> dict[str, Any]:
    return {f.name: getattr(owed, f.name) for f in fields(Owed)}


def _owed_key(owed: Owed) -> dict[str, Any]:
    return {
        "alert_id": owed.alert_id,
        "transition_n": owed.transition_n,
        "notifier": owed.notifier,
    }


def _is(table: Table, owed: Owed) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _owed_key(owed).items()))


def _owed_order() -> list[ColumnElement[Any]]:
    return [tables.owed.c.alert_id, tables.owed.c.transition_n, tables.owed.c.notifier]
