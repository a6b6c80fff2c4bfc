"""What is wanted of each server and what was last seen of it; run states of Deployments and Tunnels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.errors import UspError
from usp.manager.changes import Change, changes
from usp.manager.store import schema
from usp.manager.store.clock import utc_now
from usp.manager.store.database import Database
from usp.manager.store.rows import RunState, Server, ServerChange
from usp.status import Report, ServerState

REASON_LENGTH = 1000

FRESH: Final = 3.0
"""Seconds for which a report counts for more than that another manager gets none."""
KEPT: Final = 1000
"""Lines of each server's history."""
SUBJECT_LENGTH: Final = 600

servers = schema.server.c
history = schema.server_change.c
WITH_AGE: Final = select(schema.server, utc_now().label("now"))
runs = schema.run_state.c


class Servers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Server:
        """A server that nothing is known of yet comes as `Server(name)`."""
        async with self._database.reading() as connection:
            row = (await connection.execute(WITH_AGE.where(servers.name == name))).first()
        return Server(name) if row is None else _server(row)

    async def all(self) -> Mapping[str, Server]:
        """Every server that something is known of, by name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(WITH_AGE.order_by(servers.name))
            return {row.name: _server(row) for row in rows}

    async def ages(self) -> Mapping[str, float]:
        """server -> seconds since any manager saw it; who was never seen is not in it."""
        query = select(servers.name, servers.reported_at, utc_now().label("now"))
        async with self._database.reading() as connection:
            return {
                row.name: (row.now - row.reported_at).total_seconds()
                for row in await connection.execute(query.where(servers.reported_at.is_not(None)))
            }

    async def observed(
        self, name: str, state: ServerState, reason: str, *, at: datetime, report: Report | None = None, by: str = ""
    ) -> None:
        """What the manager `by` saw. Without a report (unreachable) the last one stays, and `seen_at` with it; and if
        another manager has just seen the server, that stays altogether: who is cut off tells nothing about it."""
        look = partial(_look, name=name, state=state, reason=reason, at=at, report=report, by=by)
        await self._database.racing(look)

    async def changes(self, name: str, *, before: int | None = None, limit: int = 100) -> list[ServerChange]:
        """A server's history, newest first; `before` a number, for the next page."""
        query = select(schema.server_change).where(history.server == name).order_by(history.id.desc()).limit(limit)
        if before is not None:
            query = query.where(history.id < before)
        async with self._database.reading() as connection:
            return [
                ServerChange(row.id, row.made_at, Change(row.subject, row.was, row.state, row.reason))
                for row in await connection.execute(query)
            ]

    async def run_states(self) -> Mapping[str, RunState]:
        """id of Deployment, Tunnel or Proxy Server -> what an administrator wants; no entry: its startup decides."""
        async with self._database.reading() as connection:
            return {row.id: RunState(row.state) for row in await connection.execute(select(schema.run_state))}

    async def set_run_state(self, id: str, state: RunState | None, *, author: str, at: datetime) -> None:
        """None: back to what its startup says."""

        async def set_(connection: AsyncConnection) -> None:
            await connection.execute(delete(schema.run_state).where(runs.id == id))
            if state is not None:
                values = {"id": id, "state": state.value, "author": author, "made_at": at}
                await connection.execute(insert(schema.run_state).values(values))

        await self._database.racing(set_)


async def _look(
    connection: AsyncConnection,
    *,
    name: str,
    state: ServerState,
    reason: str,
    at: datetime,
    report: Report | None,
    by: str,
) -> None:
    """UspError catalog.conflict when another manager noted a look of its own at this moment."""
    found = (await connection.execute(WITH_AGE.where(servers.name == name))).first()
    before = _server(found) if found is not None else Server(name)
    seen_by_another = found is not None and found.reported_to != by and before.age is not None and before.age < FRESH
    if report is None and seen_by_another and before.state is not ServerState.UNREACHABLE:
        return
    if report is not None and _is_late(report, before.report):
        return
    values: dict[str, Any] = {"state": state.value, "reason": reason[:REASON_LENGTH], "checked_at": at}
    if report is not None:
        stamp = {"reported_at": utc_now(), "reported_to": by}
        values |= {"report": report.model_dump_json(), "seen_at": at, **stamp}
    looks = (found.looks or 0) if found is not None else 0
    values["looks"] = looks + 1
    if found is None:
        await connection.execute(insert(schema.server).values({"name": name, "desired": 0, **values}))
    else:
        same = or_(servers.looks == looks, servers.looks.is_(None))
        done = await connection.execute(update(schema.server).where(servers.name == name, same).values(values))
        if done.rowcount == 0:
            raise UspError("catalog.conflict")
    await _tell(connection, name, list(changes(before.state, before.report, state, report, reason)))


def _is_late(report: Report, before: Report | None) -> bool:
    """Whether another manager has noted a later look already: within one life of a server, versions only grow."""
    return before is not None and before.boot == report.boot and before.version > report.version


async def _tell(connection: AsyncConnection, name: str, found: Sequence[Change]) -> None:
    """Add to the server's history, and keep its newest lines only."""
    if not found:
        return
    for change in found:
        values = {
            "server": name,
            "made_at": utc_now(),
            "subject": change.subject[:SUBJECT_LENGTH],
            "was": change.was,
            "state": change.state,
            "reason": change.reason[:REASON_LENGTH],
        }
        await connection.execute(insert(schema.server_change).values(values))
    ids = select(history.id).where(history.server == name).order_by(history.id.desc())
    last = (await connection.execute(ids.offset(KEPT).limit(1))).scalar_one_or_none()
    if last is not None:
        await connection.execute(delete(schema.server_change).where(history.server == name, history.id <= last))


async def upsert(
    connection: AsyncConnection, name: str, values: Mapping[str, Any], otherwise: Mapping[str, Any]
) -> None:
    """Update the server's row, or insert it with `otherwise` added."""
    done = await connection.execute(update(schema.server).where(servers.name == name).values(values))
    if done.rowcount == 0:
        await connection.execute(insert(schema.server).values({"name": name, **otherwise, **values}))


def _server(row: Row[Any]) -> Server:
    return Server(
        name=row.name,
        desired=row.desired,
        state=ServerState(row.state),
        reason=row.reason,
        report=Report.model_validate_json(row.report) if row.report else None,
        seen_at=row.seen_at,
        checked_at=row.checked_at,
        age=max(0.0, (row.now - row.reported_at).total_seconds()) if row.reported_at else None,
    )
