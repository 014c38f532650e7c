"""What the gates learn: the rows of each day of a history, and the values that a column had on accepted days."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "load_days",
        sa.Column("feed", sa.String(64), nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("n_rows", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("feed", "ds", "day"),
    )
    op.create_table(
        "known_values",
        sa.Column("table_name", sa.String(128), nullable=False),
        sa.Column("column_name", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("first_ds", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("table_name", "column_name", "digest"),
    )
