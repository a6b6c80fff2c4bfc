"""What is wanted of each server and what was last seen of it; run states of Deployments and Tunnels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.rows import RunState, Server
from usp.status import Report, ServerState

REASON_LENGTH = 1000

servers = schema.server.c
runs = schema.run_state.c


class Servers:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Server:
        """A server that nothing is known of yet comes as `Server(name)`."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(schema.server).where(servers.name == name))).first()
        return Server(name) if row is None else _server(row)

    async def all(self) -> Mapping[str, Server]:
        """Every server that something is known of, by name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(schema.server).order_by(servers.name))
            return {row.name: _server(row) for row in rows}

    async def observed(
        self, name: str, state: ServerState, reason: str, *, at: datetime, report: Report | None = None
    ) -> None:
        """What a manager saw. Without a report (unreachable) the last one stays, and `seen_at` with it."""
        values: dict[str, Any] = {"state": state.value, "reason": reason[:REASON_LENGTH], "checked_at": at}
        if report is not None:
            values |= {"report": report.model_dump_json(), "seen_at": at}
        await self._database.racing(lambda connection: upsert(connection, name, values, {"desired": 0}))

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
    )
