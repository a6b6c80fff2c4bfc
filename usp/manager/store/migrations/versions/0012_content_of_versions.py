"""What a version holds has a table of its own: SQLite reads and writes rows as a whole, megabytes of them here.

Each step looks first whether it was done: on Oracle every DDL statement commits. PostgreSQL is told not to try to
compress what is sealed.

Revision: 0012
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    column,
    delete,
    exists,
    insert,
    inspect,
    select,
    table,
    update,
)

from usp.manager.store.columns import BigInt

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

metadata = MetaData()

version = table("usp_version", column("server"), column("version"), column("content"))

Table(  # as far as the foreign key needs it
    "usp_version",
    metadata,
    Column("server", String(255), primary_key=True),
    Column("version", BigInt, primary_key=True),
)
content = Table(
    "usp_version_content",
    metadata,
    Column("server", String(255), nullable=False),
    Column("version", BigInt, autoincrement=False, nullable=False),
    Column("content", Text, nullable=False),
    PrimaryKeyConstraint("server", "version", name="usp_version_content_pk"),
    ForeignKeyConstraint(
        ["server", "version"], ["usp_version.server", "usp_version.version"], name="usp_version_content_fk"
    ),
)
same = (content.c.server == version.c.server) & (content.c.version == version.c.version)


def _kept_with_the_version() -> bool:
    return "content" in {each["name"] for each in inspect(op.get_bind()).get_columns("usp_version")}


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[content], checkfirst=True)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE usp_version_content ALTER COLUMN content SET STORAGE EXTERNAL")
    if _kept_with_the_version():
        rest = select(version).where(~exists().where(same))
        op.execute(insert(content).from_select(["server", "version", "content"], rest))
        op.drop_column("usp_version", "content")


def downgrade() -> None:
    if not _kept_with_the_version():
        op.add_column("usp_version", Column("content", Text))
    moved = select(content.c.content).where(same).scalar_subquery()
    op.execute(update(version).values(content=moved))
    op.execute(delete(content))
    metadata.drop_all(op.get_bind(), tables=[content], checkfirst=True)
