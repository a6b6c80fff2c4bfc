"""Configuration versions of servers: pushing the catalog as it is now, going back, and what differs.

A push makes a version, which every pusher then wants on the server. A rollback makes one too, of an older version's
content: numbers only grow, and history is never rewritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from usp.errors import UspError
from usp.manager.bell import Bell
from usp.manager.catalog import Catalog
from usp.manager.compile import compile as compiled
from usp.manager.diff import EMPTY, Difference, Due, Effects, differences, effects
from usp.manager.store import Store
from usp.manager.store.rows import Role, RunState, Server, Version
from usp.manager.users import Actor
from usp.model import ProxyServer
from usp.snapshot import Content
from usp.status import PushState

POLL_SECONDS: Final = 1.0
"""Between looks at what another manager may have noted; what this one notes rings the bell."""

PLACE_ATTEMPTS: Final = 5
"""A version that loses a race with another manager is made again, so often at the most."""

Note = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Pushed:
    """`unchanged`: the server has it already, so that no version was made."""

    version: Version
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison. `number` 0: nothing; None: the catalog as it is now."""

    number: int | None
    digest: str
    content: Content = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`newest`: the newest version (0: none), which may be on its way still."""

    server: str
    before: Side
    after: Side
    newest: int
    differences: tuple[Difference, ...]
    effects: Effects


class Pushes:
    """`note(actor, action, target, **detail)` leaves an event; `bell` wakes the pusher, and those who wait for it."""

    def __init__(self, store: Store, bell: Bell, clock: Callable[[], datetime], note: Note) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._note = note
        self._compiling = asyncio.Lock()

    async def push(self, actor: Actor, key: str, comment: str = "", *, force: bool = False) -> Pushed:
        """Compile the catalog for this server into a new version. `force`: even if the server has it already."""
        actor.require(Role.ADMIN)
        catalog = await self._store.items.read()
        name = catalog.get(ProxyServer.kind, key).item.name
        async with self._compiling:  # one at a time: the first makes what all servers have in common
            content = await asyncio.to_thread(compiled, catalog, name)
        return await self.place(actor, name, content, catalog_revision=catalog.revision, comment=comment, force=force)

    async def rollback(self, actor: Actor, key: str, number: int, comment: str = "", *, force: bool = False) -> Pushed:
        """The content of version `number` as a new version, whatever the catalog is now."""
        actor.require(Role.ADMIN)
        name = await self._name(key)
        old = await self._store.versions.open(name, number)
        return await self.place(
            actor,
            name,
            old.snapshot.content,
            catalog_revision=old.version.catalog_revision,
            comment=comment or f"rollback to version {number}",
            force=force,
            rollback=number,
        )

    async def place(
        self,
        actor: Actor,
        server: str,
        content: Content,
        *,
        catalog_revision: int,
        comment: str,
        force: bool = False,
        **detail: object,
    ) -> Pushed:
        """Make this the wanted version of the server, unless it is that already and in force."""
        newest = await self._store.versions.latest(server)
        if newest is not None and not force and newest.digest == content.digest:
            active = await self.active(server)
            if active is not None and active.number == newest.number:
                return Pushed(newest, unchanged=True)
        for attempt in range(PLACE_ATTEMPTS):
            try:
                async with self._store.transaction():
                    version = await self._store.versions.add(
                        server,
                        content,
                        catalog_revision=catalog_revision,
                        author=actor.name,
                        at=self._clock(),
                        comment=comment,
                    )
                    await self._note(actor, "push", server, version=version.number, digest=version.digest, **detail)
                break
            except UspError as error:  # such as when another manager has just seen the server for the first time
                if error.code != "catalog.conflict" or attempt == PLACE_ATTEMPTS - 1:
                    raise
        self._bell.ring(server)
        return Pushed(version)

    async def due(self, catalog: Catalog, server: Server) -> Due:
        """What a push of this catalog would mean for a server, of which `desired` is the newest version."""
        try:
            async with self._compiling:
                digest = await asyncio.to_thread(_digest, catalog, server.name)
        except UspError as error:
            found = error.problems[0] if error.problems else None
            return Due(True, f"{'.'.join(map(str, found.loc))}: {found.msg}" if found else error.message)
        newest = await self._store.versions.find(server.name, server.desired) if server.desired else None
        return Due(newest is None or newest.digest != digest)

    async def active(self, server: str) -> Version | None:
        """The version in force: what the server last reported, or what it last applied, when it has just restarted."""
        report = (await self._store.servers.get(server)).report
        if report is None or report.version == 0:
            return await self._store.versions.latest(server, PushState.APPLIED)
        reported = await self._store.versions.find(server, report.version)
        return reported if reported is not None and reported.digest == report.digest else None

    async def settled(self, server: str, number: int, timeout: float) -> Version:
        """The version once it was applied or rejected, or as it is after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            version = await self._store.versions.get(server, number)
            settled = version.push in (PushState.APPLIED, PushState.REJECTED)
            if settled or asyncio.get_running_loop().time() >= deadline:
                return version
            await self._bell.wait(POLL_SECONDS, server)

    async def content(self, key: str, number: int) -> tuple[Version, Content]:
        """A version and its content, with the secrets in it."""
        found = await self._store.versions.open(await self._name(key), number)
        return found.version, found.snapshot.content

    async def compare(self, key: str, before: int | None = None, after: int | None = None) -> Comparison:
        """From the version in force (or `before`) to the catalog as it is now (or version `after`); 0 is nothing.
        UspError compile.invalid when the catalog cannot be compiled."""
        name = await self._name(key)
        newest = await self._store.versions.latest(name)
        if before is None:
            active = await self.active(name)
            before = active.number if active else 0
        old, new = await self._side(name, before), await self._side(name, after)
        run = {id: state is RunState.STARTED for id, state in (await self._store.servers.run_states()).items()}
        found = await asyncio.to_thread(differences, old.content, new.content)
        return Comparison(
            server=name,
            before=old,
            after=new,
            newest=newest.number if newest else 0,
            differences=found,
            effects=effects(old.content, new.content, run),
        )

    async def _side(self, server: str, number: int | None) -> Side:
        if number == 0:
            return Side(0, "", EMPTY)
        if number is None:
            content = await asyncio.to_thread(compiled, await self._store.items.read(), server)
            return Side(None, content.digest, content)
        found = await self._store.versions.open(server, number)
        return Side(number, found.version.digest, found.snapshot.content)

    async def _name(self, key: str) -> str:
        return (await self._store.items.read()).get(ProxyServer.kind, key).item.name


def _digest(catalog: Catalog, server: str) -> str:
    return (catalog.contents.get(server) or compiled(catalog, server)).digest
