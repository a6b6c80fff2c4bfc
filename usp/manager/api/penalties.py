"""Penalties: who failed so often at a server that it is not let in for a while."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Paging, cut
from usp.model import Model
from usp.status import PenaltyStatus

router = APIRouter(prefix="/servers", tags=["servers"])

Key = Annotated[str, Path(min_length=1, max_length=600, description="`key` of the penalty, such as source:192.0.2.7")]


class Penalty(PenaltyStatus):
    """A source (an IPv4 address or an IPv6 /64) or a user name that failed too often at a server, or a target that is
    shown no more failed logins."""

    key: str = Field(description="Releases it", examples=["source:192.0.2.7"])
    kind: str = Field(description="source, username or target", examples=["source"])
    name: str = Field(description="Who: an IPv4 address, an IPv6 /64, a user name or a target", examples=["192.0.2.7"])
    reason: str = Field(description="Why", examples=["failed logins"])
    seconds: float = Field(description="How long it lasts yet", examples=[40.0])
    until: float = Field(description="When it ends, Unix time", examples=[1767268800.0])


class Penalties(Model):
    """Penalties that are on, by key."""

    items: list[Penalty]
    next: str | None


@router.get("/{name}/penalties", operation_id="list_penalties")
async def list_penalties(app: TheApp, actor: Asking, name: str, query: Paging) -> Penalties:
    """Who has a penalty at a Proxy Server now: the server is asked."""
    page, following = cut(await app.penalties.on(name), lambda one: one.key, query)
    return Penalties(items=[Penalty(**one.model_dump()) for one in page], next=following)


@router.delete("/{name}/penalties/{key:path}", operation_id="release_penalty", status_code=204)
async def release_penalty(app: TheApp, actor: Admin, name: str, key: Key) -> None:
    """Let somebody off: what is held against this source or user name is forgotten."""
    await app.penalties.release(actor, name, key)
