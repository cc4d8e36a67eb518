"""Stations' own settings of diagnosis, version by version."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
CODE = sa.String(length=32).with_variant(sa.String(length=32, collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "tunings",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("made_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", CODE, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("restores", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "site", "n", name="pk_tunings"),
    )


def downgrade() -> None:
    op.drop_table("tunings")
