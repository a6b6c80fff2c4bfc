"""Pushes to several servers.

Revision: 0003
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from usp.manager.store.columns import BigInt, Flag, Json, UtcTime, Words

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

metadata = MetaData()

Table(
    "usp_rollout",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("author", String(255), nullable=False),
    Column("note", Words(1000)),
    Column("catalog_revision", BigInt, nullable=False),
    Column("canary", Flag, nullable=False),
    Column("forced", Flag, nullable=False),
    Column("patience", Integer, nullable=False),
    Column("steps", Json, nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", Words(2000)),
    Column("ended_at", UtcTime),
    Column("runner", Words(40)),
    Column("runner_until", UtcTime),
    PrimaryKeyConstraint("id", name="usp_rollout_pk"),
    Index("usp_rollout_state_ix", "state"),
)

Table(
    "usp_rollout_content",
    metadata,
    Column("rollout_id", BigInt, autoincrement=False, nullable=False),
    Column("server", String(255), nullable=False),
    Column("content", Text, nullable=False),
    PrimaryKeyConstraint("rollout_id", "server", name="usp_rollout_content_pk"),
    ForeignKeyConstraint(["rollout_id"], ["usp_rollout.id"], name="usp_rollout_content_fk"),
)


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=True)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), checkfirst=True)
