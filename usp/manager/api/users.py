"""Administrators and their API tokens. What is shown of a token is never the token itself, but for the one answer that
makes it."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BeforeValidator, Field, StrictBool

from usp.errors import Problem, UspError
from usp.manager.api.access import Body, Email, FullName, given
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Paging, cut
from usp.manager.store import rows
from usp.manager.store.rows import Role
from usp.model import Model, Username
from usp.secret import Secret

router = APIRouter()


def _text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a time as RFC 3339 writes it, such as 2026-01-01T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_text)]
"""pydantic would take numbers, too, and guess what they mean."""
TokenName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]


class NewUser(Body):
    """An administrator to be."""

    username: Username
    password: Secret | None = Field(default=None, description="Without one the user can only have API tokens")
    role: Role = Role.READ_ONLY
    full_name: FullName = ""
    email: Email = ""
    enabled: StrictBool = True


class ChangedUser(Body):
    """What is left out stays."""

    password: Secret | None = Field(default=None, description="null: only API tokens from now on")
    role: Role = Role.READ_ONLY
    full_name: FullName = ""
    email: Email = ""
    enabled: StrictBool = True


class User(Model):
    """An administrator."""

    id: str
    username: str
    role: Role
    full_name: str
    email: str
    enabled: bool
    has_password: bool
    has_totp: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, user: rows.User, factors: Container[str]) -> User:
        return cls(
            id=user.id,
            username=user.name,
            role=user.role,
            full_name=user.full_name,
            email=user.email,
            enabled=user.enabled,
            has_password=user.password_hash is not None,
            has_totp=user.id in factors,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


class Users(Model):
    """Administrators, by name."""

    items: list[User]
    next: str | None


class NewToken(Body):
    """An API token to be."""

    name: TokenName
    username: Username | None = Field(default=None, description="Whose token it is; else one's own")
    role: Role | None = Field(default=None, description="Less than what its user may do, if wanted")
    expires_at: Moment | None = None


class Token(Model):
    """An API token."""

    id: str
    name: str
    user_id: str
    username: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    token: str | None = Field(default=None, description="The token itself: only in the answer that makes it")

    @classmethod
    def of(cls, token: rows.Token, username: str, text: str | None = None) -> Token:
        return cls(
            id=token.id,
            name=token.name,
            user_id=token.user_id,
            username=username,
            role=token.role,
            created_at=token.created_at,
            expires_at=token.expires_at,
            used_at=token.used_at,
            token=text,
        )


class Tokens(Model):
    """API tokens, by name."""

    items: list[Token]
    next: str | None


@router.get("/users", tags=["users"], operation_id="list_users")
async def list_users(app: TheApp, actor: Admin, query: Paging) -> Users:
    """Administrators, by name."""
    page, following = cut(await app.store.users.all(), lambda user: user.name, query)
    factors = await app.store.factors.confirmed()
    return Users(items=[User.of(user, factors) for user in page], next=following)


@router.post("/users", tags=["users"], operation_id="create_user", status_code=201)
async def create_user(app: TheApp, actor: Admin, body: NewUser) -> User:
    """Make an administrator."""
    password = body.password.reveal() if body.password else None
    made = await app.administrators.add(
        body.username,
        body.role,
        password,
        author=actor.name,
        peer=actor.peer,
        full_name=body.full_name,
        email=body.email,
        enabled=body.enabled,
    )
    return User.of(made, ())


@router.get("/users/{name}", tags=["users"], operation_id="get_user")
async def get_user(app: TheApp, actor: Admin, name: str) -> User:
    """An administrator, by name or id."""
    return User.of(await app.administrators.find(name), await app.store.factors.confirmed())


@router.patch("/users/{name}", tags=["users"], operation_id="change_user")
async def change_user(app: TheApp, actor: Admin, name: str, body: ChangedUser) -> User:
    """A new password and disabling end the user's logins. The last enabled administrator stays one."""
    changed = await app.administrators.change(actor, name, given(body))
    return User.of(changed, await app.store.factors.confirmed())


@router.delete("/users/{name}", tags=["users"], operation_id="delete_user", status_code=204)
async def delete_user(app: TheApp, actor: Admin, name: str) -> Response:
    """With their tokens and logins; not the last enabled administrator."""
    await app.administrators.delete(actor, name)
    return Response(status_code=204)


@router.get("/tokens", tags=["tokens"], operation_id="list_tokens")
async def list_tokens(app: TheApp, actor: Asking, query: Paging) -> Tokens:
    """One's own, by name; all of them as an administrator."""
    names = {user.id: user.name for user in await app.store.users.all()}
    page, following = cut(await app.administrators.tokens(actor), lambda token: f"{token.name} {token.id}", query)
    return Tokens(items=[Token.of(token, names.get(token.user_id, "")) for token in page], next=following)


@router.post("/tokens", tags=["tokens"], operation_id="create_token", status_code=201)
async def create_token(app: TheApp, actor: Admin, body: NewToken) -> Token:
    """Make an API token. The answer is the only one that shows it."""
    if body.expires_at is not None and body.expires_at <= app.clock():
        raise UspError("request.invalid", problems=[Problem(("expires_at",), "is not in the future")])
    user = await app.administrators.find(body.username or actor.user_id)
    token, text = await app.administrators.add_token(
        body.name, user, author=actor.name, peer=actor.peer, role=body.role, expires_at=body.expires_at
    )
    return Token.of(token, user.name, text)


@router.delete("/tokens/{id}", tags=["tokens"], operation_id="delete_token", status_code=204)
async def delete_token(app: TheApp, actor: Asking, id: str) -> Response:
    """One's own, or anybody's as an administrator: it is worth nothing from then on."""
    await app.administrators.delete_token(actor, id)
    return Response(status_code=204)
