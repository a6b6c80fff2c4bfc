"""The points of the charts, so that all managers draw the same, also after a restart.

Revision: 0011
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Table

from usp.manager.store.columns import BigInt, Json

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

metadata = MetaData()

point = Table(
    "usp_point",
    metadata,
    Column("id", BigInt, autoincrement=False, nullable=False),
    Column("counts", Json),
    PrimaryKeyConstraint("id", name="usp_point_pk"),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[point], checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), tables=[point], checkfirst=True)
