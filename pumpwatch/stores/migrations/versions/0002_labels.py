"""What people found: answers to alerts, and failures nobody was told of."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
CODE = sa.String(length=32).with_variant(sa.String(length=32, collation="C"), "postgresql")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("subject", ID, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant", ID, nullable=False),
        sa.Column("site", ID, nullable=False),
        sa.Column("cause", CODE, nullable=False),
        sa.Column("target", CODE, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", CODE, nullable=False),
        sa.Column("said", JSON, nullable=True),
        sa.PrimaryKeyConstraint("subject", "n", name="pk_labels"),
    )
    op.create_index("ix_labels_tenant_site", "labels", ["tenant", "site"], unique=False)


def downgrade() -> None:
    op.drop_table("labels")
