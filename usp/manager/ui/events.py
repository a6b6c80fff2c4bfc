"""Monitoring > Events: searching the audit trail, its export, and the story of one session or one file."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError

from usp.errors import UspError
from usp.manager.api.events import Event as Shown
from usp.manager.api.events import Filter
from usp.manager.app import App
from usp.manager.store.rows import Event, Source
from usp.manager.ui import pages
from usp.manager.ui.visits import Visiting
from usp.wording import problems_of

router = APIRouter(include_in_schema=False)

PAGE: Final = 100
STORY: Final = 2000
EXPORTED: Final = 100_000
"""Lines of an export at the most: `usp events` and the API take all."""
BATCH: Final = 1000
FIELDS: Final = tuple(field.alias or name for name, field in Filter.model_fields.items())
COLUMNS: Final = (
    "number", "at", "author", "action", "target", "peer", "server", "listener", "session", "outcome", "detail",
)  # fmt: skip


def asked(request: Request) -> dict[str, str]:
    """What the form says, without what was left empty."""
    given = {name: request.query_params.get(name, "").strip() for name in FIELDS}
    return {name: value for name, value in given.items() if value}


def wanted(query: Mapping[str, str]) -> Filter:
    """UspError request.invalid with what is wrong where."""
    try:
        return Filter.model_validate(query)
    except ValidationError as error:
        raise UspError("request.invalid", problems=problems_of(error)) from None


@router.get("/events")
async def events(visit: Visiting) -> Response:
    query = asked(visit.request)
    before = visit.request.query_params.get("before", "")
    found: list[Event] = []
    error = None
    try:
        chosen = wanted(query)
        number = int(before) if before.isdecimal() and len(before) < 19 else None
        found = await visit.app.store.events.page(before=number, limit=PAGE, **chosen.wanted())
    except UspError as problem:
        if problem.code != "request.invalid":
            raise
        error = problem
    return pages.page(
        visit,
        "events.html",
        "Events",
        at="events",
        status=422 if error else 200,
        events=found,
        query=query,
        error=error,
        older=_link(query, before=found[-1].number) if len(found) == PAGE else "",
        newer=_link(query) if before else "",
        export=urlencode(query),
        sources=list(Source),
    )


def _link(query: Mapping[str, str], **more: int) -> str:
    return "/ui/events?" + urlencode({**query, **more})


@router.get("/events.json")
async def as_json(visit: Visiting) -> Response:
    """One object a line."""
    lines = _json(visit.app, wanted(asked(visit.request)))
    return _file(visit.app, lines, "application/x-ndjson", "jsonl")


@router.get("/events.csv")
async def as_csv(visit: Visiting) -> Response:
    lines = _csv(visit.app, wanted(asked(visit.request)))
    return _file(visit.app, lines, "text/csv; charset=utf-8", "csv")


def _file(app: App, lines: AsyncIterator[str | bytes], media_type: str, suffix: str) -> Response:
    name = f"events-{app.clock():%Y-%m-%d}.{suffix}"
    headers = {**pages.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type=media_type, headers=headers)


async def _all(app: App, chosen: Filter) -> AsyncIterator[list[Event]]:
    """Newest first, in batches."""
    before = None
    for _ in range(EXPORTED // BATCH):
        page = await app.store.events.page(before=before, limit=BATCH, **chosen.wanted())
        if page:
            yield page
        if len(page) < BATCH:
            return
        before = page[-1].number


async def _json(app: App, chosen: Filter) -> AsyncIterator[str | bytes]:
    """One object a line, as in `GET /events` of the API."""
    async for page in _all(app, chosen):
        yield b"".join(Shown.of(event).model_dump_json().encode() + b"\n" for event in page)


async def _csv(app: App, chosen: Filter) -> AsyncIterator[str | bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    async for page in _all(app, chosen):
        for event in page:
            shown = Shown.of(event).model_dump(mode="json")
            shown["detail"] = orjson.dumps(shown["detail"]).decode() if shown["detail"] else ""
            writer.writerow([harmless(str(shown[name])) for name in COLUMNS])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def harmless(cell: str) -> str:
    """A spreadsheet takes a cell that begins so for a formula: partners choose their files' names."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


@router.get("/events/story")
async def story(visit: Visiting, session: str = "", path: str = "") -> Response:
    """Of one session, or of one file: what happened to it, in order."""
    if not session and not path:
        raise UspError("request.invalid", "say whose story it is: a session or a path")
    chosen: dict[str, Any] = {"session": session[:64]} if session else {"path": path, "source": Source.SERVER}
    found = await visit.app.store.events.page(after=0, limit=STORY, **chosen)
    if path and not session:
        found = [event for event in found if path in (event.detail.get("path", event.target), event.detail.get("to"))]
    title = f"Session {session}" if session else "File"
    return pages.page(
        visit, "story.html", title, at="events", events=found, session=session, path=path, whole=len(found) < STORY
    )
