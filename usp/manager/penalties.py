"""Use cases around a server's penalties: who has one, and letting them off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from usp.manager.control import Controls, Endpoint
from usp.manager.store import Store
from usp.manager.store.rows import Role
from usp.manager.users import Actor
from usp.model import ProxyServer
from usp.status import PenaltyStatus

Note = Callable[..., Awaitable[None]]


class Penalties:
    """`note(actor, action, target, **detail)` leaves an event. UspError server.* when the server does not answer."""

    def __init__(self, store: Store, controls: Controls, note: Note) -> None:
        self._store = store
        self._controls = controls
        self._note = note

    async def on(self, server: str) -> tuple[PenaltyStatus, ...]:
        """Who has a penalty there now."""
        return await self._controls.penalties(await self._endpoint(server))

    async def release(self, actor: Actor, server: str, key: str) -> None:
        """Forget what is held against it. UspError penalty.unknown."""
        actor.require(Role.ADMIN)
        endpoint = await self._endpoint(server)
        await self._controls.release(endpoint, key)
        await self._note(actor, "penalty.release", key, server=endpoint.name)

    async def _endpoint(self, server: str) -> Endpoint:
        catalog = await self._store.items.read()
        return Endpoint.of(catalog, catalog.get(ProxyServer.kind, server))
