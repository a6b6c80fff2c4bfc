"""What several managers on one database need: leases, receipts of what was written, and one upgrade at a time.

Revision: 0004
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table

from usp.manager.store.columns import BigInt, Flag, UtcTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

metadata = MetaData()

Table(
    "usp_guard",
    metadata,
    Column("id", Integer, autoincrement=False, nullable=False),
    PrimaryKeyConstraint("id", name="usp_guard_pk"),
)

leases = Table(
    "usp_lease",
    metadata,
    Column("name", String(255), nullable=False),
    Column("holder", String(40), nullable=False),
    Column("fence", BigInt, autoincrement=False, nullable=False),
    Column("held_until", UtcTime, nullable=False),
    PrimaryKeyConstraint("name", name="usp_lease_pk"),
)

receipts = Table(
    "usp_receipt",
    metadata,
    Column("id", String(36), nullable=False),
    Column("written", Flag, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("id", name="usp_receipt_pk"),
    Index("usp_receipt_made_ix", "made_at"),
)


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=True)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), tables=[leases, receipts], checkfirst=True)  # the guard is being held
