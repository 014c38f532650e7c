"""The schema as it was before it had versions: what an older home lacks of it is created, what it has is left alone."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("feed", sa.String(64), nullable=False),
        sa.Column("column_name", sa.String(128), nullable=False),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("first_ds", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("feed", "column_name"),
        if_not_exists=True,
    )
    op.create_table(
        "export_rows",
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("row_number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("row_key", sa.Text, nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("ds", "target", "digest", "row_number"),
        if_not_exists=True,
    )
    op.create_table(
        "exports",
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("n_rows", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("exported_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("ds", "target"),
        if_not_exists=True,
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "files",
        sa.Column("feed", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("feed", "digest"),
        if_not_exists=True,
    )
    op.create_index("files_by_path", "files", ["feed", "path"], if_not_exists=True)
    op.create_table(
        "gate_verdicts",
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("gate", sa.String(32), nullable=False),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("rule", sa.String(160), nullable=False),
        sa.Column("column_name", sa.String(64)),
        sa.Column("success", sa.Boolean, nullable=False),
        sa.Column("observed", sa.Text),
        sa.Column("expected", sa.Text),
        sa.Column("sample", sa.Text),
        sa.Column("recorded_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("ds", "gate", "table_name", "rule"),
        if_not_exists=True,
    )
    op.create_table(
        "held_rows",
        sa.Column("feed", sa.String(64), nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("source_partition", sa.Integer, nullable=False),
        sa.Column("source_position", sa.BigInteger, nullable=False),
        sa.Column("decision", sa.String(12), nullable=False),
        sa.Column("loaded_ds", sa.String(10)),
        sa.Column("decided_by", sa.String(64), nullable=False),
        sa.Column("decided_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("feed", "ds", "source", "source_partition", "source_position"),
        if_not_exists=True,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("host", sa.String(128), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started", sa.Float, nullable=False),
        sa.Column("acquired_at", sa.DateTime, nullable=False),
        sa.Column("heartbeat_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "loads",
        sa.Column("feed", sa.String(64), nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("load_id", sa.String(96), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("n_rows", sa.BigInteger),
        sa.Column("n_quarantined", sa.BigInteger),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("published_at", sa.DateTime),
        sa.PrimaryKeyConstraint("feed", "ds"),
        if_not_exists=True,
    )
    op.create_index("loads_by_day", "loads", ["ds"], if_not_exists=True)
    op.create_table(
        "off_days",
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("possible_from", sa.String(10)),
        sa.Column("recorded_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("stage", "ds"),
        if_not_exists=True,
    )
    op.create_table(
        "privacy_keys",
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("added_at", sa.DateTime, nullable=False),
        sa.Column("retired_at", sa.DateTime),
        sa.PrimaryKeyConstraint("key_id"),
        if_not_exists=True,
    )
    op.create_table(
        "promotions",
        sa.Column("promotion_id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("from_version", sa.String(16)),
        sa.Column("to_version", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("data_fingerprint", sa.Text, nullable=False),
        sa.Column("promoted_by", sa.String(64), nullable=False),
        sa.Column("promoted_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("promotion_id"),
        if_not_exists=True,
    )
    op.create_table(
        "published_days",
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("published_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("stage", "ds"),
        if_not_exists=True,
    )
    op.create_table(
        "reach",
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("first_ds", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("ds"),
        if_not_exists=True,
    )
    op.create_table(
        "reveals",
        sa.Column("reveal_id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("table_name", sa.String(128), nullable=False),
        sa.Column("column_name", sa.String(64), nullable=False),
        sa.Column("row_key", sa.Text, nullable=False),
        sa.Column("ds", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("revealed_by", sa.String(128), nullable=False),
        sa.Column("revealed_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("reveal_id"),
        if_not_exists=True,
    )
