"""A gate's rule may name a column of a source, and sources have names of more than 64 characters."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("gate_verdicts") as verdicts:
        verdicts.alter_column("column_name", existing_type=sa.String(64), type_=sa.String(255), existing_nullable=True)
