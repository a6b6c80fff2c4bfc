"""Administrators, their API tokens and their logins."""

from __future__ import annotations

from datetime import datetime

from usp.manager.store.rows import Login, Token, User


class Users:
    async def add(self, user: User) -> None:
        """UspError `user.exists`."""
        raise NotImplementedError

    async def find(self, name: str) -> User | None:
        raise NotImplementedError

    async def get(self, id: str) -> User:
        """UspError `user.not_found`."""
        raise NotImplementedError

    async def all(self) -> list[User]:
        """By name."""
        raise NotImplementedError

    async def update(self, user: User) -> None:
        """Write all fields of the user with that id; UspError `user.not_found` or `user.exists`."""
        raise NotImplementedError

    async def delete(self, id: str) -> None:
        """With tokens and logins; UspError `user.not_found`."""
        raise NotImplementedError

    async def login_failed(self, id: str, *, locked_until: datetime | None) -> int:
        """Counts one failure (atomically) and says how many there are now."""
        raise NotImplementedError

    async def login_succeeded(self, id: str) -> None:
        """Forgets the failures."""
        raise NotImplementedError

    async def add_token(self, token: Token) -> None:
        raise NotImplementedError

    async def tokens(self, user_id: str | None = None) -> list[Token]:
        """By name; of one user or of all."""
        raise NotImplementedError

    async def find_token(self, digest: str) -> tuple[Token, User] | None:
        """Expired ones too: the caller knows what time it is."""
        raise NotImplementedError

    async def token_used(self, id: str, *, at: datetime) -> None:
        raise NotImplementedError

    async def delete_token(self, id: str) -> bool:
        """Whether there was one."""
        raise NotImplementedError

    async def add_login(self, login: Login) -> None:
        raise NotImplementedError

    async def find_login(self, digest: str) -> tuple[Login, User] | None:
        """Expired ones too: the caller knows what time it is."""
        raise NotImplementedError

    async def login_used(self, id: str, *, at: datetime) -> None:
        raise NotImplementedError

    async def delete_login(self, id: str) -> bool:
        raise NotImplementedError

    async def end_logins(self, *, user_id: str | None = None, expired_at: datetime | None = None) -> int:
        """Delete the logins of a user, or those expired by that time; how many."""
        raise NotImplementedError
