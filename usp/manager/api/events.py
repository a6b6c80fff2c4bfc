"""The audit trail: what administrators did, told by managers, and what partners did, told by servers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from usp.manager.api.auth import Asking, TheApp
from usp.manager.api.lists import MAX_PAGE, PAGE
from usp.manager.store import rows
from usp.manager.store.rows import Source, Wanted
from usp.manager.store.trails import Trail
from usp.model import Model

router = APIRouter(prefix="/events", tags=["events"])

MAX_NUMBER: Final = 2**63 - 1


class Event(Model):
    """One line of the audit trail. Of what a server told, `detail` is the whole line."""

    number: int
    at: datetime
    author: str = Field(description="The administrator, or the partner's account")
    action: str
    target: str = Field(description="The item, or the path (its first 300 characters)")
    peer: str
    server: str = Field(description="The server that told it; empty: a manager did")
    listener: str = Field(description="The Listener that the partner came to")
    session: str = Field(description="The partner's session")
    outcome: str = Field(description="How it ended, such as 'ok', 'failed', 'denied'")
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
            server=event.server,
            listener=event.listener,
            session=event.session,
            outcome=event.outcome,
            detail=dict(event.detail),
        )


class Events(Model):
    """A page of the audit trail."""

    items: list[Event]
    next: int | None


class Chain(Model):
    """How far the events of a server's chain are stored."""

    server: str
    chain: str = Field(description="The chain's id: a server that goes on with its audit log goes on with its chain")
    seq: int = Field(description="Number of the last one")
    hash: str = Field(description="Of the last one, and so over all before it")
    begun_at: datetime = Field(description="Time of the first event")
    stored_at: datetime = Field(description="When the last one came")

    @classmethod
    def of(cls, trail: Trail) -> Chain:
        last = trail.last
        return cls(
            server=last.server,
            chain=last.chain,
            seq=last.seq,
            hash=last.hash,
            begun_at=trail.begun_at,
            stored_at=trail.stored_at,
        )


class Chains(Model):
    """The chains of all servers, or of one; of each server the newest first."""

    items: list[Chain]


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def _in_utc(moment: datetime) -> datetime:
    """A time without a zone is meant in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _written_out(moment: object) -> object:
    """Not seconds since 1970: a number there is a mistake."""
    if isinstance(moment, str) and not _DATE.match(moment):
        raise ValueError("must be a time such as 2026-11-27T08:00:00Z")
    return moment


Moment = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


class Filter(BaseModel):
    """Which events are wanted. Anything else in the query is refused, because it would have no effect."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    action: str = Field(default="", max_length=64, description="A prefix, such as 'login.' or 'file.'")
    path: str = Field(default="", max_length=300, description="Of what partners did: the path, or how it begins")
    account: str = Field(default="", max_length=255, description="The partner's account, or the administrator")
    server: str = Field(default="", max_length=255, description="The server that told it")
    listener: str = Field(default="", max_length=255, description="The Listener that the partner came to")
    outcome: str = Field(default="", max_length=40, description="Such as 'ok', 'failed', 'denied'")
    session: str = Field(default="", max_length=64, description="One session's story")
    source: Source | None = Field(
        default=None, description="What managers tell of administrators, or servers of partners"
    )
    since: Moment | None = Field(default=None, alias="from", description="Not before that time (RFC 3339)")
    until: Moment | None = Field(default=None, alias="to", description="Before that time")

    def wanted(self) -> Wanted:
        return Wanted(
            action=self.action,
            path=self.path,
            account=self.account,
            server=self.server,
            listener=self.listener,
            outcome=self.outcome,
            session=self.session,
            source=self.source,
            since=self.since,
            until=self.until,
        )


class PageFilter(Filter):
    limit: int = Field(default=PAGE, ge=1, le=MAX_PAGE, description="How many at the most")
    after: int | None = Field(default=None, ge=0, le=MAX_NUMBER, description="`next` of the page before")
    order: Literal["newest", "oldest"] = Field(default="newest", description="Which come first")


@router.get("", operation_id="list_events")
async def list_events(app: TheApp, actor: Asking, query: Annotated[PageFilter, Query()]) -> Events:
    """The audit trail, newest first."""
    oldest_first = query.order == "oldest"
    page = await app.store.events.page(
        before=None if oldest_first else query.after,
        after=(query.after or 0) if oldest_first else None,
        limit=query.limit,
        **query.wanted(),
    )
    following = page[-1].number if len(page) == query.limit else None
    return Events(items=[Event.of(event) for event in page], next=following)


@router.get("/chains", operation_id="list_event_chains")
async def list_event_chains(
    app: TheApp, actor: Asking, server: Annotated[str, Query(max_length=255, description="Only that one's")] = ""
) -> Chains:
    """How far the events of each server are stored, with the hash that a copy of its audit log must have there."""
    return Chains(items=[Chain.of(trail) for trail in await app.store.trails.all(server)])
