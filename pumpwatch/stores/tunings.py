"""The versions of stations' own settings in the ledger. Rows are added, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.errors import Conflict
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AuditEntry
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.stores.tables import tunings


def read_tunings(connection: Connection, key: SiteKey | None) -> dict[SiteKey, list[TuningVersion]]:
    """Site → its versions, oldest first; of one site or of all."""
    query = select(tunings).order_by(tunings.c.tenant, tunings.c.site, tunings.c.n)
    if key is not None:
        query = query.where(tunings.c.tenant == key.tenant, tunings.c.site == key.site)
    found: dict[SiteKey, list[TuningVersion]] = {}
    for row in connection.execute(query):
        found.setdefault(SiteKey(row.tenant, row.site), []).append(_version(row))
    return found


def write_tuning(
    connection: Connection, key: SiteKey, version: TuningVersion
) -> Mapping[str, Any] | None:
    """Add the next version and return the settings before it. Raises `Conflict` for any other number."""
    present = read_tunings(connection, key).get(key, [])
    if version.n != len(present) + 1:
        raise tuned_meanwhile(key, version.n)
    row = insert(tunings).values(
        **key._asdict(),
        n=version.n,
        effective_ms=version.effective_ms,
        made_ms=version.made_ms,
        actor=version.actor.id,
        role=version.actor.role,
        reason=version.reason,
        settings=dict(version.settings),
        restores=version.restores,
    )
    connection.execute(row)
    return present[-1].settings if present else None


def tuning_audited(
    key: SiteKey, version: TuningVersion, before: Mapping[str, Any] | None
) -> AuditEntry:
    after = {"n": version.n, "reason": version.reason, "settings": dict(version.settings)}
    old = None if before is None else {"n": version.n - 1, "settings": dict(before)}
    return AuditEntry(version.made_ms, version.actor, "tuned", key, old, after)


def tuned_meanwhile(key: SiteKey, n: int) -> Conflict:
    return Conflict(
        f"version {n} of {key} cannot be the next one",
        "somebody saved meanwhile: look, then decide",
    )


def _version(row: Row[Any]) -> TuningVersion:
    return TuningVersion(
        row.n, row.effective_ms, row.made_ms, Actor(row.actor, row.role), row.reason, row.settings,
        row.restores,
    )  # fmt: skip
