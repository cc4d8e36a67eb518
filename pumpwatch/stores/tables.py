"""The ledger's tables, as SQLAlchemy sees them; `migrations` brings a file to this shape.

Moments are epoch milliseconds. What is only ever read whole (a site, evidence, features) is JSON.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _word(length: int) -> TypeEngine[str]:
    """Text that sorts by its bytes, on PostgreSQL too, whatever the language of the database."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_ID = _word(64)
_CODE = _word(32)
_JSON = JSON(none_as_null=True)


def _site_key(*, primary: bool = True) -> list[Column[Any]]:
    return [
        Column("tenant", _ID, primary_key=primary, nullable=False),
        Column("site", _ID, primary_key=primary, nullable=False),
    ]


def _ms(name: str, *, nullable: bool = False, primary: bool = False) -> Column[Any]:
    return Column(name, BigInteger, primary_key=primary, autoincrement=False, nullable=nullable)


sites = Table(
    "sites",
    metadata,
    *_site_key(),
    Column("data", _JSON, nullable=False),
    _ms("created_ms"),
    _ms("changed_ms"),
    _ms("retired_ms", nullable=True),
)

held_sites = Table(
    "held_sites",
    metadata,
    *_site_key(),
    _ms("first_ms"),
    _ms("last_ms"),
    Column("messages", BigInteger, nullable=False),
    Column("birth", _JSON),
)

births = Table(
    "births", metadata, *_site_key(), _ms("at_ms"), Column("data", _JSON, nullable=False)
)

site_log = Table(
    "site_log",
    metadata,
    *_site_key(),
    Column("entry", _ID, primary_key=True),  # digest of the entry: the same one is kept once
    _ms("t_ms"),
    Column("kind", _CODE, nullable=False),
    Column("target", Text),
    Column("note", Text, nullable=False),
    Column("actor", Text, nullable=False),
    _ms("recorded_ms"),
)

tunings = Table(
    "tunings",
    metadata,
    *_site_key(),
    Column("n", Integer, primary_key=True, autoincrement=False),
    _ms("effective_ms"),
    _ms("made_ms"),
    Column("actor", Text, nullable=False),
    Column("role", _CODE, nullable=False),
    Column("reason", Text, nullable=False),
    Column("settings", _JSON, nullable=False),
    Column("restores", Integer),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _ID, primary_key=True),
    *_site_key(primary=False),
    Column("cause", Text, nullable=False),
    Column("kind", _CODE, nullable=False),
    Column("severity", _CODE, nullable=False),
    Column("fault", _JSON, nullable=False),
    Column("target", Text),
    Column("score", Float, nullable=False),
    Column("evidence", _JSON, nullable=False),
    _ms("opened_ms"),
    _ms("changed_ms"),
    _ms("acknowledged_ms", nullable=True),
    Column("acknowledged_by", Text),
    _ms("resolved_ms", nullable=True),
    Index(None, "tenant", "site", "changed_ms"),
    Index(None, "changed_ms"),
)

_OPEN = text("resolved_ms IS NULL")
Index(
    "uq_alerts_one_open",
    alerts.c.tenant,
    alerts.c.site,
    alerts.c.cause,
    unique=True,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)

transitions = Table(
    "transitions",
    metadata,
    Column("alert_id", _ID, ForeignKey("alerts.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("step", _CODE, nullable=False),
    _ms("t_ms"),
    _ms("recorded_ms"),
    Column("actor", Text, nullable=False),
    Column("role", _CODE, nullable=False),
    Column("severity", _CODE, nullable=False),
    Column("fault", _JSON, nullable=False),
    Column("why", Text, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("subject", _ID, primary_key=True),  # an alert, or a failure that none told of
    Column("n", Integer, primary_key=True, autoincrement=False),
    *_site_key(primary=False),
    Column("cause", _CODE, nullable=False),
    Column("target", _CODE),
    Column("note", Text, nullable=False),
    _ms("found_ms"),
    _ms("recorded_ms"),
    Column("actor", Text, nullable=False),
    Column("role", _CODE, nullable=False),
    Column("said", _JSON),
    Index(None, "tenant", "site"),
)


def _owed_key() -> list[Column[Any]]:
    return [
        Column("alert_id", _ID, primary_key=True),
        Column("transition_n", Integer, primary_key=True, autoincrement=False),
        Column("notifier", _ID, primary_key=True),
    ]


owed = Table(
    "owed",
    metadata,
    *_owed_key(),
    _ms("due_ms"),
    Column("state", _CODE, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    ForeignKeyConstraint(["alert_id", "transition_n"], ["transitions.alert_id", "transitions.n"]),
    Index(None, "state", "due_ms"),
)

attempts = Table(
    "attempts",
    metadata,
    *_owed_key(),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    _ms("started_ms"),
    _ms("ended_ms", nullable=True),
    Column("outcome", _CODE),
    Column("error", Text, nullable=False),
    ForeignKeyConstraint(
        ["alert_id", "transition_n", "notifier"],
        ["owed.alert_id", "owed.transition_n", "owed.notifier"],
    ),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    *_site_key(),
    Column("position", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

cycles = Table(
    "cycles",
    metadata,
    *_site_key(),
    _ms("start_ms", primary=True),
    Column("pump", _CODE, primary_key=True),
    _ms("end_ms"),
    Column("reason", Text, nullable=False),
    Column("features", _JSON, nullable=False),
    sqlite_with_rowid=False,
)

proofs = Table(
    "proofs",
    metadata,
    *_site_key(),
    Column("subject", _CODE, primary_key=True),
    _ms("first_ms"),
    _ms("checked_ms"),
    _ms("proven_ms", nullable=True),
    Column("measured", Float),
    Column("expected", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _ms("at_ms"),
    Column("actor", Text, nullable=False),
    Column("role", _CODE, nullable=False),
    Column("action", _CODE, nullable=False),
    Column("tenant", _ID),
    Column("site", _ID),
    Column("before", _JSON),
    Column("after", _JSON),
)
