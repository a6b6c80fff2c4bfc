"""Administrators, their API tokens and their logins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Delete, Row, Table, Update, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.errors import UspError
from usp.manager.store import schema
from usp.manager.store.database import Database, in_turn
from usp.manager.store.rows import Login, Role, Token, User

users = schema.user.c
api_tokens = schema.token.c
logins = schema.login.c


class Users:
    def __init__(self, database: Database) -> None:
        self._database = database

    # Users

    async def add(self, user: User) -> None:
        """UspError `user.exists`."""
        await self._insert(schema.user, user, "user.exists", f"a user '{user.name}' exists")

    async def find(self, name: str) -> User | None:
        row = await self._row(schema.user, users.name == name)
        return None if row is None else _user(row)

    async def get(self, id: str) -> User:
        """UspError `user.not_found`."""
        row = await self._row(schema.user, users.id == id)
        if row is None:
            raise UspError("user.not_found")
        return _user(row)

    async def all(self) -> list[User]:
        """By name."""
        async with self._database.reading() as connection:
            return [_user(row) for row in await connection.execute(select(schema.user).order_by(users.name))]

    async def change(self, id: str, values: Mapping[str, Any]) -> User:
        """Write these columns, nothing else; UspError `user.not_found`, or `user.last_admin`."""
        async with self._database.writing() as connection:
            able = await _one_after_the_other(connection)
            done = await connection.execute(update(schema.user).where(users.id == id).values(dict(values)))
            if done.rowcount == 0:
                raise UspError("user.not_found")
            if able and not await _is_administered(connection):
                raise UspError("user.last_admin")
            return _user((await connection.execute(select(schema.user).where(users.id == id))).one())

    async def delete(self, id: str) -> None:
        """With tokens, logins and second factor; UspError `user.not_found`, or `user.last_admin`."""
        async with self._database.writing() as connection:
            able = await _one_after_the_other(connection)
            await connection.execute(delete(schema.token).where(api_tokens.user_id == id))
            await connection.execute(delete(schema.login).where(logins.user_id == id))
            for table in (schema.recovery_code, schema.factor, schema.identity):
                await connection.execute(delete(table).where(table.c.user_id == id))
            done = await connection.execute(delete(schema.user).where(users.id == id))
            if done.rowcount == 0:
                raise UspError("user.not_found")
            if able and not await _is_administered(connection):
                raise UspError("user.last_admin")

    # API tokens

    async def add_token(self, token: Token) -> None:
        """UspError `token.exists`: the user has one of that name."""
        await self._insert(schema.token, token, "token.exists", f"the user has a token '{token.name}' already")

    async def tokens(self, user_id: str | None = None) -> list[Token]:
        """By name; of one user or of all."""
        query = select(schema.token).order_by(api_tokens.name, api_tokens.id)
        if user_id is not None:
            query = query.where(api_tokens.user_id == user_id)
        async with self._database.reading() as connection:
            return [_token(row) for row in await connection.execute(query)]

    async def find_token(self, digest: str) -> tuple[Token, User] | None:
        """Expired ones too: the caller knows what time it is."""
        row, owner = await self._owned(schema.token, digest)
        return None if row is None or owner is None else (_token(row), _user(owner))

    async def token_used(self, id: str, *, at: datetime) -> None:
        await self._change(update(schema.token).where(api_tokens.id == id).values(used_at=at))

    async def delete_token(self, id: str) -> bool:
        """Whether there was one."""
        return bool(await self._change(delete(schema.token).where(api_tokens.id == id)))

    # Logins

    async def add_login(self, login: Login) -> None:
        """UspError `user.not_found`: the user was deleted meanwhile."""
        await self._insert(schema.login, login, "user.not_found", "")

    async def find_login(self, digest: str) -> tuple[Login, User] | None:
        """Expired ones too: the caller knows what time it is."""
        row, owner = await self._owned(schema.login, digest)
        return None if row is None or owner is None else (_login(row), _user(owner))

    async def login_used(self, id: str, *, at: datetime) -> None:
        await self._change(update(schema.login).where(logins.id == id).values(used_at=at))

    async def delete_login(self, id: str) -> bool:
        """Whether there was one."""
        return bool(await self._change(delete(schema.login).where(logins.id == id)))

    async def logins(self, user_id: str | None = None) -> list[tuple[Login, User]]:
        """The latest first; of one user or of all."""
        query = select(schema.login)
        if user_id is not None:
            query = query.where(logins.user_id == user_id)
        async with self._database.reading() as connection:
            found = {row.id: _user(row) for row in await connection.execute(select(schema.user))}
            rows = await connection.execute(query.order_by(logins.created_at.desc(), logins.id))
            return [(_login(row), found[row.user_id]) for row in rows]

    async def end_logins(self, *, user_id: str | None = None, but: str = "", expired_at: datetime | None = None) -> int:
        """Delete the logins of a user (`but` one), or those expired by that time; how many."""
        assert (user_id is None) != (expired_at is None)
        condition = logins.user_id == user_id if user_id is not None else logins.expires_at <= expired_at
        others = [logins.id != but] if but else []  # on Oracle nothing differs from '', which is NULL
        return await self._change(delete(schema.login).where(condition, *others))

    async def _row(self, table: Table, condition: Any) -> Row[Any] | None:
        async with self._database.reading() as connection:
            return (await connection.execute(select(table).where(condition))).first()

    async def _owned(self, table: Table, digest: str) -> tuple[Row[Any] | None, Row[Any] | None]:
        """The token or login with that digest, and its user."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(table).where(table.c.digest == digest))).first()
            if row is None:
                return None, None
            return row, (await connection.execute(select(schema.user).where(users.id == row.user_id))).first()

    async def _insert(self, table: Table, row: User | Token | Login, code: str, message: str) -> None:
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(table).values(_values(row)))
        except IntegrityError:
            raise UspError(code, message) from None

    async def _change(self, statement: Update | Delete) -> int:
        async with self._database.writing() as connection:
            done: CursorResult[Any] = await connection.execute(statement)
            return done.rowcount


async def _one_after_the_other(connection: AsyncConnection) -> bool:
    """Changes of users wait for each other: two administrators shall not demote one another at once."""
    await in_turn(connection)
    return await _is_administered(connection)


async def _is_administered(connection: AsyncConnection) -> bool:
    able = select(users.id).where(users.role == Role.ADMIN.value, users.enabled == True).limit(1)  # noqa: E712
    return (await connection.execute(able)).first() is not None


def _values(row: User | Token | Login) -> dict[str, Any]:
    values = asdict(row)
    if not isinstance(row, Login):
        values["role"] = row.role.value
    return values


def _user(row: Row[Any]) -> User:
    return User(**{**row._mapping, "role": Role(row.role)})


def _token(row: Row[Any]) -> Token:
    return Token(**{**row._mapping, "role": Role(row.role)})


def _login(row: Row[Any]) -> Login:
    return Login(**row._mapping)
