"""The application: all routes of the API, what surrounds them, and the OpenAPI document."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse, Response

import usp
from usp.errors import UspError
from usp.manager.api import (
    access,
    balance,
    bulk,
    certificates,
    diagnose,
    docs,
    drain,
    errors,
    events,
    factors,
    history,
    items,
    openapi,
    penalties,
    pushes,
    run,
    servers,
    sessions,
    settings,
    stream,
    users,
    versions,
    webhooks,
)
from usp.manager.api.auth import TheApp
from usp.manager.api.middleware import BodyLimit, Bugs, Guarded, Methods, SecurityHeaders
from usp.manager.app import App

PREFIX: Final = "/api/v1"

PARTS: Final = (
    access,
    factors,
    users,
    settings,
    items,
    bulk,
    history,
    servers,
    versions,
    pushes,
    run,
    drain,
    balance,
    sessions,
    webhooks,
    penalties,
    certificates,
    stream,
    events,
    diagnose,
)


def application(app: App) -> FastAPI:
    site = FastAPI(
        version=usp.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    site.state.app = app
    allowed = partial(openapi.allowed, site)
    site.add_middleware(BodyLimit)
    site.add_middleware(Methods, allowed)
    site.add_middleware(Guarded)
    site.add_middleware(Bugs)
    site.add_middleware(SecurityHeaders)
    errors.install(site, allowed)
    api = APIRouter(prefix=PREFIX)
    for part in PARTS:
        api.include_router(part.router)
    site.include_router(api)
    site.include_router(_probes)
    site.include_router(docs.router)
    site.openapi = partial(_openapi, site)  # type: ignore[method-assign]
    for path in ("/openapi.json", f"{PREFIX}/openapi.json"):
        site.add_api_route(path, partial(_answered, site), include_in_schema=False)
    return site


def _openapi(site: FastAPI) -> dict[str, Any]:
    """Made once, when it is first asked for."""
    if site.openapi_schema is None:
        site.openapi_schema = openapi.build(site)
    return site.openapi_schema


async def _answered(site: FastAPI) -> Response:
    return Response(await asyncio.to_thread(_text, site), media_type="application/json")


def _text(site: FastAPI) -> bytes:
    return orjson.dumps(site.openapi())


_probes = APIRouter(include_in_schema=False, default_response_class=PlainTextResponse)


@_probes.get("/livez")
async def _livez() -> str:
    return "ok\n"


@_probes.get("/readyz")
async def _readyz(app: TheApp) -> PlainTextResponse:
    try:
        await app.store.ping()
    except UspError as error:
        return PlainTextResponse(f"{error.message}\n", 503)
    return PlainTextResponse("ok\n")
