"""Proxy Servers as managers see them. (Their configuration versions: usp.manager.api.versions.)"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from usp.manager.api.auth import Asking, TheApp
from usp.manager.api.lists import Limit, Paging, cut
from usp.manager.store import rows
from usp.manager.store.rows import RunState
from usp.model import Model
from usp.status import Intake, ListenerStatus, ServerState, SlotStatus, TunnelStatus

router = APIRouter(prefix="/servers", tags=["servers"])


class Server(Model):
    """`version` and everything below it: as the server last reported, at `seen_at`."""

    name: str
    state: ServerState
    reason: str
    desired: int = Field(description="The version that is wanted there; 0: nothing was ever pushed")
    seen_at: datetime | None
    checked_at: datetime | None
    age: float | None = Field(description="Seconds since it last answered, by the database's clock")
    version: int
    digest: str
    software: str
    draining: bool
    drain: bool = Field(description="Whether an administrator wants it drained", examples=[False])
    intake: Intake = Field(description="Whether it takes new sessions; closing: soon not any more", examples=["open"])
    sessions: int
    bytes_in: int
    bytes_out: int
    slots: tuple[SlotStatus, ...]
    listeners: tuple[ListenerStatus, ...]
    tunnels: tuple[TunnelStatus, ...]
    run_states: dict[str, RunState] = Field(
        description="id of a listener or tunnel -> what an administrator wants; else its start-up decides"
    )

    @classmethod
    def of(cls, server: rows.Server, run_states: Mapping[str, RunState], drained: Set[str]) -> Server:
        report = server.report
        ids = [status.id for status in report.listeners] + [status.id for status in report.tunnels] if report else []
        return cls(
            name=server.name,
            state=server.state,
            reason=server.reason,
            desired=server.desired,
            seen_at=server.seen_at,
            checked_at=server.checked_at,
            age=server.age,
            version=report.version if report else 0,
            digest=report.digest if report else "",
            software=report.software if report else "",
            draining=report.draining if report else False,
            drain=server.name in drained,
            intake=report.intake if report else Intake.OPEN,
            sessions=report.sessions if report else 0,
            bytes_in=report.bytes_in if report else 0,
            bytes_out=report.bytes_out if report else 0,
            slots=report.slots if report else (),
            listeners=report.listeners if report else (),
            tunnels=report.tunnels if report else (),
            run_states={id: run_states[id] for id in ids if id in run_states},
        )


class Servers(Model):
    """Proxy Servers, by name."""

    items: list[Server]
    next: str | None


@router.get("", operation_id="list_servers")
async def list_servers(app: TheApp, actor: Asking, query: Paging) -> Servers:
    """Every Proxy Server that is configured, by name, as it was last seen."""
    run_states, drained = await app.store.servers.run_states(), await app.drained()
    page, following = cut(await app.servers(), lambda server: server.name, query)
    return Servers(items=[Server.of(server, run_states, drained) for server in page], next=following)


@router.get("/{name}", operation_id="get_server")
async def get_server(app: TheApp, actor: Asking, name: str) -> Server:
    """One Proxy Server, as it was last seen."""
    return Server.of(await app.server(name), await app.store.servers.run_states(), await app.drained())


class Change(Model):
    """A line of a server's history: what had which state, and which one then."""

    number: int
    at: datetime
    subject: str = Field(
        description="listener NAME, tunnel NAME, client NAME on TUNNEL; empty: the server itself",
        examples=["listener partners"],
    )
    was: str = Field(description="Its state before; none: it was not there", examples=["stopped"])
    state: str
    reason: str

    @classmethod
    def of(cls, found: rows.ServerChange) -> Change:
        change = found.change
        return cls(
            number=found.number,
            at=found.at,
            subject=change.subject,
            was=change.was,
            state=change.state,
            reason=change.reason,
        )


class Changes(Model):
    """A page of a server's history, newest first."""

    items: list[Change]
    next: int | None


@router.get("/{name}/changes", operation_id="list_server_changes")
async def list_server_changes(
    app: TheApp,
    actor: Asking,
    name: str,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the page before")] = None,
) -> Changes:
    """What has changed on a Proxy Server as managers saw it, newest first: its state, version, restarts, listeners,
    tunnels, and which Proxy Clients are connected. The last 1,000 changes of each server are kept."""
    server = (await app.server_record(name)).item.name
    page = await app.store.servers.changes(server, before=after, limit=limit)
    following = page[-1].number if len(page) == limit else None
    return Changes(items=[Change.of(each) for each in page], next=following)
