"""`/docs`: the OpenAPI document for people, with Swagger UI from our own files: a browser asks nobody else.

Swagger UI is not in the repository. `make ui` (and the build of the wheel) fetches the version that
`usp/manager/ui/package.json` pins; without it the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response

from usp import manager

FILES: Final[Mapping[str, str]] = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "LICENSE": "text/plain",
}

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>USP manager: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

START: Final = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
"""

MISSING: Final = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>USP manager: API</title></head>
<body>
<h1>The API's documentation is not installed here</h1>
<p>It needs Swagger UI, which a clone of the repository does not contain: <code>make ui</code> fetches it.
A package that was built with <code>make dist</code> has it.</p>
<p>The OpenAPI document itself is at <a href="/openapi.json">/openapi.json</a>; docs/api.md tells how to begin.</p>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


def folder() -> Path:
    """Where Swagger UI is, if it is there."""
    return Path(manager.__file__).parent / "ui" / "swagger-ui"


@router.get("/docs")
async def docs() -> Response:
    present = (folder() / "swagger-ui-bundle.js").is_file()
    return HTMLResponse(PAGE if present else MISSING, headers=HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(START, media_type="text/javascript", headers=HEADERS)


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    path = folder() / name
    if name not in FILES or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type=FILES[name], headers={**HEADERS, "Cache-Control": "no-cache"})
