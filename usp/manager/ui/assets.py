"""Styles and scripts: our own, and what the build fetched. Addresses carry a digest of the content, so that browsers
keep a file until it changes.

All of it is read once, at the start: a path in a request is looked up among those files, and opens none.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

UI: Final = Path(__file__).parent
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NEEDED: Final = ("bootstrap.css", "htmx.js", "hx-sse.js", "uPlot.css", "uPlot.js")
"""What the build fetches into `vendor/`."""
FOREVER: Final = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes = field(repr=False)
    packed: bytes = field(repr=False)
    media_type: str
    digest: str


@cache
def files() -> Mapping[str, Asset]:
    """name -> file."""
    paths = [path for folder in ("vendor", "static") for path in sorted((UI / folder).glob("*"))]
    return {path.name: _asset(path) for path in paths if path.suffix in TYPES}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(content, gzip.compress(content, 6, mtime=0), TYPES[path.suffix], digest)


def missing() -> list[str]:
    """What is needed and was not fetched."""
    return [name for name in NEEDED if name not in files()]


def address(name: str) -> str:
    """Where a browser gets that file."""
    asset = files().get(name)
    return f"/ui/static/{name}?v={asset.digest}" if asset else f"/ui/static/{name}"


@router.get("/static/{name}")
async def static(name: str, request: Request) -> Response:
    asset = files().get(name)
    if asset is None:
        raise HTTPException(404)
    headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding", "ETag": f'"{asset.digest}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
