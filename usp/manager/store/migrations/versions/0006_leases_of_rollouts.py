"""Who moves a push to several servers on is a lease now, by the database's clock.

Each step looks first whether it was done: on Oracle every DDL statement commits.

Revision: 0006
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, inspect

from usp.manager.store.columns import UtcTime, Words

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _there() -> set[str]:
    return {column["name"] for column in inspect(op.get_bind()).get_columns("usp_rollout")}


def upgrade() -> None:
    there = _there()
    for name in ("runner", "runner_until"):
        if name in there:
            op.drop_column("usp_rollout", name)


def downgrade() -> None:
    there = _there()
    for column in (Column("runner", Words(40)), Column("runner_until", UtcTime)):
        if column.name not in there:
            op.add_column("usp_rollout", column)
