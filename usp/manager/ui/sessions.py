"""Monitoring > Sessions: who is connected now, on all servers; ending a session."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from usp.manager.app import App, LiveSession
from usp.manager.ui import pages
from usp.manager.ui.recent import Recent
from usp.manager.ui.visits import Visiting

router = APIRouter(include_in_schema=False)

Asked = tuple[list[LiveSession], dict[str, str]]

SECONDS: Final = 2.0
SHOWN: Final = 1000
"""Rows of the page at the most; the search goes over all of them."""


def recent(request: Request) -> Recent[Asked]:
    """All servers are asked once for all who look."""
    state = request.app.state
    if not hasattr(state, "sessions"):
        app = state.app
        assert isinstance(app, App)
        state.sessions = Recent(app.sessions, SECONDS)
    found: Recent[Asked] = state.sessions
    return found


def matching(live: list[LiveSession], find: str) -> list[LiveSession]:
    """Those that have all of the words, in any of their fields."""
    words = find.lower().split()
    return [one for one in live if all(word in _text(one) for word in words)]


def _text(one: LiveSession) -> str:
    it = one.session
    return f"{one.server} {it.listener} {it.node} {it.username} {it.peer} {it.id} {it.file}".lower()


@router.get("/sessions")
async def sessions(visit: Visiting, find: str = "") -> Response:
    live, unreachable = await recent(visit.request).get()
    found = matching(live, find)
    template = "sessions_rows.html" if visit.partial else "sessions.html"
    told: dict[str, Any] = {
        "live": found[:SHOWN],
        "total": len(live),
        "matches": len(found),
        "unreachable": unreachable,
        "find": find,
    }
    if visit.partial:
        return pages.part(visit, template, **told)
    return pages.page(visit, template, "Sessions", at="sessions", **told)


@router.post("/sessions/{id}/kill")
async def kill(visit: Visiting, id: str) -> Response:
    await visit.app.kill_session(visit.actor, id)
    recent(visit.request).forget()
    return pages.done(visit, "/ui/sessions", "The session was ended.")
