"""When a server was last seen by the database's clock, and the history of its states.

Revision: 0005
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Identity, Index, MetaData, PrimaryKeyConstraint, String, Table, inspect

from usp.manager.store.columns import BigInt, UtcTime, Words

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

metadata = MetaData()

history = Table(
    "usp_server_change",
    metadata,
    Column("id", BigInt, Identity(), nullable=False),
    Column("server", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("subject", Words(600)),
    Column("was", String(40), nullable=False),
    Column("state", String(40), nullable=False),
    Column("reason", Words(2000)),
    PrimaryKeyConstraint("id", name="usp_server_change_pk"),
    Index("usp_server_change_server_ix", "server", "id"),
)


def _columns() -> tuple[Column[object], ...]:
    return Column("reported_at", UtcTime), Column("reported_to", Words(40)), Column("looks", BigInt)


def upgrade() -> None:
    connection = op.get_bind()
    there = {column["name"] for column in inspect(connection).get_columns("usp_server")}
    for column in _columns():
        if column.name not in there:
            op.add_column("usp_server", column)
    metadata.create_all(connection, checkfirst=True)
    for index in history.indexes:
        index.create(connection, checkfirst=True)


def downgrade() -> None:
    connection = op.get_bind()
    metadata.drop_all(connection, checkfirst=True)
    there = {column["name"] for column in inspect(connection).get_columns("usp_server")}
    for column in _columns():
        if column.name in there:
            op.drop_column("usp_server", str(column.name))
