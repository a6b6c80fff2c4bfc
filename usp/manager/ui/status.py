"""Monitoring > Status: all servers with their listeners, tunnels and links, live; starting, stopping and draining.

The page and its stream have a line for each server. What is inside a server's row is there only while that is open: a
script asks for it when it is opened, and when the line says that it changed. So what a page costs depends on what is
looked at, not on how many servers there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from usp.errors import UspError
from usp.manager.app import RUNNABLE
from usp.manager.store.rows import RunState
from usp.manager.ui import pages
from usp.manager.ui.board import PERIOD, Board, Picture
from usp.manager.ui.overview import Row
from usp.manager.ui.visits import LoginNeeded, Visit, Visiting, peer
from usp.model import KINDS, ProxyServer

router = APIRouter(include_in_schema=False)

PATH: Final = "/ui/status"
BEAT_SECONDS: Final = 10.0
"""A stream is never silent for longer, so that the page knows that it lives."""

OPEN: Final = 3
"""With so many servers or fewer, all are shown open."""
OPEN_IN_TROUBLE: Final = 5
"""So many of those in trouble are shown open by themselves."""
ASKED: Final = 50
"""The insides of so many rows are told at once."""

VERBS: Final = {
    "start": (RunState.STARTED, "will be started"),
    "stop": (RunState.STOPPED, "will be stopped, and stays so"),
}


def the_board(request: Request) -> Board:
    """Made when it is first looked at."""
    state = request.app.state
    if not hasattr(state, "board"):
        state.board = Board(state.app)
    assert isinstance(state.board, Board)
    return state.board


@router.get("/status")
async def status(visit: Visiting, open: str = "") -> Response:
    """`open`: the name of a server whose row is shown open."""
    board = the_board(visit.request)
    picture = await board.look()
    return pages.page(
        visit,
        "status.html",
        "Status",
        at="status",
        picture=picture,
        opened=_opened(picture.rows, open),
        seen=f"{board.epoch}-{picture.number}",
    )


def _opened(rows: Iterable[Row], name: str) -> set[str]:
    found = list(rows)
    troubled = [row for row in found if row.trouble][:OPEN_IN_TROUBLE]
    return {row.id for row in (found if len(found) <= OPEN else troubled)} | {
        row.id for row in found if row.name == name
    }


@router.get("/status/inside")
async def inside(visit: Visiting, id: Annotated[list[str], Query(max_length=ASKED)]) -> Response:
    """What is inside the rows with those ids, as parts of the page."""
    rows = (await the_board(visit.request).look()).rows
    told = [
        pages.render("status_inside.html", row=row, may_change=visit.may_change, swap=True)
        for row in rows
        if row.id in id
    ]
    return HTMLResponse("".join(told), headers=pages.HEADERS)


@router.get("/status/stream")
async def stream(
    visit: Visiting,
    seen: Annotated[str, Query(max_length=40)] = "",
    last_event_id: Annotated[str, Header(max_length=40)] = "",
) -> Response:
    epoch, _, number = (last_event_id or seen).partition("-")
    board = the_board(visit.request)
    known = int(number) if epoch == board.epoch and number.isdecimal() else -1
    headers = {**pages.HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(visit, board, known), media_type="text/event-stream", headers=headers)


async def _told(visit: Visit, board: Board, known: int) -> AsyncIterator[str]:
    """What changed after number `known`, until the login or the manager ends. The stream keeps no login alive."""
    loop = asyncio.get_running_loop()
    visitors = visit.request.app.state.visitors
    spoken = loop.time()
    away = visit.away
    yield event("beat")
    while not visit.app.ending.is_set():
        try:
            picture = await board.look()
        except UspError:
            return  # the page comes again after a while
        parts = _news(visit, picture, known)
        if picture.away != away:
            away = picture.away
            parts.append(_away(away))
        if parts:
            known = picture.number
            yield message("".join(parts), f"{board.epoch}-{known}")
            spoken = loop.time()
        elif loop.time() - spoken >= BEAT_SECONDS:
            try:
                await visitors.who(visit.app, visit.token, peer(visit.request), quietly=True)
            except LoginNeeded:
                yield event("ended")
                return
            except UspError:
                return
            yield event("beat")
            spoken = loop.time()
        await _pause(visit.app.ending)


def _news(visit: Visit, picture: Picture, known: int) -> list[str]:
    """As parts of the page that htmx puts in their places."""
    parts = []
    if picture.told > known:
        parts.append(pages.render("status_totals.html", totals=picture.totals, visit=visit, swap=True))
    if picture.arranged > known:
        opened: set[str] = set()  # the page keeps what it has open
        return [*parts, pages.render("status_rows.html", rows=picture.rows, opened=opened, visit=visit, swap=True)]
    rows = picture.after(known)
    return [*parts, *(pages.render("status_row.html", row=row, is_open=False, swap=True) for row in rows)]


def _away(reason: str) -> str:
    inside = pages.render("away.html", reason=reason) if reason else ""
    return f'<div id="away" hx-swap-oob="innerHTML">{inside}</div>'


def message(text: str, id: str) -> str:
    """A server-sent event without a name: htmx puts its parts in their places."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines() if line.strip())
    return f"id: {id}\n{lines}\n"


def event(name: str) -> str:
    return f"event: {name}\ndata: -\n\n"


async def _pause(ending: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(ending.wait(), PERIOD)
    except TimeoutError:
        return


def _add(kind: str, verb: str, state: RunState, words: str) -> None:
    @router.post(f"/{kind}/{{key}}/{verb}")
    async def set_run_state(visit: Visiting, key: str) -> Response:
        await visit.app.set_run_state(visit.actor, kind, key, state)
        the_board(visit.request).stale()
        name = (await visit.app.catalog()).get(kind, key).item.name
        return pages.done(visit, PATH, f"{KINDS[kind].title} {name} {words}.")


for _kind in RUNNABLE:
    for _verb, (_state, _words) in VERBS.items():
        _add(_kind, _verb, _state, _words)


@router.post("/proxy-servers/{key}/drain")
async def drain(visit: Visiting, key: str) -> Response:
    await visit.app.set_run_state(visit.actor, ProxyServer.kind, key, RunState.DRAINED)
    the_board(visit.request).stale()
    return pages.done(visit, PATH, "The server will take no new sessions. Those that are there go on.")


@router.post("/proxy-servers/{key}/undrain")
async def undrain(visit: Visiting, key: str) -> Response:
    await visit.app.set_run_state(visit.actor, ProxyServer.kind, key, RunState.STARTED)
    the_board(visit.request).stale()
    return pages.done(visit, PATH, "The server will take new sessions again.")
