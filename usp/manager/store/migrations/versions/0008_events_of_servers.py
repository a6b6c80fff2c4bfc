"""Events that servers tell are stored beside those of managers, and can be searched.

Each step looks first whether it was done: on Oracle every DDL statement commits.

Revision: 0008
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, String, Table, inspect

from usp.manager.store.columns import BigInt, UtcTime, Words

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

metadata = MetaData()

chains = Table(
    "usp_event_chain",
    metadata,
    Column("server", String(255), nullable=False),
    Column("chain", String(16), nullable=False),
    Column("seq", BigInt, autoincrement=False, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("stored_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("server", "chain", name="usp_event_chain_pk"),
)

INDEXES = {
    "usp_event_chain_ix": ("server", "chain", "seq"),
    "usp_event_server_ix": ("server", "id"),
    "usp_event_author_ix": ("author", "id"),
    "usp_event_session_ix": ("session_id", "id"),
    "usp_event_made_ix": ("made_at",),
}


def columns() -> list[Column[object]]:
    return [
        Column("server", Words(255)),
        Column("listener", Words(255)),
        Column("session_id", Words(64)),
        Column("outcome", Words(40)),
        Column("chain", Words(16)),
        Column("seq", BigInt),
    ]


def upgrade() -> None:
    connection = op.get_bind()
    there = {column["name"] for column in inspect(connection).get_columns("usp_event")}
    for column in columns():
        if column.name not in there:
            op.add_column("usp_event", column)
    have = {index["name"] for index in inspect(connection).get_indexes("usp_event")}
    for name, over in INDEXES.items():
        if name not in have:
            op.create_index(name, "usp_event", list(over))
    metadata.create_all(connection, checkfirst=True)


def downgrade() -> None:
    connection = op.get_bind()
    metadata.drop_all(connection, checkfirst=True)
    have = {index["name"] for index in inspect(connection).get_indexes("usp_event")}
    for name in INDEXES:
        if name in have:
            op.drop_index(name, "usp_event")
    there = {column["name"] for column in inspect(connection).get_columns("usp_event")}
    for column in columns():
        if column.name in there:
            op.drop_column("usp_event", column.name)
