"""Administrators: passwords, logins, API tokens. (Partners' logins are Accounts, and have nothing to do with these.)

A bearer token is 256 random bits; the store keeps only its SHA-256. `ust_` begins a login's, `usp_` an API token's, so
that a leaked one is recognised. Passwords: `usp.passwords`; an unknown user costs the same as a wrong password.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from usp.errors import Problem, UspError
from usp.manager.store.rows import Event, Login, Role, Token, User
from usp.manager.store.store import Store
from usp.passwords import Passwords
from usp.settings import LoginSettings

LOGIN_PREFIX: Final = "ust_"
TOKEN_PREFIX: Final = "usp_"  # noqa: S105  (a prefix)
MIN_PASSWORD: Final = 12
MAX_PASSWORD: Final = 1024
TOUCH: Final = timedelta(seconds=60)
"""How exactly `used_at` is kept: a write for every request would be too much."""


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


def check_password(password: str) -> None:
    """UspError request.invalid when the password is not acceptable."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        msg = f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"
        raise UspError("request.invalid", problems=[Problem(("password",), msg)])


class Administrators:
    """Users, logins and tokens over the store. `clock` gives the time in UTC."""

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
        self.passwords = passwords or Passwords()

    def close(self) -> None:
        self.passwords.close()

    async def add(self, name: str, role: Role, password: str | None, *, author: str) -> User:
        if password is not None:
            check_password(password)
        now = self._clock()
        hashed = None if password is None else await self.passwords.hash(password)
        user = User(id=str(uuid4()), name=name, role=role, password_hash=hashed, created_at=now, updated_at=now)
        await self._store.users.add(user)
        await self._note(author, "user.create", name)
        return user

    async def set_password(self, name: str, password: str, *, author: str) -> None:
        """Ends all logins of that user, too."""
        check_password(password)
        user = await self.find(name)
        hashed = await self.passwords.hash(password)
        await self._store.users.update(replace(user, password_hash=hashed, updated_at=self._clock()))
        await self._store.users.end_logins(user_id=user.id)
        await self._note(author, "user.password", name)

    async def find(self, name: str) -> User:
        user = await self._store.users.find(name)
        if user is None:
            raise UspError("user.not_found", f"there is no user '{name}'")
        return user

    async def add_token(
        self, name: str, user: User, *, author: str, role: Role | None = None, expires_at: datetime | None = None
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
        await self._store.users.add_token(token)
        await self._note(author, "token.create", name)
        return token, text

    async def delete_token(self, actor: Actor, id: str) -> None:
        """One's own, or anybody's as an administrator; UspError token.not_found."""
        whose = None if actor.role is Role.ADMIN else actor.user_id
        token = next((token for token in await self._store.users.tokens(whose) if token.id == id), None)
        if token is None or not await self._store.users.delete_token(id):
            raise UspError("token.not_found")
        await self._note(actor.name, "token.delete", token.name, actor.peer)

    async def login(self, name: str, password: str, peer: str) -> tuple[str, Login, User]:
        """A bearer token; UspError auth.invalid, whatever is wrong."""
        user = await self._store.users.find(name)
        usable = user is not None and user.enabled
        right = await self.passwords.verify(user.password_hash if user and usable else None, password)
        if user is None or not right:
            if user is not None:
                await self._store.users.login_failed(user.id, locked_until=None)
            await self._note(name, "login.failed", name, peer)
            raise UspError("auth.invalid")
        now = self._clock()
        text = LOGIN_PREFIX + secrets.token_urlsafe(32)
        login = Login(
            id=str(uuid4()),
            user_id=user.id,
            digest=digest(text),
            peer=peer,
            created_at=now,
            used_at=now,
            expires_at=now + timedelta(seconds=self._settings.absolute_timeout),
        )
        await self._store.users.add_login(login)
        await self._store.users.login_succeeded(user.id)
        await self._note(name, "login.succeeded", name, peer)
        return text, login, user

    async def logout(self, actor: Actor) -> None:
        if actor.login_id:
            await self._store.users.delete_login(actor.login_id)
            await self._note(actor.name, "logout", actor.name, actor.peer)

    async def authenticate(self, bearer: str, peer: str) -> Actor:
        """Whose token that is; UspError auth.invalid."""
        actor = None
        if bearer.startswith(TOKEN_PREFIX):
            actor = await self._by_token(bearer, peer)
        elif bearer.startswith(LOGIN_PREFIX):
            actor = await self._by_login(bearer, peer)
        if actor is None:
            raise UspError("auth.invalid", "the token is not valid, or no longer")
        return actor

    async def _by_token(self, bearer: str, peer: str) -> Actor | None:
        found = await self._store.users.find_token(digest(bearer))
        if found is None:
            return None
        token, user = found
        now = self._clock()
        if not user.enabled or (token.expires_at is not None and token.expires_at <= now):
            return None
        if token.used_at is None or now - token.used_at > TOUCH:
            await self._store.users.token_used(token.id, at=now)
        return Actor(user.name, token.role if user.role is Role.ADMIN else user.role, peer, user.id)

    async def _by_login(self, bearer: str, peer: str) -> Actor | None:
        found = await self._store.users.find_login(digest(bearer))
        if found is None:
            return None
        login, user = found
        now = self._clock()
        idle = timedelta(seconds=self._settings.idle_timeout)
        if not user.enabled or login.expires_at <= now or login.used_at + idle <= now:
            await self._store.users.delete_login(login.id)
            return None
        if now - login.used_at > min(TOUCH, idle / 4):
            await self._store.users.login_used(login.id, at=now)
        return Actor(user.name, user.role, peer, user.id, login.id)

    async def _note(self, author: str, action: str, target: str, peer: str = "") -> None:
        await self._store.events.add(Event(at=self._clock(), author=author, action=action, target=target, peer=peer))
