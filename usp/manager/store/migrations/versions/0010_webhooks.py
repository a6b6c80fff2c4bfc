"""Webhooks, and how far each has been told.

Revision: 0010
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, MetaData, PrimaryKeyConstraint, String, Table, UniqueConstraint

from usp.manager.store.columns import BigInt, Flag, Json, UtcTime, Words

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

metadata = MetaData()

webhook = Table(
    "usp_webhook",
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("url", String(2000), nullable=False),
    Column("sealed", String(400), nullable=False),
    Column("wanted", Json),
    Column("enabled", Flag, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("told", BigInt, autoincrement=False, nullable=False),
    Column("delivered", BigInt, autoincrement=False, nullable=False),
    Column("dead", BigInt, autoincrement=False, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failing_since", UtcTime),
    Column("retry_at", UtcTime),
    Column("error", Words(300)),
    PrimaryKeyConstraint("id", name="usp_webhook_pk"),
    UniqueConstraint("name", name="usp_webhook_name_uq"),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[webhook], checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), tables=[webhook], checkfirst=True)
