"""Configuration versions: numbered per server, never rewritten, content sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from usp.errors import Problem, UspError
from usp.manager.store import schema
from usp.manager.store.database import Database, in_turn
from usp.manager.store.keys import Keys
from usp.manager.store.rows import Pushable, Version
from usp.manager.store.servers import upsert
from usp.snapshot import PROTOCOL, Content, Snapshot
from usp.status import PushState, Report, ServerState

REASON_LENGTH = 1000

versions = schema.version.c
contents = schema.version_content.c


class Versions:
    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def add(
        self, server: str, content: Content, *, catalog_revision: int, author: str, at: datetime, comment: str = ""
    ) -> Version:
        """The next version of a server, and from now on its desired one. Its number is above all before and above what
        the server itself last reported."""

        async def add(connection: AsyncConnection) -> Version:
            await in_turn(connection)
            number = await _next(connection, server)
            version = Version(server, number, content.digest, catalog_revision, author, at, comment, PushState.PENDING)
            await connection.execute(insert(schema.version).values(_row(version)))
            await connection.execute(insert(schema.version_content).values(self._content(version, content)))
            await upsert(connection, server, {"desired": number}, {"state": ServerState.UNKNOWN.value})
            return version

        return await self._database.racing(add)

    async def get(self, server: str, number: int) -> Version:
        """UspError `version.not_found`."""
        found = await self.find(server, number)
        if found is None:
            raise _not_found(server, number)
        return found

    async def find(self, server: str, number: int) -> Version | None:
        found = await self._one(select(schema.version).where(versions.server == server, versions.version == number))
        return None if found is None else _version(found)

    async def latest(self, server: str, *push: PushState) -> Version | None:
        """The newest version, or the newest in one of these push states."""
        query = select(schema.version).where(versions.server == server).order_by(versions.version.desc()).limit(1)
        if push:
            query = query.where(versions.push.in_([state.value for state in push]))
        found = await self._one(query)
        return None if found is None else _version(found)

    async def page(self, server: str, *, before: int | None = None, limit: int = 100) -> list[Version]:
        """Newest first; `before` a number, for the next page."""
        query = select(schema.version).where(versions.server == server).order_by(versions.version.desc()).limit(limit)
        if before is not None:
            query = query.where(versions.version < before)
        async with self._database.reading() as connection:
            return [_version(row) for row in await connection.execute(query)]

    async def open(self, server: str, number: int) -> Pushable:
        """A version with its content, for pushing, comparing and rolling back."""
        both = (contents.server == versions.server) & (contents.version == versions.version)
        query = select(schema.version, contents.content).join(schema.version_content, both)
        found = await self._one(query.where(versions.server == server, versions.version == number))
        if found is None:
            raise _not_found(server, number)
        vault = await self._keys.vault_for([found.content])
        content = read_content(vault.open(found.content, _place(server, number)))
        snapshot = Snapshot(protocol=PROTOCOL, server=server, version=number, digest=found.digest, content=content)
        return Pushable(_version(found), snapshot)

    async def pushed(
        self,
        server: str,
        number: int,
        push: PushState,
        *,
        at: datetime,
        reason: str = "",
        problems: Sequence[Problem] = (),
    ) -> bool:
        """What became of a push, and whether that is news. What a server accepted once stays applied, whatever managers
        that are late or cut off say; a refusal after that leaves its reason."""
        values = {
            "push": push.value,
            "pushed_at": at,
            "reason": reason[:REASON_LENGTH],
            "problems": [{"loc": problem.loc, "msg": problem.msg} for problem in problems] or None,
        }
        if await self._update(server, number, values, versions.push != PushState.APPLIED.value):
            return True
        if await self.find(server, number) is None:
            raise _not_found(server, number)
        if push is PushState.REJECTED:
            del values["push"]
            await self._update(server, number, values)
        return False

    async def _update(self, server: str, number: int, values: dict[str, Any], *also: ColumnElement[bool]) -> bool:
        statement = update(schema.version).where(versions.server == server, versions.version == number, *also)
        async with self._database.writing() as connection:
            return (await connection.execute(statement.values(values))).rowcount == 1

    async def _one(self, query: Select[Any]) -> Row[Any] | None:
        async with self._database.reading() as connection:
            found: Row[Any] | None = (await connection.execute(query)).first()
            return found

    def _content(self, version: Version, content: Content) -> dict[str, Any]:
        place = _place(version.server, version.number)
        sealed = self._keys.vault.seal(content.to_wire(), place)
        return {"server": version.server, "version": version.number, "content": sealed}


def _row(version: Version) -> dict[str, Any]:
    return {
        "server": version.server,
        "version": version.number,
        "digest": version.digest,
        "catalog_revision": version.catalog_revision,
        "author": version.author,
        "made_at": version.at,
        "note": version.comment,
        "push": version.push.value,
    }


def read_content(wire: bytes) -> Content:
    """UspError version.unreadable when another release wrote it."""
    try:
        return Content.model_validate_json(wire)
    except ValidationError:
        raise UspError("version.unreadable") from None


def _place(server: str, number: int) -> str:
    return f"usp_version:{server}/{number}:content"


def _not_found(server: str, number: int) -> UspError:
    return UspError("version.not_found", f"'{server}' has no configuration version {number}", server=server)


async def _next(connection: AsyncConnection, server: str) -> int:
    last = await connection.execute(select(func.max(versions.version)).where(versions.server == server))
    seen = await connection.execute(select(schema.server.c.report).where(schema.server.c.name == server))
    report = seen.scalar_one_or_none()
    reported = Report.model_validate_json(report).version if report else 0
    return max(last.scalar_one() or 0, reported) + 1


def _version(row: Row[Any]) -> Version:
    return Version(
        server=row.server,
        number=row.version,
        digest=row.digest,
        catalog_revision=row.catalog_revision,
        author=row.author,
        at=row.made_at,
        comment=row.note,
        push=PushState(row.push),
        reason=row.reason,
        problems=tuple(Problem(tuple(problem["loc"]), problem["msg"]) for problem in row.problems or ()),
        pushed_at=row.pushed_at,
    )
