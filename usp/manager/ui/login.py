"""Logging in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import segno
from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from markupsafe import Markup

from usp.errors import Kind, UspError
from usp.manager.api.errors import STATUS
from usp.manager.app import App
from usp.manager.policy import MAX_PASSWORD
from usp.manager.store.rows import User
from usp.manager.ui import pages
from usp.manager.ui.visits import COOKIE, TheApp, Visiting, peer, the_app
from usp.manager.users import Actor
from usp.secret import Secret

router = APIRouter(include_in_schema=False)

START: Final = "/ui/status"

HALF: Final = "__Host-usp-half"
HALVES: Final = {"auth.totp": "/ui/login/code", "auth.enrol": "/ui/login/enrol"}
"""What is said of half a login -> where the other half is."""
HALF_SECONDS: Final = 300

Text = Annotated[str, Form(max_length=4096)]


def inside(path: str) -> str:
    """Where to go after the login: a page of ours, whatever the address bar says."""
    ours = path.startswith("/ui/") and path.isprintable() and "\\" not in path and not path.startswith("/ui/login")
    return path if ours else START


@router.get("/login")
async def login_page(request: Request, next: str = "") -> Response:
    return form(request, next)


@router.post("/login")
async def login(request: Request, app: TheApp, username: Text = "", password: Text = "", next: Text = "") -> Response:
    if len(password) > MAX_PASSWORD:
        password = ""  # which nobody has, and which costs the same
    try:
        token, _, _ = await app.logins.login(username[:255], password, peer(request))
    except UspError as error:
        if error.code in HALVES:
            return await _half(app, error.code, username, inside(next), peer(request))
        if error.kind not in (Kind.UNAUTHENTICATED, Kind.LIMITED, Kind.UNAVAILABLE):
            raise
        return form(request, next, error=error, username=username)
    return entered(app, token, inside(next))


def entered(app: App, token: str, path: str, page: Response | None = None) -> Response:
    """Logged in: on to that path, or with a page in between."""
    answer = page or pages.onward(path)
    seconds = int(app.settings.login.absolute_timeout)
    answer.set_cookie(COOKIE, token, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")
    answer.delete_cookie(HALF, path="/", secure=True, httponly=True, samesite="strict")
    return answer


# --- the second factor ---


async def _half(app: App, why: str, username: str, path: str, peer: str) -> Response:
    """The password was right: a sealed cookie says so for a few minutes, on every manager."""
    user = await app.administrators.find(username)
    if why == "auth.enrol":
        await app.factors.start(actor_of(user, peer))
    facts = {"user": user.name, "as_of": user.updated_at.isoformat(), "next": path}
    answer = pages.onward(HALVES[why])
    text = app.tickets.seal(why, facts, HALF_SECONDS)
    answer.set_cookie(HALF, text, max_age=HALF_SECONDS, path="/", secure=True, httponly=True, samesite="strict")
    return answer


async def _begun(request: Request, app: App, why: str = "auth.totp") -> tuple[Mapping[str, str], User] | None:
    """Whose login waits for its other half; None: nobody's, or something was changed of the user meanwhile."""
    facts = await app.tickets.open(why, request.cookies.get(HALF, ""))
    user = await app.store.users.find(facts["user"]) if facts else None
    return (facts, user) if facts and user and user.updated_at.isoformat() == facts["as_of"] else None


def actor_of(user: User, peer: str) -> Actor:
    return Actor(user.name, user.role, peer, user.id)


@router.get("/login/code")
async def code_page(request: Request, app: TheApp) -> Response:
    if await _begun(request, app) is None:
        return pages.onward("/ui/login")
    return pages.framed(app, request, "login_code.html", "Log in", error=None)


@router.post("/login/code")
async def code(request: Request, app: TheApp, code: Text = "") -> Response:
    begun = await _begun(request, app)
    if begun is None:
        return _late()
    facts, _ = begun
    try:
        token, _, _ = await app.logins.finish(facts["user"], code, peer(request))
    except UspError as error:
        if error.kind not in (Kind.UNAUTHENTICATED, Kind.LIMITED):
            raise
        status = 401 if error.kind is Kind.UNAUTHENTICATED else 429
        return pages.framed(app, request, "login_code.html", "Log in", status=status, error=error)
    return entered(app, token, inside(facts["next"]))


def _late() -> Response:
    return pages.onward("/ui/login", "That took too long: begin again.")


@router.get("/login/enrol")
async def enrol_page(request: Request, app: TheApp) -> Response:
    """Who must have a second factor, and has none yet, sets it up before they are in."""
    begun = await _begun(request, app, "auth.enrol")
    if begun is None:
        return pages.onward("/ui/login")
    return await _enrolling(request, app, begun[1])


async def _enrolling(request: Request, app: App, user: User, error: UspError | None = None) -> Response:
    try:
        secret, uri = await app.factors.enrolling(actor_of(user, peer(request)))
    except UspError as found:
        if found.code != "factor.not_found":
            raise
        return _late()  # it was set up meanwhile, in another tab
    told = {"error": error, **shown(secret, uri)}
    status = STATUS[error.kind] if error else 200
    return pages.framed(app, request, "login_enrol.html", "Second factor", status=status, **told)


@router.post("/login/enrol")
async def enrol(request: Request, app: TheApp, code: Text = "") -> Response:
    begun = await _begun(request, app, "auth.enrol")
    if begun is None:
        return _late()
    facts, user = begun
    try:
        codes = await app.factors.confirm(actor_of(user, peer(request)), code)
    except UspError as error:
        if error.kind is Kind.NOT_FOUND:
            return _late()
        if error.kind is not Kind.INVALID:
            raise
        return await _enrolling(request, app, user, error)
    token, _, _ = await app.logins.begin(user, peer(request))
    there = inside(facts["next"])
    page = pages.framed(app, request, "login_codes.html", "Recovery codes", codes=codes, there=there)
    return entered(app, token, there, page)


def shown(secret: Secret, uri: str) -> dict[str, Any]:
    """A secret for authenticator apps, as a picture and in words."""
    text = secret.reveal()
    picture = segno.make(uri, error="m").svg_inline(border=0, omitsize=True)
    return {
        "secret": " ".join(text[place : place + 4] for place in range(0, len(text), 4)),
        "picture": Markup(picture),  # noqa: S704  (made here, of black squares)
    }


def form(request: Request, next: str, *, error: UspError | None = None, username: str = "") -> Response:
    status = 200
    headers = {}
    if error is not None:
        status = {Kind.UNAUTHENTICATED: 401, Kind.LIMITED: 429}.get(error.kind, 503)
        if "retry_after" in error.facts:
            headers["Retry-After"] = str(error.facts["retry_after"])
    answer = pages.framed(
        the_app(request), request, "login.html", "Log in", status=status, next=next, error=error, username=username
    )
    answer.headers.update(headers)
    return answer


@router.post("/logout")
async def logout(visit: Visiting) -> Response:
    await visit.app.logins.logout(visit.actor)
    visit.request.app.state.visitors.forget(visit.token)
    answer = pages.onward("/ui/login", "You are logged out.")
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return answer
