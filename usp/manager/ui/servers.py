"""One Proxy Server: its configuration versions and history, what a push would do, pushing, and going back."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query
from fastapi.responses import Response

from usp.errors import UspError
from usp.manager.api.versions import MAX_COMMENT
from usp.manager.holdings import PREFIX, manager_of
from usp.manager.pushes import Comparison, Pushed
from usp.manager.store.rows import Version
from usp.manager.ui import pages
from usp.manager.ui.overview import row
from usp.manager.ui.status import the_board
from usp.manager.ui.visits import Changing, Visit, Visiting
from usp.status import PushState

router = APIRouter(include_in_schema=False)

PAGE: Final = 30
SETTLE_SECONDS: Final = 10.0
"""So long a page waits for what becomes of a push."""

Number = Annotated[int | None, Query(ge=0, le=2**53)]
Box = Annotated[str, Form(max_length=5)]
Comment = Annotated[str, Form(max_length=MAX_COMMENT)]


@router.get("/servers/{key}")
async def server(visit: Visiting, key: str, before: Number = None) -> Response:
    app = visit.app
    record = await app.server_record(key)
    name = record.item.name
    found = await app.server(name)
    catalog = await app.catalog()
    due = await app.pushes.due(catalog, found)
    shown = row(catalog, record, found, await app.store.servers.run_states(), due)
    versions = await app.store.versions.page(name, before=before, limit=PAGE)
    changes = await app.store.servers.changes(name, limit=PAGE)
    more = versions[-1].number if len(versions) == PAGE and versions[-1].number > 1 else None
    return pages.page(
        visit,
        "server.html",
        name,
        at="status",
        row=shown,
        versions=versions,
        changes=changes,
        more=more,
        keeper=await _keeper(visit, name),
    )


async def _keeper(visit: Visit, server: str) -> str:
    """The manager that looks after it now; "" when none does."""
    lease = PREFIX + server
    standing = await visit.app.store.leases.standing(lease)
    return next((manager_of(each.holder) for each in standing if each.name == lease and each.left > 0), "")


@router.get("/servers/{key}/push")
async def preview(visit: Changing, key: str) -> Response:
    return await _preview(visit, key)


async def _preview(visit: Visit, key: str, error: UspError | None = None) -> Response:
    """What a push would do. A configuration that cannot be made is told, with the places of what is wrong."""
    name = (await visit.app.server_record(key)).item.name
    found: Comparison | None = None
    try:
        found = await visit.app.pushes.compare(name)
    except UspError as problem:
        if problem.code != "compile.invalid":
            raise
        error = problem
    status = 200 if error is None or error.code == "compile.invalid" else 409
    title = f"Push to {name}"
    return pages.page(visit, "push.html", title, at="status", name=name, found=found, error=error, status=status)


@router.post("/servers/{key}/push")
async def push(
    visit: Visiting, key: str, comment: Comment = "", force: str = Form(default="", max_length=5)
) -> Response:
    pushed = await visit.app.pushes.push(visit.actor, key, comment.strip(), force=bool(force))
    return await _settled(visit, pushed)


@router.get("/servers/{key}/versions/{number}")
async def version(visit: Visiting, key: str, number: int, to: Number = None) -> Response:
    """How a version differs from the one in force, or from another one."""
    app = visit.app
    name = (await app.server_record(key)).item.name
    found = await app.store.versions.get(name, number)
    active = await app.pushes.active(name)
    other = to if to is not None else active.number if active else 0
    compared = await app.pushes.compare(name, other, number)
    title = f"{name}: version {number}"
    return pages.page(
        visit, "version.html", title, at="status", name=name, version=found, active=active, found=compared, other=other
    )


@router.post("/servers/{key}/rollback")
async def rollback(
    visit: Visiting, key: str, version: Annotated[int, Form(ge=1, le=2**53)], comment: Comment = ""
) -> Response:
    pushed = await visit.app.pushes.rollback(visit.actor, key, version, comment.strip())
    return await _settled(visit, pushed)


async def _settled(visit: Visit, pushed: Pushed) -> Response:
    """What became of it, once it is known; a refusal with the server's reasons."""
    made = pushed.version
    if not pushed.unchanged:
        made = await visit.app.pushes.settled(made.server, made.number, SETTLE_SECONDS)
    the_board(visit.request).stale()
    if made.push is PushState.REJECTED:
        return await _preview(visit, made.server, UspError("push.rejected", made.reason, problems=made.problems))
    return pages.onward(f"/ui/servers/{made.server}", _told(made, unchanged=pushed.unchanged))


def _told(made: Version, *, unchanged: bool) -> str:
    if unchanged:
        return f"{made.server} has this configuration already, as version {made.number}: nothing was pushed."
    if made.push is PushState.APPLIED:
        return f"Version {made.number} is in force on {made.server}."
    return f"Version {made.number} was made. {made.server} gets it as soon as it answers."
