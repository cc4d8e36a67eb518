"""When each pump last drew the well down, and the level sensor last agreed with its witnesses."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
CODE = sa.String(length=32).with_variant(sa.String(length=32, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "proofs",
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("subject", CODE, nullable=False),
        sa.Column("first_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("checked_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("proven_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("measured", sa.Float(), nullable=True),
        sa.Column("expected", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "site", "subject", name="pk_proofs"),
    )
    op.execute(
        "INSERT INTO proofs (tenant, site, subject, first_ms, checked_ms, proven_ms) "
        "SELECT tenant, site, pump, min(start_ms), max(start_ms), max(start_ms) FROM cycles "
        "WHERE reason = '' AND pump LIKE 'pump%' GROUP BY tenant, site, pump"
    )


def downgrade() -> None:
    op.drop_table("proofs")
