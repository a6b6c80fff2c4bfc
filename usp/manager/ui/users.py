"""Users: who administers the gateway, what they may do, and who was locked out. For administrators."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form
from fastapi.responses import Response
from pydantic import ValidationError

from usp.errors import UspError
from usp.manager.api.errors import STATUS
from usp.manager.api.users import ChangedUser, NewUser
from usp.manager.store.rows import Role
from usp.manager.ui import pages
from usp.manager.ui.account import told
from usp.manager.ui.visits import Changing, Visit
from usp.secret import Secret
from usp.wording import problems_of

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/users"

Text = Annotated[str, Form(max_length=4096)]
Box = Annotated[str, Form(max_length=10)]


@router.get("/users")
async def users(visit: Changing) -> Response:
    return await _all(visit)


async def _all(visit: Visit, error: UspError | None = None, given: dict[str, Any] | None = None) -> Response:
    app = visit.app
    return pages.page(
        visit,
        "users.html",
        "Users",
        at="users",
        status=STATUS[error.kind] if error else 200,
        users=await app.store.users.all(),
        factors=await app.store.factors.confirmed(),
        lockouts=[(each, each.locked(app.clock())) for each in await app.logins.lockouts(visit.actor)],
        error=error,
        given=given or {},
        roles=list(Role),
    )


@router.post("/users")
async def create(
    visit: Changing, username: Text = "", role: Text = "", full_name: Text = "", email: Text = "", password: Text = ""
) -> Response:
    given = {"username": username, "role": role, "full_name": full_name, "email": email}
    try:
        fields = checked(NewUser, {**given, "password": Secret(password) if password else None})
        await visit.app.administrators.add(
            fields.username,
            fields.role,
            password or None,
            author=visit.actor.name,
            peer=visit.actor.peer,
            full_name=fields.full_name,
            email=fields.email,
        )
    except UspError as error:
        told(error)
        return await _all(visit, error, given)
    return pages.onward(PATH, f"User {username} was made.")


def checked(model: Any, fields: dict[str, Any]) -> Any:
    """As the API has it; UspError request.invalid with what is wrong where."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise UspError("request.invalid", problems=problems_of(error)) from None


@router.get("/users/{key}")
async def user(visit: Changing, key: str) -> Response:
    return await _one(visit, key)


async def _one(visit: Visit, key: str, section: str = "", error: UspError | None = None) -> Response:
    found = await visit.app.administrators.find(key)
    return pages.page(
        visit,
        "user.html",
        found.name,
        at="users",
        status=STATUS[error.kind] if error else 200,
        user=found,
        factor=await visit.app.factors.of(found.id),
        logins=[login for login, owner in await visit.app.logins.all(visit.actor) if owner.id == found.id],
        tokens=await visit.app.store.users.tokens(found.id),
        section=section,
        error=error,
        roles=list(Role),
    )


@router.post("/users/{key}")
async def change(
    visit: Changing, key: str, role: Text = "", full_name: Text = "", email: Text = "", enabled: Box = ""
) -> Response:
    values = {"role": role, "full_name": full_name, "email": email, "enabled": enabled == "on"}
    try:
        fields = checked(ChangedUser, values)
        await visit.app.administrators.change(
            visit.actor,
            key,
            {"role": fields.role, "full_name": full_name, "email": email, "enabled": fields.enabled},
        )
    except UspError as error:
        told(error)
        return await _one(visit, key, "profile", error)
    return pages.onward(f"{PATH}/{key}", "The user was changed.")


@router.post("/users/{key}/password")
async def password(visit: Changing, key: str, new: Text = "") -> Response:
    try:
        await visit.app.administrators.change(visit.actor, key, {"password": new})
    except UspError as error:
        told(error)
        return await _one(visit, key, "password", error)
    return pages.onward(f"{PATH}/{key}", "The user has a new password, and was logged out everywhere.")


@router.post("/users/{key}/totp/reset")
async def reset_totp(visit: Changing, key: str) -> Response:
    await visit.app.factors.reset(visit.actor, await visit.app.administrators.find(key))
    return pages.onward(f"{PATH}/{key}", "The user logs in without a second factor now.")


@router.post("/users/{key}/delete")
async def delete(visit: Changing, key: str) -> Response:
    try:
        await visit.app.administrators.delete(visit.actor, key)
    except UspError as error:
        told(error)
        return await _one(visit, key, "profile", error)
    return pages.onward(PATH, "The user was deleted.")


@router.post("/users/{key}/logins/{id}/end")
async def end_login(visit: Changing, key: str, id: str) -> Response:
    await visit.app.logins.end(visit.actor, id)
    return pages.onward(f"{PATH}/{key}", "The login has ended.")


@router.post("/users/{key}/tokens/{id}/delete")
async def delete_token(visit: Changing, key: str, id: str) -> Response:
    await visit.app.administrators.delete_token(visit.actor, id)
    return pages.onward(f"{PATH}/{key}", "The token is worth nothing any more.")


@router.post("/lockouts/release")
async def release(visit: Changing, subject: Text = "") -> Response:
    await visit.app.logins.release(visit.actor, subject)
    return pages.onward(PATH, f"Nothing is held against {subject} any more.")
