"""Logging in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from usp.errors import Kind, UspError
from usp.manager.app import App
from usp.manager.policy import MAX_PASSWORD
from usp.manager.ui import pages
from usp.manager.ui.visits import COOKIE, TheApp, Visiting, peer, the_app

router = APIRouter(include_in_schema=False)

START: Final = "/ui/status"

HALF: Final = "__Host-usp-half"
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
        if error.code == "auth.totp":
            return await _half(app, username, inside(next))
        if error.kind not in (Kind.UNAUTHENTICATED, Kind.LIMITED, Kind.UNAVAILABLE):
            raise
        return form(request, next, error=error, username=username)
    return entered(app, token, inside(next))


def entered(app: App, token: str, path: str) -> Response:
    """Logged in: on to that page."""
    answer = pages.onward(path)
    seconds = int(app.settings.login.absolute_timeout)
    answer.set_cookie(COOKIE, token, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")
    answer.delete_cookie(HALF, path="/", secure=True, httponly=True, samesite="strict")
    return answer


# --- the second factor ---


async def _half(app: App, username: str, path: str) -> Response:
    """The password was right: a sealed cookie says so for a few minutes, on every manager."""
    user = await app.administrators.find(username)
    facts = {"user": user.name, "as_of": user.updated_at.isoformat(), "next": path}
    answer = pages.onward("/ui/login/code")
    text = app.tickets.seal("login", facts, HALF_SECONDS)
    answer.set_cookie(HALF, text, max_age=HALF_SECONDS, path="/", secure=True, httponly=True, samesite="strict")
    return answer


async def _begun(request: Request, app: App) -> Mapping[str, str] | None:
    """Whose login waits for a code; None: nobody's, or something was changed of the user meanwhile."""
    facts = await app.tickets.open("login", request.cookies.get(HALF, ""))
    user = await app.store.users.find(facts["user"]) if facts else None
    return facts if facts and user and user.updated_at.isoformat() == facts["as_of"] else None


@router.get("/login/code")
async def code_page(request: Request, app: TheApp) -> Response:
    if await _begun(request, app) is None:
        return pages.onward("/ui/login")
    return pages.framed(app, request, "login_code.html", "Log in", error=None)


@router.post("/login/code")
async def code(request: Request, app: TheApp, code: Text = "") -> Response:
    facts = await _begun(request, app)
    if facts is None:
        return pages.onward("/ui/login", "That took too long: begin again.")
    try:
        token, _, _ = await app.logins.finish(facts["user"], code, peer(request))
    except UspError as error:
        if error.kind not in (Kind.UNAUTHENTICATED, Kind.LIMITED):
            raise
        status = 401 if error.kind is Kind.UNAUTHENTICATED else 429
        return pages.framed(app, request, "login_code.html", "Log in", status=status, error=error)
    return entered(app, token, inside(facts["next"]))


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
