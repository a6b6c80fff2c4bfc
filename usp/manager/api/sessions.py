"""Live sessions of partners, on all servers."""

from __future__ import annotations

from fastapi import APIRouter

from usp.manager.api.auth import Admin, Asking, TheApp
from usp.model import Model
from usp.status import SessionStatus

router = APIRouter(prefix="/sessions", tags=["sessions"])


class Session(SessionStatus):
    """A partner's session, and the server that it is on."""

    server: str


class Sessions(Model):
    """`unreachable`: servers that could not be asked -> why."""

    items: list[Session]
    unreachable: dict[str, str]


@router.get("", operation_id="list_sessions")
async def list_sessions(app: TheApp, actor: Asking) -> Sessions:
    """Who is connected now: all servers are asked."""
    live, unreachable = await app.sessions()
    items = [Session(server=one.server, **one.session.model_dump()) for one in live]
    return Sessions(items=items, unreachable=unreachable)


@router.delete("/{id}", operation_id="kill_session", status_code=204)
async def kill_session(app: TheApp, actor: Admin, id: str) -> None:
    """End a session at once. The partner may connect again."""
    await app.kill_session(actor, id)
