"""Logging in and out, what everybody may know and change of themselves, logins that are there, and lock-outs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from usp.manager.api.auth import Admin, Asking, TheApp, peer
from usp.manager.api.lists import Paging, cut
from usp.manager.policy import MAX_PASSWORD
from usp.manager.store.rows import Role
from usp.model import Model
from usp.secret import Secret

router = APIRouter(tags=["access"])


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be shown")
    return text


FullName = Annotated[str, Field(max_length=255, description="For people"), AfterValidator(_printable)]
Email = Annotated[str, Field(max_length=254, pattern=r"^([^@\s<>\"]+@[^@\s<>\"]+)?$", description='"" for none')]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def given(body: Body) -> dict[str, Any]:
    """The fields that the request has; of secrets the text."""
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in fields.items()}


class Credentials(Body):
    """Who wants to log in."""

    username: str = Field(max_length=255)
    password: Secret
    totp: Secret | None = Field(
        default=None, description="A code of the second factor, when the user has one", examples=[None]
    )


def known(password: Secret) -> str:
    """A password that somebody gives; one that is too long is one that nobody has, and costs the same."""
    text = password.reveal()
    return text if len(text) <= MAX_PASSWORD else ""


class LoggedIn(Model):
    """A login: its token is for the Authorization header."""

    token: str
    expires_at: datetime
    role: Role


class Me(Model):
    """Who asks. `role` is what this token may do, which may be less than the user's role."""

    id: str
    username: str
    role: Role
    full_name: str
    email: str
    login: str | None = Field(description="Which of one's logins asks; null with an API token")


class Profile(Body):
    """What everybody may change of themselves; what is left out stays."""

    full_name: FullName = ""
    email: Email = ""


class NewPassword(Body):
    """The present password and the one to be."""

    current: Secret
    password: Secret


class Login(Model):
    """A login of an administrator."""

    id: str
    username: str
    peer: str = Field(description="From where")
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    current: bool = Field(description="Whether it is the one that asks")


class Logins(Model):
    """Logins, the latest first."""

    items: list[Login]
    next: str | None


class Lockout(Model):
    """Failed logins of a user name or from an address."""

    subject: str
    failures: int
    failed_at: datetime
    locked_until: datetime | None = Field(description="No login is tried before; null: not locked out")


class Lockouts(Model):
    """Failed logins, the latest first."""

    items: list[Lockout]
    next: str | None


@router.post("/login", operation_id="login")
async def login(app: TheApp, request: Request, body: Credentials) -> LoggedIn:
    """Begin a login, which ends by POST /logout, by itself at `expires_at`, or when it was idle for too long.

    After too many failures of the user or from the address none is tried for a while: 429, with `Retry-After`. A user
    with a second factor gives its code, too: 401 with the code `auth.totp` says so once the password is right.
    """
    code = body.totp.reveal() if body.totp else ""
    token, made, user = await app.logins.login(body.username, known(body.password), peer(request), code)
    return LoggedIn(token=token, expires_at=made.expires_at, role=user.role)


@router.post("/logout", operation_id="logout", status_code=204)
async def logout(app: TheApp, actor: Asking) -> None:
    """End the login whose token this is. An API token stays."""
    await app.logins.logout(actor)


@router.get("/me", operation_id="get_me")
async def get_me(app: TheApp, actor: Asking) -> Me:
    """Who asks, and what they may do."""
    user = await app.store.users.get(actor.user_id)
    return Me(
        id=user.id,
        username=user.name,
        role=actor.role,
        full_name=user.full_name,
        email=user.email,
        login=actor.login_id or None,
    )


@router.patch("/me", operation_id="change_me")
async def change_me(app: TheApp, actor: Asking, body: Profile) -> Me:
    """One's own name and e-mail address; what is left out stays."""
    await app.administrators.change(actor, actor.user_id, given(body))
    return await get_me(app, actor)


@router.post("/me/password", operation_id="change_my_password", status_code=204)
async def change_my_password(app: TheApp, actor: Asking, body: NewPassword) -> None:
    """Ends all other logins of oneself."""
    await app.logins.change_password(actor, known(body.current), body.password.reveal())


@router.get("/logins", operation_id="list_logins")
async def list_logins(app: TheApp, actor: Asking, query: Paging) -> Logins:
    """One's own, the latest first; all of them as an administrator."""
    page, following = cut(
        await app.logins.all(actor),
        lambda pair: f"{pair[0].created_at.isoformat()} {pair[0].id}",
        query,
        latest_first=True,
    )
    return Logins(
        next=following,
        items=[
            Login(
                id=made.id,
                username=user.name,
                peer=made.peer,
                created_at=made.created_at,
                used_at=made.used_at,
                expires_at=made.expires_at,
                current=made.id == actor.login_id,
            )
            for made, user in page
        ],
    )


@router.delete("/logins/{id}", operation_id="end_login", status_code=204)
async def end_login(app: TheApp, actor: Asking, id: str) -> Response:
    """One's own, or anybody's as an administrator: its token is worth nothing from then on."""
    await app.logins.end(actor, id)
    return Response(status_code=204)


@router.get("/lockouts", operation_id="list_lockouts")
async def list_lockouts(app: TheApp, actor: Admin, query: Paging) -> Lockouts:
    """User names and addresses that failed to log in of late, the latest first."""
    now = app.clock()
    page, following = cut(
        await app.logins.lockouts(actor),
        lambda each: f"{each.failed_at.isoformat()} {each.subject}",
        query,
        latest_first=True,
    )
    return Lockouts(
        next=following,
        items=[
            Lockout(
                subject=each.subject,
                failures=each.failures,
                failed_at=each.failed_at,
                locked_until=each.locked_until if each.locked(now) else None,
            )
            for each in page
        ],
    )


@router.delete("/lockouts/{subject:path}", operation_id="release_lockout", status_code=204)
async def release_lockout(app: TheApp, actor: Admin, subject: str) -> Response:
    """Forget what was counted against `user:NAME` or `address:ADDRESS`."""
    await app.logins.release(actor, subject)
    return Response(status_code=204)
