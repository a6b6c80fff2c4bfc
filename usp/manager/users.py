"""Administrators and their API tokens. (Partners' logins are Accounts, and have nothing to do with these.)

A token is 256 random bits behind `usp_`, so that a leaked one is recognised; the store keeps only its SHA-256. It may
do what its user may at the moment of use, or less. Whoever is not an administrator may change nothing but what
`OWN` says of themselves.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from usp.errors import UspError
from usp.manager import lockout, policy
from usp.manager.store.rows import Event, Role, Token, User
from usp.manager.store.store import Store
from usp.passwords import Passwords
from usp.settings import LoginSettings

TOKEN_PREFIX: Final = "usp_"  # noqa: S105  (a prefix)
OWN: Final = frozenset({"full_name", "email"})
QUEUE: Final = 32
"""So many passwords may wait to be hashed; more logins at once are refused."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, from where, and what they may do."""

    name: str
    role: Role
    peer: str = ""
    user_id: str = ""
    login_id: str = ""

    def require(self, role: Role) -> None:
        """UspError auth.forbidden unless the role suffices."""
        if role is Role.ADMIN and self.role is not Role.ADMIN:
            raise UspError("auth.forbidden", f"{self.name} may read but not change this")


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Administrators:
    """Users and tokens over the store. `clock` gives the time in UTC. What is done leaves an event."""

    def __init__(
        self,
        store: Store,
        settings: LoginSettings,
        clock: Callable[[], datetime],
        passwords: Passwords | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self.passwords = passwords or Passwords(queue=QUEUE)

    def close(self) -> None:
        self.passwords.close()

    # Users

    async def add(
        self,
        name: str,
        role: Role,
        password: str | None,
        *,
        author: str,
        peer: str = "",
        full_name: str = "",
        email: str = "",
        enabled: bool = True,
    ) -> User:
        hashed = None if password is None else await self._hashed(password, name)
        now = self._clock()
        user = User(
            id=str(uuid4()),
            name=name,
            role=role,
            password_hash=hashed,
            created_at=now,
            updated_at=now,
            full_name=full_name,
            email=email,
            enabled=enabled,
        )
        async with self._store.transaction():
            await self._store.users.add(user)
            await self._note(author, "user.create", name, peer, role=role)
        return user

    async def change(self, actor: Actor, key: str, values: Mapping[str, Any]) -> User:
        """Change these fields of a user: one's own name and e-mail address, or anything as an administrator.

        A new password, or none any more, ends the user's logins, and so does disabling; UspError user.last_admin.
        """
        user = await self.find(key)
        if user.id != actor.user_id or values.keys() - OWN:
            actor.require(Role.ADMIN)
        password = values.get("password")
        columns = {name: value for name, value in values.items() if name != "password"}
        if "password" in values:
            columns["password_hash"] = None if password is None else await self._hashed(password, user.name)
        async with self._store.transaction():
            changed = await self._store.users.change(user.id, {**columns, "updated_at": self._clock()})
            if "password" in values or not changed.enabled:
                await self._store.users.end_logins(user_id=user.id)
            await self._note(actor.name, "user.update", user.name, actor.peer, fields=sorted(values))
        return changed

    async def delete(self, actor: Actor, key: str) -> None:
        """With tokens and logins; UspError user.last_admin."""
        actor.require(Role.ADMIN)
        user = await self.find(key)
        async with self._store.transaction():
            await self._store.users.delete(user.id)
            await self._store.lockouts.forget(lockout.user_subject(user.name))
            await self._note(actor.name, "user.delete", user.name, actor.peer)

    async def set_password(
        self, name: str, password: str, *, author: str, peer: str = "", keep_login: str = ""
    ) -> None:
        """Ends all logins of that user (but for `keep_login`), and what was counted against the name."""
        user = await self.find(name)
        hashed = await self._hashed(password, user.name)
        async with self._store.transaction():
            await self._store.users.change(user.id, {"password_hash": hashed, "updated_at": self._clock()})
            await self._store.users.end_logins(user_id=user.id, but=keep_login)
            await self._store.lockouts.forget(lockout.user_subject(user.name))
            await self._note(author, "user.password", user.name, peer)

    async def find(self, key: str) -> User:
        """By name or id; UspError user.not_found."""
        user = await self._store.users.find(key)
        if user is None:
            user = next((one for one in await self._store.users.all() if one.id == key), None)
        if user is None:
            raise UspError("user.not_found", f"there is no user '{key}'")
        return user

    async def _hashed(self, password: str, username: str) -> str:
        """UspError request.invalid when the password is not acceptable."""
        found = policy.problems(password, username, self._settings.password_length)
        if found:
            raise UspError("request.invalid", problems=found)
        return await self.passwords.hash(password)

    # API tokens

    async def tokens(self, actor: Actor) -> list[Token]:
        """One's own; all of them as an administrator."""
        return await self._store.users.tokens(None if actor.role is Role.ADMIN else actor.user_id)

    async def add_token(
        self,
        name: str,
        user: User,
        *,
        author: str,
        peer: str = "",
        role: Role | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """The token's row and the token itself, which is shown once. It may do what its user may, or less."""
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        granted = user.role if role is None or user.role is not Role.ADMIN else role
        token = Token(
            id=str(uuid4()),
            name=name,
            user_id=user.id,
            digest=digest(text),
            role=granted,
            created_at=self._clock(),
            expires_at=expires_at,
        )
        async with self._store.transaction():
            await self._store.users.add_token(token)
            await self._note(author, "token.create", name, peer, user=user.name, role=granted)
        return token, text

    async def delete_token(self, actor: Actor, id: str) -> None:
        """One's own, or anybody's as an administrator; UspError token.not_found."""
        token = next((token for token in await self.tokens(actor) if token.id == id), None)
        async with self._store.transaction():
            if token is None or not await self._store.users.delete_token(id):
                raise UspError("token.not_found")
            await self._note(actor.name, "token.delete", token.name, actor.peer)

    async def _note(self, author: str, action: str, target: str, peer: str = "", **detail: Any) -> None:
        event = Event(at=self._clock(), author=author, action=action, target=target, peer=peer, detail=detail)
        await self._store.events.add(event)
