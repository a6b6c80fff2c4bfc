"""The manager's use cases: what the API, the command line and the UI can ask for. They meet the pusher in the store.

Every use case that changes something takes the actor who asks, checks the role, and leaves an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from usp.errors import UspError
from usp.manager import keys
from usp.manager.bell import Bell
from usp.manager.catalog import Catalog, Change, Delta, apply, changes_of
from usp.manager.control import Controls, Endpoint
from usp.manager.diagnose import Diagnostics
from usp.manager.entry import Entry
from usp.manager.expiring import Expiring
from usp.manager.factors import Factors
from usp.manager.guard import Guard
from usp.manager.history import History
from usp.manager.logins import Logins
from usp.manager.penalties import Penalties
from usp.manager.providers import Providers
from usp.manager.pushes import Pushes
from usp.manager.rollouts import Rollouts
from usp.manager.store import Store
from usp.manager.store.rows import Event, Role, RunState, Server
from usp.manager.tickets import Tickets
from usp.manager.users import Actor, Administrators
from usp.manager.webhooks import Webhooks
from usp.model import Deployment, ProxyServer, Record, Tunnel
from usp.passwords import Passwords
from usp.settings import ManagerSettings
from usp.status import SessionStatus

WRITE_ATTEMPTS: Final = 50
"""A write that loses the race is computed again on the new catalog; so often at the most."""

POLL_SECONDS: Final = 0.2

RUNNABLE: Final = (Deployment.kind, Tunnel.kind)


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A partner's session and the server that it is on."""

    server: str
    session: SessionStatus


class App:
    """`bell` wakes this process's pusher when there is something to do before its next round. `turn` makes the writers
    of this process wait for each other, so that only another manager's can make them start again."""

    def __init__(
        self,
        store: Store,
        settings: ManagerSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        passwords: Passwords | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.bell = Bell()
        self.turn = asyncio.Lock()
        self.ending = asyncio.Event()  # streams end when it is set
        self.administrators = Administrators(store, settings.login, clock, passwords)
        self.logins = Logins(store, settings.login, clock, self.administrators)
        self.tickets = Tickets(store, clock)
        self.providers = Providers(settings.oidc, store, self.administrators, self.logins, self.tickets, clock)
        self.factors = Factors(
            store, clock, settings.name, self.logins.check_password, self.note, self.logins.needs_factor
        )
        self.guard = Guard(store, clock)
        self.entry = Entry(self.administrators.passwords, settings.name, clock)
        self.controls = Controls(settings.push.timeout)
        self.diagnostics = Diagnostics(store, self.controls, self.note)
        self.pushes = Pushes(store, self.bell, clock, self.note)
        self.rollouts = Rollouts(store, self.bell, clock, self.note)
        self.history = History(store)
        self.penalties = Penalties(store, self.controls, self.note)
        self.expiring = Expiring(store, settings)
        self.webhooks = Webhooks(store, clock, self.note, insecure=settings.events.insecure_webhooks)

    async def close(self) -> None:
        self.administrators.close()
        await self.controls.close()

    # --- items ---

    async def catalog(self) -> Catalog:
        return await self.store.items.read()

    async def write(self, actor: Actor, changes: Sequence[Change]) -> Delta:
        """Make the changes, all or nothing. UspError item.*, or catalog.conflict when others write all the time."""
        actor.require(Role.ADMIN)
        changes = await self.entry.admit(await self.store.items.read(), changes)
        async with self.turn:
            for _ in range(WRITE_ATTEMPTS):
                delta = self.delta(await self.store.items.read(), changes)
                if await self.save(actor, delta):
                    return delta
        raise UspError("catalog.conflict")

    def delta(self, catalog: Catalog, changes: Sequence[Change]) -> Delta:
        return apply(catalog, changes, now=self.clock(), new_id=lambda: str(uuid4()), facts=keys.facts)

    async def save(self, actor: Actor, delta: Delta) -> bool:
        """Write it and leave events; False when the catalog has moved on meanwhile."""
        await self.guard.check(actor, delta)
        events = [
            self._event(actor, f"item.{word}", f"{record.kind}/{record.item.name}", revision=delta.revision)
            for word, record in changes_of(delta)
        ]
        try:
            await self.store.items.write(delta, author=actor.name, at=self.clock(), events=events)
        except UspError as error:
            if error.code != "catalog.conflict":
                raise
            return False
        return True

    # --- servers ---

    async def server_record(self, key: str) -> Record:
        """UspError item.not_found."""
        return (await self.store.items.read()).get(ProxyServer.kind, key)

    async def servers(self) -> list[Server]:
        """All Proxy Servers with what is known of them, by name."""
        catalog = await self.store.items.read()
        known = await self.store.servers.all()
        names = [record.item.name for record in catalog.of_kind(ProxyServer.kind)]
        return [known.get(name) or Server(name) for name in names]

    async def server(self, key: str) -> Server:
        return await self.store.servers.get((await self.server_record(key)).item.name)

    async def set_run_state(self, actor: Actor, kind: str, key: str, state: RunState) -> None:
        """Start or stop a Deployment's listener or a Tunnel, drain a Proxy Server or not, and keep it so."""
        assert kind in (*RUNNABLE, ProxyServer.kind), kind
        actor.require(Role.ADMIN)
        record = (await self.store.items.read()).get(kind, key)
        async with self.store.transaction():
            await self.store.servers.set_run_state(record.id, state, author=actor.name, at=self.clock())
            await self.note(actor, f"run.{state}", f"{kind}/{record.item.name}")
        self.bell.ring()

    async def drained(self) -> frozenset[str]:
        """The Proxy Servers that an administrator drained, by name."""
        states = await self.store.servers.run_states()
        records = (await self.store.items.read()).of_kind(ProxyServer.kind)
        return frozenset(record.item.name for record in records if states.get(record.id) is RunState.DRAINED)

    async def emptied(self, key: str, timeout: float) -> Server:
        """The server once it takes no new session and has none left, or as it is after `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            server = await self.server(key)
            if server.is_empty or asyncio.get_running_loop().time() >= deadline:
                return server
            await asyncio.sleep(POLL_SECONDS)

    async def sessions(self) -> tuple[list[LiveSession], dict[str, str]]:
        """All live sessions, and which servers could not be asked, and why."""
        catalog = await self.store.items.read()
        records = [record for record in catalog.of_kind(ProxyServer.kind) if record.item.enabled]
        found: list[LiveSession] = []
        missing: dict[str, str] = {}

        async def ask(record: Record) -> None:
            name = record.item.name
            try:
                answer = await self.controls.sessions(Endpoint.of(catalog, record))
            except UspError as error:
                missing[name] = error.message
            else:
                found.extend(LiveSession(name, session) for session in answer)

        await asyncio.gather(*map(ask, records))
        return sorted(found, key=lambda live: (live.session.since, live.session.id)), missing

    async def kill_session(self, actor: Actor, id: str) -> None:
        """UspError item.not_found when no server that answers has it."""
        actor.require(Role.ADMIN)
        live, _ = await self.sessions()
        found = next((one for one in live if one.session.id == id), None)
        if found is None:
            raise UspError("item.not_found", f"there is no session '{id}'")
        catalog = await self.store.items.read()
        await self.controls.kill(Endpoint.of(catalog, catalog.get(ProxyServer.kind, found.server)), id)
        await self.note(actor, "session.kill", id, server=found.server)

    # --- events ---

    async def note(self, actor: Actor, action: str, target: str = "", **detail: Any) -> None:
        await self.store.events.add(self._event(actor, action, target, **detail))

    def _event(self, actor: Actor, action: str, target: str, **detail: Any) -> Event:
        return Event(at=self.clock(), author=actor.name, action=action, target=target, peer=actor.peer, detail=detail)
