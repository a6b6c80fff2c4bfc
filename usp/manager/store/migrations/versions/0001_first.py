"""The first schema.

A migration says what the tables were then, whatever schema.py says today. Each table is made only if it is not there:
on Oracle every DDL statement commits, so a migration that was interrupted must be able to run again.

Revision: 0001
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
    UniqueConstraint,
    select,
)

from usp.manager.store.columns import BigInt, Flag, Json, UtcTime, Words

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

metadata = MetaData()

catalog = Table(
    "usp_catalog",
    metadata,
    Column("id", Integer, autoincrement=False, nullable=False),
    Column("revision", BigInt, nullable=False),
    PrimaryKeyConstraint("id", name="usp_catalog_pk"),
)

Table(
    "usp_item",
    metadata,
    Column("id", String(36), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("name", String(255), nullable=False),
    Column("revision", BigInt, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("document", Json, nullable=False),
    Column("sealed", Json),
    Column("facts", Json),
    PrimaryKeyConstraint("id", name="usp_item_pk"),
    UniqueConstraint("kind", "name", name="usp_item_name_uq"),
    Index("usp_item_revision_ix", "revision"),
)

Table(
    "usp_item_revision",
    metadata,
    Column("item_id", String(36), nullable=False),
    Column("revision", BigInt, autoincrement=False, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("name", String(255), nullable=False),
    Column("action", String(10), nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("document", Json),
    Column("secrets", Json),
    PrimaryKeyConstraint("item_id", "revision", name="usp_item_revision_pk"),
    Index("usp_item_rev_revision_ix", "revision"),
)

Table(
    "usp_data_key",
    metadata,
    Column("id", String(36), nullable=False),
    Column("place", Integer, nullable=False),
    Column("kek_id", String(16), nullable=False),
    Column("wrapped", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_data_key_pk"),
    UniqueConstraint("place", name="usp_data_key_place_uq"),
)

Table(
    "usp_version",
    metadata,
    Column("server", String(255), nullable=False),
    Column("version", BigInt, autoincrement=False, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("catalog_revision", BigInt, nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("note", Words(1000)),
    Column("content", Text, nullable=False),
    Column("push", String(20), nullable=False),
    Column("reason", Words(2000)),
    Column("problems", Json),
    Column("pushed_at", UtcTime),
    PrimaryKeyConstraint("server", "version", name="usp_version_pk"),
)

Table(
    "usp_server",
    metadata,
    Column("name", String(255), nullable=False),
    Column("desired", BigInt, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Words(2000)),
    Column("report", Text),
    Column("seen_at", UtcTime),
    Column("checked_at", UtcTime),
    PrimaryKeyConstraint("name", name="usp_server_pk"),
)

Table(
    "usp_run_state",
    metadata,
    Column("id", String(36), nullable=False),
    Column("state", String(10), nullable=False),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_run_state_pk"),
)

Table(
    "usp_user",
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("role", String(20), nullable=False),
    Column("password_hash", String(500)),
    Column("full_name", Words(255)),
    Column("email", Words(255)),
    Column("enabled", Flag, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("locked_until", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_user_pk"),
    UniqueConstraint("name", name="usp_user_name_uq"),
)

Table(
    "usp_token",
    metadata,
    Column("id", String(36), nullable=False),
    Column("name", String(255), nullable=False),
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("used_at", UtcTime),
    PrimaryKeyConstraint("id", name="usp_token_pk"),
    UniqueConstraint("digest", name="usp_token_digest_uq"),
    UniqueConstraint("user_id", "name", name="usp_token_name_uq"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_token_user_fk"),
)

Table(
    "usp_login",
    metadata,
    Column("id", String(36), nullable=False),
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("peer", Words(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_login_pk"),
    UniqueConstraint("digest", name="usp_login_digest_uq"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_login_user_fk"),
    Index("usp_login_user_ix", "user_id"),
)

Table(
    "usp_event",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("author", Words(255)),
    Column("action", String(60), nullable=False),
    Column("target", Words(300)),
    Column("peer", Words(64)),
    Column("detail", Json),
    PrimaryKeyConstraint("id", name="usp_event_pk"),
)


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=True)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    if connection.execute(select(catalog.c.id)).first() is None:
        connection.execute(catalog.insert().values(id=1, revision=0))


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), checkfirst=True)
