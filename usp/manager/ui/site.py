"""The UI's application: all pages, what surrounds them, and how failures look."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from usp.errors import Kind, UspError
from usp.log import get_logger
from usp.manager.api.errors import RETRY_SECONDS, STATUS
from usp.manager.api.middleware import Bugs
from usp.manager.app import App
from usp.manager.ui import (
    access,
    account,
    assets,
    configuration,
    dashboard,
    events,
    kit,
    login,
    oidc,
    pages,
    rollouts,
    servers,
    sessions,
    setup,
    status,
    tools,
    topology,
    users,
    webhooks,
)
from usp.manager.ui.ledger import Ledger
from usp.manager.ui.series import Series
from usp.manager.ui.visits import COOKIE, LoginNeeded, Visit, Visitors, peer, refuse_forgery, the_app
from usp.wording import problems_in

log = get_logger(__name__)

PATH: Final = "/ui"

PARTS: Final = (
    assets,
    login,
    oidc,
    status,
    configuration,
    tools,
    kit,
    setup,
    account,
    users,
    dashboard,
    sessions,
    events,
    servers,
    topology,
    rollouts,
    webhooks,
    access,
)
"""The pages, one a line, so that branches do not collide."""


def install(site: FastAPI, app: App, series: Series | None = None, ledger: Ledger | None = None) -> None:
    """Into the manager's application, beside the API; `/` leads here. `series`, `ledger`: what the Dashboard shows."""
    site.mount(PATH, application(app, series or Series(), ledger or Ledger()))

    async def start() -> Response:
        return RedirectResponse(login.START, 307)

    site.add_api_route("/", start, include_in_schema=False)


def application(app: App, series: Series, ledger: Ledger) -> FastAPI:
    ui = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(refuse_forgery)],
    )
    ui.state.app = app
    ui.state.visitors = Visitors()
    ui.state.series = series
    ui.state.ledger = ledger
    for part in PARTS:
        ui.include_router(part.router)
    ui.add_middleware(Bugs, answer=_bug)
    ui.add_exception_handler(LoginNeeded, _to_login)
    ui.add_exception_handler(UspError, _failed)
    ui.add_exception_handler(RequestValidationError, _malformed)
    ui.add_exception_handler(HTTPException, _refused)
    return ui


async def _to_login(request: Request, _: Exception) -> Response:
    """Back here after the login. Who comes from another site (a link in a mail) has the cookie, but the browser did not
    send it: a page of ours that loads this one again has it sent."""
    path = request.scope["root_path"] + request.scope["path"].removeprefix(request.scope["root_path"])
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        return HTMLResponse(pages.render("again.html"), headers=pages.HEADERS)
    query = f"?{request.url.query}" if request.url.query else ""
    there = "/ui/login" + (f"?next={quote(path + query)}" if request.method == "GET" and path != "/ui/status" else "")
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**pages.HEADERS, "HX-Redirect": "/ui/login"})
    answer = RedirectResponse(there, 303, headers=pages.HEADERS)
    if COOKIE in request.cookies:
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, UspError)
    if error.kind in (Kind.INTERNAL, Kind.UNAVAILABLE):
        log.warn("ui.failed", path=request.url.path, exc_info=error)
    return await answer(request, error, STATUS[error.kind])


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await answer(request, UspError("request.invalid", problems=problems_in(error.errors())), 422)


async def _refused(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    code = "request.unknown" if error.status_code == 404 else "request.invalid"
    return await answer(request, UspError(code), error.status_code)


def _bug(error: Exception) -> Response:
    """The log gets all of it, the visitor nothing."""
    log.error("ui.unexpected", exc_info=error)
    return HTMLResponse(pages.render("bug.html"), 500, headers=pages.HEADERS)


async def answer(request: Request, error: UspError, status: int) -> Response:
    """A failure as a page, or, for htmx, as a message above the page that asked."""
    if request.headers.get("hx-request") == "true":
        text = pages.render("problem.html", error=error)
        where = {"HX-Retarget": "#messages", "HX-Reswap": "innerHTML"}
        return HTMLResponse(text, status, headers={**pages.HEADERS, **where})
    response = pages.framed(
        the_app(request),
        request,
        "failure.html",
        "That did not work",
        status=status,
        visit=await _visit(request),
        error=error,
    )
    if status == STATUS[Kind.UNAVAILABLE]:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


async def _visit(request: Request) -> Visit | None:
    """Who sees the failure, so that it has the menu."""
    token = request.cookies.get(COOKIE)
    if token is None:
        return None
    app, visitors = the_app(request), request.app.state.visitors
    try:
        actor, away = await visitors.who(app, token, peer(request), quietly=True)
    except (LoginNeeded, UspError):
        return None
    return Visit(app, request, actor, token, away)
