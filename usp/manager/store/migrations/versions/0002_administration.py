"""Failed logins are counted by user name and by address, for names that nobody has too; settings of the managers.

Each step looks first whether it was done: on Oracle every DDL statement commits.

Revision: 0002
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, inspect

from usp.manager.store.columns import Json, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

metadata = MetaData()

Table(
    "usp_lockout",
    metadata,
    Column("subject", String(300), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failed_at", UtcTime, nullable=False),
    Column("locked_until", UtcTime),
    PrimaryKeyConstraint("subject", name="usp_lockout_pk"),
    Index("usp_lockout_failed_ix", "failed_at"),
)

Table(
    "usp_setting",
    metadata,
    Column("name", String(60), nullable=False),
    Column("content", Json),
    Column("author", String(255), nullable=False),
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("name", name="usp_setting_pk"),
)


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=True)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    there = {column["name"] for column in inspect(connection).get_columns("usp_user")}
    for name in ("failures", "locked_until"):
        if name in there:
            op.drop_column("usp_user", name)


def downgrade() -> None:
    connection = op.get_bind()
    there = {column["name"] for column in inspect(connection).get_columns("usp_user")}
    for column in (Column("failures", Integer, server_default="0", nullable=False), Column("locked_until", UtcTime)):
        if column.name not in there:
            op.add_column("usp_user", column)
    metadata.drop_all(connection, checkfirst=True)
