"""The application: all routes of the API, what surrounds them, and the OpenAPI document."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse

import usp
from usp.errors import UspError
from usp.manager.api import access, diagnose, errors, events, items, run, servers, sessions
from usp.manager.api.auth import TheApp
from usp.manager.api.middleware import BodyLimit, Bugs, SecurityHeaders
from usp.manager.app import App

PREFIX: Final = "/api/v1"


def application(app: App) -> FastAPI:
    site = FastAPI(
        title="usp-manager",
        version=usp.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
    )
    site.state.app = app
    site.add_middleware(BodyLimit)
    site.add_middleware(Bugs)
    site.add_middleware(SecurityHeaders)
    errors.install(site)
    api = APIRouter(prefix=PREFIX, responses=errors.RESPONSES)
    for part in (access, items, servers, run, sessions, events, diagnose):
        api.include_router(part.router)
    site.include_router(api)
    site.include_router(_probes)
    site.openapi = partial(_openapi, site)  # type: ignore[method-assign]
    site.add_api_route("/openapi.json", site.openapi, include_in_schema=False)
    return site


def _openapi(site: FastAPI) -> dict[str, Any]:
    """Bodies of items are read by the catalog, so FastAPI does not know their models: they are added here."""
    if site.openapi_schema is None:
        document = get_openapi(title=site.title, version=site.version, routes=site.routes)
        document["components"]["schemas"].update({**items.request_schemas(), "Problem": errors.SCHEMA})
        site.openapi_schema = document
    return site.openapi_schema


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
