"""The ledger's first shape."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
CODE = sa.String(length=32).with_variant(sa.String(length=32, collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True)
OPEN = sa.text("resolved_ms IS NULL")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", ID, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("kind", CODE, nullable=False),
        sa.Column("severity", CODE, nullable=False),
        sa.Column("fault", JSON, nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("acknowledged_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("resolved_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_changed_ms", "alerts", ["changed_ms"], unique=False)
    op.create_index(
        "ix_alerts_tenant_site_changed_ms", "alerts", ["tenant", "site", "changed_ms"], unique=False
    )
    op.create_index(
        "uq_alerts_one_open",
        "alerts",
        ["tenant", "site", "cause"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", CODE, nullable=False),
        sa.Column("action", CODE, nullable=False),
        sa.Column("tenant", ID, nullable=True),
        sa.Column("site", ID, nullable=True),
        sa.Column("before", JSON, nullable=True),
        sa.Column("after", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "births",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "site", name="pk_births"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "site", name="pk_checkpoints"),
    )
    op.create_table(
        "cycles",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pump", CODE, nullable=False),
        sa.Column("end_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("features", JSON, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "site", "start_ms", "pump", name="pk_cycles"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "held_sites",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("first_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("birth", JSON, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "site", name="pk_held_sites"),
    )
    op.create_table(
        "site_log",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("entry", ID, nullable=False),
        sa.Column("t_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", CODE, nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "site", "entry", name="pk_site_log"),
    )
    op.create_table(
        "sites",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("retired_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("tenant", "site", name="pk_sites"),
    )
    op.create_table(
        "transitions",
        sa.Column("alert_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", CODE, nullable=False),
        sa.Column("t_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", CODE, nullable=False),
        sa.Column("severity", CODE, nullable=False),
        sa.Column("fault", JSON, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_transitions_alerts"),
        sa.PrimaryKeyConstraint("alert_id", "n", name="pk_transitions"),
    )
    op.create_table(
        "owed",
        sa.Column("alert_id", ID, nullable=False),
        sa.Column("transition_n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("notifier", ID, nullable=False),
        sa.Column("due_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", CODE, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id", "transition_n"],
            ["transitions.alert_id", "transitions.n"],
            name="fk_owed_transitions",
        ),
        sa.PrimaryKeyConstraint("alert_id", "transition_n", "notifier", name="pk_owed"),
    )
    op.create_index("ix_owed_state_due_ms", "owed", ["state", "due_ms"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("alert_id", ID, nullable=False),
        sa.Column("transition_n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("notifier", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("started_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("outcome", CODE, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id", "transition_n", "notifier"],
            ["owed.alert_id", "owed.transition_n", "owed.notifier"],
            name="fk_attempts_owed",
        ),
        sa.PrimaryKeyConstraint(
            "alert_id", "transition_n", "notifier", "attempt", name="pk_attempts"
        ),
    )


def downgrade() -> None:
    op.drop_table("attempts")
    op.drop_table("owed")
    op.drop_table("transitions")
    op.drop_table("sites")
    op.drop_table("site_log")
    op.drop_table("held_sites")
    op.drop_table("cycles")
    op.drop_table("checkpoints")
    op.drop_table("births")
    op.drop_table("audit")
    op.drop_table("alerts")
