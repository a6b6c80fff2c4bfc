"""Second factors of administrators.

Revision: 0007
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKeyConstraint, MetaData, PrimaryKeyConstraint, String, Table

from usp.manager.store.columns import BigInt, UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

metadata = MetaData()

user = Table("usp_user", metadata, Column("id", String(36), primary_key=True))
factor = Table(
    "usp_factor",
    metadata,
    Column("user_id", String(36), nullable=False),
    Column("sealed", String(400), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("confirmed_at", UtcTime),
    Column("last_step", BigInt, nullable=False),
    PrimaryKeyConstraint("user_id", name="usp_factor_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_factor_user_fk"),
)
recovery_code = Table(
    "usp_recovery_code",
    metadata,
    Column("user_id", String(36), nullable=False),
    Column("digest", String(64), nullable=False),
    PrimaryKeyConstraint("user_id", "digest", name="usp_recovery_code_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_recovery_code_user_fk"),
)
TABLES = [factor, recovery_code]


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=TABLES, checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), tables=TABLES, checkfirst=True)
