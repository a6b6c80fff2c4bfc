"""The audit trail as it grows, as server-sent events (WHATWG HTML, section 9.2).

The event's number is its id, so a reader that was cut off goes on with `Last-Event-ID` where it was. Events of all
managers come through the store, which is asked once in a while; an empty stream shows by a comment that it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from usp.errors import UspError
from usp.manager.api.auth import Asking, TheApp, peer
from usp.manager.api.events import MAX_NUMBER, Event, Filter
from usp.manager.app import App
from usp.manager.store.rows import Wanted

router = APIRouter(prefix="/events", tags=["events"])

POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 15.0
BATCH: Final = 500

EXAMPLE: Final = """\
id: 42
event: item.update
data: {"number":42,"at":"2026-01-01T12:00:00Z","author":"alice","action":"item.update",...}

"""

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events as they happen, until one of the two goes away",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    }
}


@router.get(
    "/stream",
    operation_id="stream_events",
    summary="Events as they happen",
    response_class=StreamingResponse,
    responses=ANSWERS,
)
async def stream_events(
    request: Request,
    app: TheApp,
    actor: Asking,
    query: Annotated[Filter, Query()],
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MAX_NUMBER, description="Go on after this one; else with what comes from now on")
    ] = None,
) -> StreamingResponse:
    """Server-sent events: `id` is the event's number, `event` its action, `data` is as in `GET /events`. A reader that
    comes back with `Last-Event-ID` misses nothing. The stream ends when the token does, and when the manager stops."""
    if last_event_id is None:
        newest = await app.store.events.page(limit=1)
        last_event_id = newest[0].number if newest else 0
    token = request.headers["authorization"].partition(" ")[2]
    return StreamingResponse(
        _told(app, token, peer(request), last_event_id, query.wanted()),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _told(app: App, token: str, address: str, last: int, wanted: Wanted) -> AsyncIterator[str]:
    """Never longer silent than HEARTBEAT_SECONDS, and never beyond the end of the token."""
    loop = asyncio.get_running_loop()
    yield f": after {last}\n\n"
    spoken = loop.time()
    while not app.ending.is_set():
        events, last = await app.store.events.since(last, BATCH, **wanted)
        for event in events:
            yield f"id: {event.number}\nevent: {event.action}\ndata: {Event.of(event).model_dump_json()}\n\n"
            spoken = loop.time()
        if loop.time() - spoken >= HEARTBEAT_SECONDS:
            try:
                await app.logins.authenticate(token, address)
            except UspError:
                return
            yield f": after {last}\n\n"
            spoken = loop.time()
        if len(events) < BATCH:
            await _pause(app.ending)


async def _pause(ending: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(ending.wait(), POLL_SECONDS)
    except TimeoutError:
        return
