"""Logging in and out."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from usp.errors import Kind, UspError
from usp.manager.policy import MAX_PASSWORD
from usp.manager.ui import pages
from usp.manager.ui.visits import COOKIE, TheApp, Visiting, peer, the_app

router = APIRouter(include_in_schema=False)

START: Final = "/ui/status"

Text = Annotated[str, Form(max_length=4096)]


def inside(path: str) -> str:
    """Where to go after the login: a page of ours, whatever the address bar says."""
    ours = path.startswith("/ui/") and path.isprintable() and "\\" not in path and not path.startswith("/ui/login")
    return path if ours else START


@router.get("/login")
async def login_page(request: Request, next: str = "") -> Response:
    return _form(request, next)


@router.post("/login")
async def login(request: Request, app: TheApp, username: Text = "", password: Text = "", next: Text = "") -> Response:
    if len(password) > MAX_PASSWORD:
        password = ""  # which nobody has, and which costs the same
    try:
        token, _, _ = await app.logins.login(username[:255], password, peer(request))
    except UspError as error:
        if error.kind not in (Kind.UNAUTHENTICATED, Kind.LIMITED, Kind.UNAVAILABLE):
            raise
        return _form(request, next, error=error, username=username)
    answer = pages.onward(inside(next))
    seconds = int(app.settings.login.absolute_timeout)
    answer.set_cookie(COOKIE, token, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def _form(request: Request, next: str, *, error: UspError | None = None, username: str = "") -> Response:
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
