"""One's own account: name, password, second factor, logins and tokens. For everybody, whatever their role."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Form
from fastapi.responses import Response
from pydantic import ValidationError

from usp.errors import Kind, Problem, UspError
from usp.manager.api.access import Profile
from usp.manager.api.errors import STATUS
from usp.manager.policy import MAX_PASSWORD
from usp.manager.store.rows import Role
from usp.manager.ui import pages
from usp.manager.ui.login import shown
from usp.manager.ui.visits import Visit, Visiting
from usp.wording import problems_of

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/account"
TOKEN_DAYS: Final = (30, 90, 365)

Text = Annotated[str, Form(max_length=4096)]


def known(password: str) -> str:
    """One that is too long is one that nobody has."""
    return password if len(password) <= MAX_PASSWORD else ""


@router.get("/account")
async def account(visit: Visiting) -> Response:
    return await _shown(visit)


async def _shown(visit: Visit, section: str = "", error: UspError | None = None, token: str = "") -> Response:
    """The page; `error` is told in that section, a new token once."""
    app, actor = visit.app, visit.actor
    logins = [login for login, user in await app.logins.all(actor) if user.id == actor.user_id]
    return pages.page(
        visit,
        "account.html",
        "Own account",
        at="account",
        status=STATUS[error.kind] if error else 200,
        user=await app.store.users.get(actor.user_id),
        factor=await app.factors.of(actor.user_id),
        logins=logins,
        tokens=await app.store.users.tokens(actor.user_id),
        days=TOKEN_DAYS,
        section=section,
        error=error,
        token=token,
        mandatory=app.logins.needs_factor(actor),
    )


def told(error: UspError) -> None:
    """Goes on when the page can say what is wrong."""
    if error.kind not in (Kind.INVALID, Kind.CONFLICT, Kind.NOT_FOUND, Kind.LIMITED):
        raise error


@router.post("/account/profile")
async def profile(visit: Visiting, full_name: Text = "", email: Text = "") -> Response:
    try:
        fields = Profile(full_name=full_name, email=email)
    except ValidationError as error:
        return await _shown(visit, "profile", UspError("request.invalid", problems=problems_of(error)))
    await visit.app.administrators.change(
        visit.actor, visit.actor.user_id, {"full_name": fields.full_name, "email": fields.email}
    )
    return pages.onward(PATH, "Your name and e-mail address were changed.")


@router.post("/account/password")
async def password(visit: Visiting, current: Text = "", new: Text = "", again: Text = "") -> Response:
    try:
        if new != again:
            raise UspError("request.invalid", problems=[Problem(("again",), "is not the same as the new password")])
        await visit.app.logins.change_password(visit.actor, known(current), new)
    except UspError as error:
        told(error)
        return await _shown(visit, "password", error)
    return pages.onward(PATH, "Your password was changed. Your other logins have ended.")


# --- the second factor ---


@router.post("/account/totp")
async def enrol(visit: Visiting, password: Text = "") -> Response:
    try:
        await visit.app.factors.begin(visit.actor, known(password))
    except UspError as error:
        told(error)
        return await _shown(visit, "totp", error)
    return await _enrolling(visit)


async def _enrolling(visit: Visit, error: UspError | None = None) -> Response:
    secret, uri = await visit.app.factors.enrolling(visit.actor)
    return pages.page(
        visit,
        "totp.html",
        "Second factor",
        at="account",
        status=STATUS[error.kind] if error else 200,
        error=error,
        **shown(secret, uri),
    )


@router.post("/account/totp/confirm")
async def confirm(visit: Visiting, code: Text = "") -> Response:
    try:
        codes = await visit.app.factors.confirm(visit.actor, code)
    except UspError as error:
        told(error)
        if error.kind is Kind.INVALID:
            return await _enrolling(visit, error)
        return await _shown(visit, "totp", error)
    return _codes(visit, codes)


@router.post("/account/totp/codes")
async def renew_codes(visit: Visiting, password: Text = "") -> Response:
    try:
        codes = await visit.app.factors.renew_codes(visit.actor, known(password))
    except UspError as error:
        told(error)
        return await _shown(visit, "totp", error)
    return _codes(visit, codes)


def _codes(visit: Visit, codes: object) -> Response:
    return pages.page(visit, "codes.html", "Recovery codes", at="account", codes=codes)


@router.post("/account/totp/remove")
async def remove(visit: Visiting, password: Text = "") -> Response:
    try:
        await visit.app.factors.remove(visit.actor, known(password))
    except UspError as error:
        told(error)
        return await _shown(visit, "totp", error)
    return pages.onward(PATH, "You log in with your password alone now.")


# --- logins and tokens ---


@router.post("/account/logins/{id}/end")
async def end_login(visit: Visiting, id: str) -> Response:
    await visit.app.logins.end(visit.actor, id)
    return pages.onward(PATH, "The login has ended.")


@router.post("/account/tokens")
async def add_token(visit: Visiting, name: Text = "", days: int = Form(default=90), role: Text = "") -> Response:
    visit.actor.require(Role.ADMIN)
    try:
        if not (name.strip() and name.isprintable() and len(name) <= 255):
            raise UspError("request.invalid", problems=[Problem(("name",), "must be 1 to 255 printable characters")])
        user = await visit.app.store.users.get(visit.actor.user_id)
        _, text = await visit.app.administrators.add_token(
            name,
            user,
            author=visit.actor.name,
            peer=visit.actor.peer,
            role=Role.READ_ONLY if role == Role.READ_ONLY else None,
            expires_at=visit.app.clock() + timedelta(days=min(max(days, 1), 3650)),
        )
    except UspError as error:
        told(error)
        return await _shown(visit, "tokens", error)
    return await _shown(visit, "tokens", token=text)


@router.post("/account/tokens/{id}/delete")
async def delete_token(visit: Visiting, id: str) -> Response:
    await visit.app.administrators.delete_token(visit.actor, id)
    return pages.onward(PATH, "The token is worth nothing any more.")
