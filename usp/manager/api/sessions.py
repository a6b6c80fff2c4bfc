"""Live sessions of partners, on all servers."""

from __future__ import annotations

from fastapi import APIRouter

from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Paging, cut
from usp.model import Model
from usp.status import SessionStatus

router = APIRouter(prefix="/sessions", tags=["sessions"])


class Session(SessionStatus):
    """A partner's session, and the server that it is on."""

    server: str


class Sessions(Model):
    """`unreachable`: servers that could not be asked -> why."""

    items: list[Session]
    next: str | None
    unreachable: dict[str, str]


@router.get("", operation_id="list_sessions")
async def list_sessions(app: TheApp, actor: Asking, query: Paging) -> Sessions:
    """Who is connected now, the longest first: all servers are asked."""
    live, unreachable = await app.sessions()
    page, following = cut(live, lambda one: f"{one.session.since:017.6f} {one.session.id}", query)
    items = [Session(server=one.server, **one.session.model_dump()) for one in page]
    return Sessions(items=items, next=following, unreachable=unreachable)


@router.delete("/{id}", operation_id="kill_session", status_code=204)
async def kill_session(app: TheApp, actor: Admin, id: str) -> None:
    """End a session at once. The partner may connect again."""
    await app.kill_session(actor, id)
