"""Logging in and out; administrators and their API tokens. What is shown of a token is never the token itself, but for
the one answer that makes it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from usp.errors import UspError
from usp.manager.api.auth import Admin, Asking, TheApp, peer
from usp.manager.store import rows
from usp.manager.store.rows import Role
from usp.manager.users import MAX_PASSWORD
from usp.model import Model, Username
from usp.secret import Secret

router = APIRouter(tags=["access"])


def _text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a time as RFC 3339 writes it, such as 2026-01-01T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_text)]
"""pydantic would take numbers, too, and guess what they mean."""
TokenName = Annotated[str, Field(min_length=1, max_length=255)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Credentials(Body):
    """Who wants to log in."""

    username: str = Field(max_length=255)
    password: Secret


class LoggedIn(Model):
    """A login: its token is for the Authorization header."""

    token: str
    expires_at: datetime
    role: Role


class NewUser(Body):
    """An administrator to be."""

    username: Username
    password: Secret | None = Field(default=None, description="Without one the user can only have API tokens")
    role: Role = Role.READ_ONLY


class User(Model):
    """An administrator."""

    id: str
    username: str
    role: Role
    enabled: bool
    created_at: datetime

    @classmethod
    def of(cls, user: rows.User) -> User:
        return cls(id=user.id, username=user.name, role=user.role, enabled=user.enabled, created_at=user.created_at)


class Users(Model):
    """Administrators, by name."""

    items: list[User]


class NewToken(Body):
    """An API token to be."""

    name: TokenName
    username: Username | None = Field(default=None, description="Whose token; another's only as an administrator")
    role: Role | None = Field(default=None, description="Less than what its user may do, if wanted")
    expires_at: Moment | None = None


class Token(Model):
    """An API token."""

    id: str
    name: str
    user_id: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    token: str | None = Field(default=None, description="The token itself: only in the answer that makes it")

    @classmethod
    def of(cls, token: rows.Token, text: str | None = None) -> Token:
        return cls(
            id=token.id,
            name=token.name,
            user_id=token.user_id,
            role=token.role,
            created_at=token.created_at,
            expires_at=token.expires_at,
            used_at=token.used_at,
            token=text,
        )


class Tokens(Model):
    """API tokens, by name."""

    items: list[Token]


@router.post("/login", operation_id="login")
async def login(app: TheApp, request: Request, body: Credentials) -> LoggedIn:
    """Begin a login, which ends by POST /logout, by itself at `expires_at`, or when it was idle for too long."""
    password = body.password.reveal()
    if len(password) > MAX_PASSWORD:
        raise UspError("auth.invalid")
    token, made, user = await app.administrators.login(body.username, password, peer(request))
    return LoggedIn(token=token, expires_at=made.expires_at, role=user.role)


@router.post("/logout", operation_id="logout", status_code=204)
async def logout(app: TheApp, actor: Asking) -> None:
    """End the login whose token this is. An API token stays."""
    await app.administrators.logout(actor)


@router.get("/users", operation_id="list_users")
async def list_users(app: TheApp, actor: Admin) -> Users:
    """Administrators, by name."""
    return Users(items=[User.of(user) for user in await app.store.users.all()])


@router.post("/users", operation_id="create_user", status_code=201)
async def create_user(app: TheApp, actor: Admin, body: NewUser) -> User:
    """Make an administrator."""
    password = body.password.reveal() if body.password else None
    return User.of(await app.administrators.add(body.username, body.role, password, author=actor.name))


@router.get("/tokens", operation_id="list_tokens")
async def list_tokens(app: TheApp, actor: Asking) -> Tokens:
    """One's own; all of them as an administrator."""
    whose = None if actor.role is Role.ADMIN else actor.user_id
    return Tokens(items=[Token.of(token) for token in await app.store.users.tokens(whose)])


@router.post("/tokens", operation_id="create_token", status_code=201)
async def create_token(app: TheApp, actor: Asking, body: NewToken) -> Token:
    """Make an API token. The answer is the only one that shows it."""
    if body.username not in (None, actor.name):
        actor.require(Role.ADMIN)
    user = await app.administrators.find(body.username or actor.name)
    role = body.role if actor.role is Role.ADMIN else actor.role  # a token begets none that may do more
    token, text = await app.administrators.add_token(
        body.name, user, author=actor.name, role=role, expires_at=body.expires_at
    )
    return Token.of(token, text)


@router.delete("/tokens/{id}", operation_id="delete_token", status_code=204)
async def delete_token(app: TheApp, actor: Asking, id: str) -> Response:
    """Whoever uses that token is refused from now on."""
    await app.administrators.delete_token(actor, id)
    return Response(status_code=204)
