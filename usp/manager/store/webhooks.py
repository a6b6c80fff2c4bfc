"""Webhooks: where to, with which sealed secret, about which events, and how far each has been told.

How far is written with a condition on how far it was, so that of two managers that tell at once none goes back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.keys import Keys
from usp.manager.store.rows import Webhook
from usp.secret import Secret

webhooks = schema.webhook.c


class Webhooks:
    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def all(self) -> list[Webhook]:
        """By name."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(schema.webhook).order_by(webhooks.name))).all()
        if not rows:
            return []
        vault = await self._keys.vault_for([row.sealed for row in rows])
        return [_webhook(row, Secret(vault.open(row.sealed, _place(row.id)).decode())) for row in rows]

    async def add(self, made: Webhook) -> Webhook:
        """It is told of what happens from now on. UspError `webhook.exists`."""
        async with self._database.writing() as connection:
            newest = (await connection.execute(select(func.max(schema.event.c.id)))).scalar_one() or 0
            values = {
                "id": made.id,
                "name": made.name,
                "url": made.url,
                "sealed": self._keys.vault.seal(made.secret.reveal(), _place(made.id)),
                "wanted": dict(made.wanted) or None,
                "enabled": made.enabled,
                "created_at": made.created_at,
                "told": newest,
                "delivered": 0,
                "dead": 0,
                "failures": 0,
            }
            taken = select(func.count()).select_from(schema.webhook).where(webhooks.name == made.name)
            if (await connection.execute(taken)).scalar_one():
                raise UspError("webhook.exists", f"there is a webhook named {made.name}")
            await connection.execute(insert(schema.webhook).values(values))
        return made

    async def delete(self, name: str) -> bool:
        async with self._database.writing() as connection:
            done = await connection.execute(delete(schema.webhook).where(webhooks.name == name))
            return bool(done.rowcount)

    async def enable(self, name: str, enabled: bool) -> bool:
        """Also begins anew with what failed: it is tried at once."""
        async with self._database.writing() as connection:
            this = update(schema.webhook).where(webhooks.name == name)
            values = {"enabled": enabled, "failures": 0, "failing_since": None, "retry_at": None, "error": None}
            return bool((await connection.execute(this.values(values))).rowcount)

    async def told(self, hook: Webhook, number: int, *, delivered: int = 0, dead: int = 0) -> None:
        """As far as that event, and nothing is failing."""
        values: dict[str, Any] = {
            "told": number,
            "delivered": webhooks.delivered + delivered,
            "dead": webhooks.dead + dead,
            "failures": 0,
            "failing_since": None,
            "retry_at": None,
            "error": None,
        }
        async with self._database.writing() as connection:
            this = update(schema.webhook).where(webhooks.id == hook.id, webhooks.told < number)
            await connection.execute(this.values(values))

    async def failed(self, hook: Webhook, error: str, *, since: datetime, retry_at: datetime) -> None:
        values = {
            "failures": webhooks.failures + 1,
            "failing_since": since,
            "retry_at": retry_at,
            "error": error[:300],
        }
        async with self._database.writing() as connection:
            await connection.execute(update(schema.webhook).where(webhooks.id == hook.id).values(values))


def _webhook(row: Row[Any], secret: Secret) -> Webhook:
    return Webhook(
        id=row.id,
        name=row.name,
        url=row.url,
        secret=secret,
        wanted=row.wanted or {},
        enabled=row.enabled,
        created_at=row.created_at,
        told=row.told,
        delivered=row.delivered,
        dead=row.dead,
        failures=row.failures,
        failing_since=row.failing_since,
        retry_at=row.retry_at,
        error=row.error,
    )


def _place(id: str) -> str:
    return f"usp_webhook:{id}:secret"
