"""Pushes to several servers: their state, who moves them on, and what each server is to get, sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from usp.errors import UspError
from usp.manager.rollout import Rollout, RolloutState, Step, StepState
from usp.manager.store import schema
from usp.manager.store.database import Database
from usp.manager.store.keys import Keys
from usp.manager.store.leases import Lease, Leases, still_held
from usp.manager.store.versions import read_content
from usp.snapshot import Content

REASON_LENGTH = 1000

rollouts = schema.rollout.c
contents = schema.rollout_content.c


class Rollouts:
    def __init__(self, database: Database, keys: Keys, leases: Leases) -> None:
        self._database = database
        self._keys = keys
        self._leases = leases

    async def add(self, rollout: Rollout, content: Mapping[str, Content]) -> Rollout:
        """With what each server is to get; the rollout with its id."""
        async with self._database.writing() as connection:
            done = await connection.execute(insert(schema.rollout).values(_row(rollout)))
            assert done.inserted_primary_key is not None
            id = int(done.inserted_primary_key[0])
            rows = [
                {
                    "rollout_id": id,
                    "server": server,
                    "content": self._keys.vault.seal(each.to_wire(), _place(id, server)),
                }
                for server, each in content.items()
            ]
            await connection.execute(insert(schema.rollout_content), rows)
        return replace(rollout, id=id)

    async def get(self, id: int) -> Rollout:
        """UspError `rollout.not_found`."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(schema.rollout).where(rollouts.id == id))).first()
        if row is None:
            raise UspError("rollout.not_found", f"there is no push to several servers with number {id}")
        return _rollout(row)

    async def page(self, *, before: int | None = None, limit: int = 100) -> list[Rollout]:
        """Newest first; `before` a number, for the next page."""
        query = select(schema.rollout).order_by(rollouts.id.desc()).limit(limit)
        if before is not None:
            query = query.where(rollouts.id < before)
        async with self._database.reading() as connection:
            return [_rollout(row) for row in await connection.execute(query)]

    async def content(self, id: int, server: str) -> Content:
        """What that server is to get; gone when the rollout has ended."""
        query = select(contents.content).where(contents.rollout_id == id, contents.server == server)
        async with self._database.reading() as connection:
            sealed = (await connection.execute(query)).scalar_one()
        vault = await self._keys.vault_for([sealed])
        return read_content(vault.open(sealed, _place(id, server)))

    async def open(self) -> list[int]:
        """Those that have not ended, oldest first."""
        query = select(rollouts.id).where(rollouts.state == RolloutState.RUNNING.value).order_by(rollouts.id)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def claim(self, id: int, runner: str, lasting: timedelta) -> tuple[Rollout, Lease] | None:
        """The rollout, if it has not ended and nobody else moves it on; `runner` may, for so long."""
        lease = await self._leases.take(f"rollout/{id}", runner, lasting)
        if lease is None:
            return None
        rollout = await self.get(id)
        if rollout.state is RolloutState.RUNNING:
            return rollout, lease
        await self._leases.forget(lease.name)
        return None

    async def save(self, rollout: Rollout, lease: Lease) -> bool:
        """False when somebody else has it by now."""
        async with self._database.writing() as connection:
            if not await still_held(connection, lease):
                return False
            await connection.execute(update(schema.rollout).where(rollouts.id == rollout.id).values(_row(rollout)))
            if rollout.state is not RolloutState.RUNNING:
                await connection.execute(delete(schema.rollout_content).where(contents.rollout_id == rollout.id))
        return True


def _place(id: int, server: str) -> str:
    return f"usp_rollout_content:{id}/{server}:content"


def _row(rollout: Rollout) -> dict[str, Any]:
    return {
        "made_at": rollout.at,
        "author": rollout.author,
        "note": rollout.comment,
        "catalog_revision": rollout.catalog_revision,
        "canary": rollout.canary,
        "forced": rollout.force,
        "patience": round(rollout.patience),
        "steps": [asdict(replace(step, reason=step.reason[:REASON_LENGTH])) for step in rollout.steps],
        "state": rollout.state.value,
        "reason": rollout.reason[:REASON_LENGTH],
        "ended_at": rollout.ended_at,
    }


def _rollout(row: Row[Any]) -> Rollout:
    return Rollout(
        id=row.id,
        author=row.author,
        at=row.made_at,
        comment=row.note,
        catalog_revision=row.catalog_revision,
        canary=row.canary,
        force=row.forced,
        patience=row.patience,
        steps=tuple(_step(step) for step in row.steps),
        state=RolloutState(row.state),
        reason=row.reason,
        ended_at=row.ended_at,
    )


def _step(step: Mapping[str, Any]) -> Step:
    since = datetime.fromisoformat(step["since"]) if step["since"] else None
    return Step(**{**step, "state": StepState(step["state"]), "since": since})
