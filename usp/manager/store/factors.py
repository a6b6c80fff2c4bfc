"""Second factors of administrators: the sealed TOTP secret, the last time step that was used, and recovery codes.

What may be used once is taken by a conditional write, so that of two managers that are shown the same code at once only
one takes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.keys import Keys
from usp.manager.store.rows import Factor
from usp.secret import Secret

factors = schema.factor.c
codes = schema.recovery_code.c


class Factors:
    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def get(self, user_id: str) -> Factor | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(schema.factor).where(factors.user_id == user_id))).first()
            count = select(func.count()).select_from(schema.recovery_code).where(codes.user_id == user_id)
            left = (await connection.execute(count)).scalar_one()
        if row is None:
            return None
        vault = await self._keys.vault_for([row.sealed])
        secret = Secret(vault.open(row.sealed, _place(user_id)).decode())
        return Factor(user_id, secret, row.created_at, row.confirmed_at, row.last_step, left)

    async def confirmed(self) -> frozenset[str]:
        """The ids of users who have one."""
        async with self._database.reading() as connection:
            found = await connection.execute(select(factors.user_id).where(factors.confirmed_at.is_not(None)))
            return frozenset(found.scalars())

    async def put(self, factor: Factor) -> None:
        """In place of what the user has."""
        async with self._database.writing() as connection:
            await self.delete(factor.user_id)
            values = {
                "user_id": factor.user_id,
                "sealed": self._keys.vault.seal(factor.secret.reveal(), _place(factor.user_id)),
                "created_at": factor.created_at,
                "confirmed_at": factor.confirmed_at,
                "last_step": factor.last_step,
            }
            await connection.execute(insert(schema.factor).values(values))

    async def confirm(self, user_id: str, step: int, at: datetime) -> bool:
        """From now on logins need it. False: there is none that waits for that."""
        waiting = update(schema.factor).where(factors.user_id == user_id, factors.confirmed_at.is_(None))
        async with self._database.writing() as connection:
            done = await connection.execute(waiting.values(confirmed_at=at, last_step=step))
            return bool(done.rowcount)

    async def use_step(self, user_id: str, step: int) -> bool:
        """False: this time step, or a later one, was used."""
        unused = update(schema.factor).where(factors.user_id == user_id, factors.last_step < step)
        async with self._database.writing() as connection:
            done = await connection.execute(unused.values(last_step=step))
            return bool(done.rowcount)

    async def put_codes(self, user_id: str, digests: Iterable[str]) -> None:
        """In place of those that are left."""
        async with self._database.writing() as connection:
            await connection.execute(delete(schema.recovery_code).where(codes.user_id == user_id))
            for digest in digests:
                await connection.execute(insert(schema.recovery_code).values(user_id=user_id, digest=digest))

    async def use_code(self, user_id: str, digest: str) -> bool:
        """False: there is no such code, or not any more."""
        this = delete(schema.recovery_code).where(codes.user_id == user_id, codes.digest == digest)
        async with self._database.writing() as connection:
            done = await connection.execute(this)
            return bool(done.rowcount)

    async def delete(self, user_id: str) -> bool:
        """Whether there was one."""
        async with self._database.writing() as connection:
            await connection.execute(delete(schema.recovery_code).where(codes.user_id == user_id))
            done = await connection.execute(delete(schema.factor).where(factors.user_id == user_id))
            return bool(done.rowcount)


def _place(user_id: str) -> str:
    return f"usp_factor:{user_id}:secret"
