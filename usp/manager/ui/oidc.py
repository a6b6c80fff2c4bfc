"""Logging in at an OpenID provider: there and back.

The ticket travels in a cookie that is `Lax`, because the browser comes back from another site; whoever comes back is
let on to the page that they wanted by a page of ours, which sends the login's own cookie, which is `Strict`.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from usp.errors import Kind, UspError
from usp.manager.ui import pages
from usp.manager.ui.login import entered, form, inside
from usp.manager.ui.visits import TheApp, peer

router = APIRouter(include_in_schema=False)

COOKIE: Final = "__Host-usp-oidc"
SECONDS: Final = 600


@router.get("/oidc/{label}")
async def begin(request: Request, app: TheApp, label: str, next: str = "") -> Response:
    redirect = f"https://{request.url.netloc}/ui/oidc/{label}/callback"
    try:
        begun = await app.providers.begin(label, redirect, inside(next))
    except UspError as error:
        return _told(request, error)
    answer = RedirectResponse(begun.url, 303, headers=pages.HEADERS)
    answer.set_cookie(COOKIE, begun.ticket, max_age=SECONDS, path="/", secure=True, httponly=True, samesite="lax")
    return answer


@router.get("/oidc/{label}/callback")
async def callback(request: Request, app: TheApp, label: str) -> Response:
    answer = {name: value[:4000] for name, value in request.query_params.items()}
    try:
        token, _, _, after = await app.providers.finish(label, request.cookies.get(COOKIE, ""), answer, peer(request))
    except UspError as error:
        return _told(request, error)
    response = entered(app, token, inside(after))
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _told(request: Request, error: UspError) -> Response:
    """On the login page; the ticket is used up."""
    if error.kind not in (Kind.UNAUTHENTICATED, Kind.UNAVAILABLE, Kind.CONFLICT):
        raise error
    response = form(request, "", error=error)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response
