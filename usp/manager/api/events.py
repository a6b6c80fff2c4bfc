"""The audit trail, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from usp.manager.api.auth import Asking, TheApp
from usp.manager.api.lists import Limit
from usp.manager.store import rows
from usp.model import Model

router = APIRouter(prefix="/events", tags=["events"])


class Event(Model):
    """One line of the audit trail."""

    number: int
    at: datetime
    author: str
    action: str
    target: str
    peer: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: rows.Event) -> Event:
        return cls(
            number=event.number,
            at=event.at,
            author=event.author,
            action=event.action,
            target=event.target,
            peer=event.peer,
            detail=dict(event.detail),
        )


class Events(Model):
    """A page of the audit trail, newest first."""

    items: list[Event]
    next: int | None


@router.get("", operation_id="list_events")
async def list_events(
    app: TheApp,
    actor: Asking,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, description="`next` of the page before")] = None,
    action: Annotated[str, Query(max_length=64, description="A prefix, such as 'login.'")] = "",
) -> Events:
    """The audit trail, newest first."""
    page = await app.store.events.page(before=after, limit=limit, action=action)
    following = page[-1].number if len(page) == limit else None
    return Events(items=[Event.of(event) for event in page], next=following)
