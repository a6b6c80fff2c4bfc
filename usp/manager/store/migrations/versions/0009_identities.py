"""Users who log in at an OpenID provider.

Revision: 0009
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKeyConstraint, MetaData, PrimaryKeyConstraint, String, Table

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

metadata = MetaData()

user = Table("usp_user", metadata, Column("id", String(36), primary_key=True))
identity = Table(
    "usp_identity",
    metadata,
    Column("issuer", String(400), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("user_id", String(36), nullable=False),
    PrimaryKeyConstraint("issuer", "subject", name="usp_identity_pk"),
    ForeignKeyConstraint(["user_id"], ["usp_user.id"], name="usp_identity_user_fk"),
)


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[identity], checkfirst=True)


def downgrade() -> None:
    metadata.drop_all(op.get_bind(), tables=[identity], checkfirst=True)
