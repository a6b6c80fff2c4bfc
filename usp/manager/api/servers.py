"""Proxy Servers as managers see them, their configuration versions, and pushing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from usp.errors import UspError
from usp.manager.api.auth import Admin, Asking, TheApp
from usp.manager.api.lists import Limit
from usp.manager.store import rows
from usp.model import Model
from usp.status import Complaint, ListenerStatus, PushState, ServerState, SlotStatus, TunnelStatus

router = APIRouter(prefix="/servers", tags=["servers"])

MAX_WAIT = 300.0


class Server(Model):
    """`version` and everything below it: as the server last reported, at `seen_at`."""

    name: str
    state: ServerState
    reason: str
    desired: int = Field(description="The version that is wanted there; 0: nothing was ever pushed")
    seen_at: datetime | None
    checked_at: datetime | None
    age: float | None = Field(description="Seconds since it last answered")
    version: int
    digest: str
    software: str
    draining: bool
    sessions: int
    slots: tuple[SlotStatus, ...]
    listeners: tuple[ListenerStatus, ...]
    tunnels: tuple[TunnelStatus, ...]

    @classmethod
    def of(cls, server: rows.Server, now: datetime) -> Server:
        report = server.report
        return cls(
            name=server.name,
            state=server.state,
            reason=server.reason,
            desired=server.desired,
            seen_at=server.seen_at,
            checked_at=server.checked_at,
            age=max(0.0, (now - server.seen_at).total_seconds()) if server.seen_at else None,
            version=report.version if report else 0,
            digest=report.digest if report else "",
            software=report.software if report else "",
            draining=report.draining if report else False,
            sessions=report.sessions if report else 0,
            slots=report.slots if report else (),
            listeners=report.listeners if report else (),
            tunnels=report.tunnels if report else (),
        )


class Servers(Model):
    """Proxy Servers, by name."""

    items: list[Server]


class Version(Model):
    """A configuration version of a server; `state` is what became of it."""

    server: str
    version: int
    digest: str
    state: PushState
    reason: str
    errors: tuple[Complaint, ...]
    catalog_revision: int
    author: str
    at: datetime
    pushed_at: datetime | None
    comment: str

    @classmethod
    def of(cls, version: rows.Version) -> Version:
        return cls(
            server=version.server,
            version=version.number,
            digest=version.digest,
            state=version.push,
            reason=version.reason,
            errors=tuple(Complaint(loc=problem.loc, msg=problem.msg) for problem in version.problems),
            catalog_revision=version.catalog_revision,
            author=version.author,
            at=version.at,
            pushed_at=version.pushed_at,
            comment=version.comment,
        )


class Versions(Model):
    """Configuration versions, newest first."""

    items: list[Version]
    next: int | None


class Difference(Model):
    """What was last pushed (`version` 0: nothing yet) beside what a push would make now."""

    server: str
    version: int
    digest: str
    updated_digest: str
    changed: bool = Field(description="Whether a push would bring anything new")


class Push(BaseModel):
    """Why it is pushed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    comment: str = Field(default="", max_length=4096, description="Why; kept with the version")


@router.get("", operation_id="list_servers")
async def list_servers(app: TheApp, actor: Asking) -> Servers:
    """Every Proxy Server that is configured, by name, as it was last seen."""
    now = app.clock()
    return Servers(items=[Server.of(server, now) for server in await app.servers()])


@router.get("/{name}", operation_id="get_server")
async def get_server(app: TheApp, actor: Asking, name: str) -> Server:
    """One Proxy Server, as it was last seen."""
    return Server.of(await app.server(name), app.clock())


@router.get("/{name}/diff", operation_id="diff_server")
async def diff_server(app: TheApp, actor: Asking, name: str) -> Difference:
    """Whether a push would bring anything new."""
    found = await app.difference(name)
    newest = found.newest
    return Difference(
        server=found.server,
        version=newest.number if newest else 0,
        digest=newest.digest if newest else "",
        updated_digest=found.digest,
        changed=found.changed,
    )


@router.get("/{name}/versions", operation_id="list_versions")
async def list_versions(
    app: TheApp,
    actor: Asking,
    name: str,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=0, description="`next` of the page before")] = None,
) -> Versions:
    """Newest first."""
    server = (await app.server_record(name)).item.name
    page = await app.store.versions.page(server, before=after, limit=limit)
    following = page[-1].number if len(page) == limit else None
    return Versions(items=[Version.of(version) for version in page], next=following)


@router.get("/{name}/versions/{number}", operation_id="get_version")
async def get_version(app: TheApp, actor: Asking, name: str, number: int) -> Version:
    """One configuration version, and what became of it."""
    server = (await app.server_record(name)).item.name
    return Version.of(await app.store.versions.get(server, number))


@router.post(
    "/{name}/push",
    operation_id="push_server",
    status_code=202,
    responses={200: {"model": Version, "description": "Applied"}},
)
async def push(
    app: TheApp,
    actor: Admin,
    response: Response,
    name: str,
    body: Push | None = None,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds to wait for it")] = 0,
) -> Version:
    """Make a new version of the server's configuration and push it. With `wait`: 200 applied, 409 rejected by the
    server (its reasons are the `errors`), 202 when it is not known yet."""
    version = await app.push(actor, name, body.comment if body else "")
    if wait:
        version = await app.await_push(version.server, version.number, wait)
    if version.push is PushState.REJECTED:
        raise UspError("push.rejected", version.reason, problems=version.problems)
    if version.push is PushState.APPLIED:
        response.status_code = 200
    return Version.of(version)
