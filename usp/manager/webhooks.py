"""Webhooks: making them, and telling them of events. One manager at a time tells, by a lease.

Each is told of what it wants in the order of the events, one after the other, and how far is kept in the database: so
each event arrives at least once, and more than once only if a manager went away in between. What fails is tried again
later and later, for a day; then it is left out, which the audit trail tells (`webhook.dead`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from usp import backoff
from usp.errors import Problem, UspError
from usp.log import get_logger
from usp.manager import hooks
from usp.manager.store import Store
from usp.manager.store.rows import Event, Role, Webhook
from usp.manager.users import Actor

log = get_logger(__name__)

TIMEOUT: Final = 10.0
"""Seconds for one event, from the connection to the answer."""
ROUND: Final = 20.0
"""Seconds after which a round goes no further, so that the lease holds."""
PAGE: Final = 50
EVERY: Final = 2.0
LEASE: Final = "webhooks.telling"
LASTING: Final = timedelta(seconds=60)


class Webhooks:
    """`note(actor, action, target, **detail)` leaves an event; `insecure`: http and this machine will do."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], note: Callable[..., Awaitable[None]], *, insecure: bool
    ) -> None:
        self._store = store
        self._clock = clock
        self._note = note
        self._insecure = insecure

    async def all(self) -> list[Webhook]:
        return await self._store.webhooks.all()

    async def add(self, actor: Actor, name: str, url: str, wanted: Mapping[str, str]) -> Webhook:
        """With a secret of its own. UspError `webhook.exists`, `request.invalid`."""
        actor.require(Role.ADMIN)
        if text := hooks.objection(url, insecure=self._insecure):
            raise UspError("request.invalid", problems=[Problem(("url",), text)])
        made = Webhook(str(uuid4()), name, url, hooks.secret(os.urandom(32)), self._clock(), wanted)
        async with self._store.transaction():
            await self._store.webhooks.add(made)
            await self._note(actor, "webhook.add", name, url=url, wanted=dict(wanted))
        return made

    async def remove(self, actor: Actor, name: str) -> None:
        actor.require(Role.ADMIN)
        async with self._store.transaction():
            if not await self._store.webhooks.delete(name):
                raise UspError("webhook.not_found", f"there is no webhook {name}")
            await self._note(actor, "webhook.remove", name)

    async def enable(self, actor: Actor, name: str, enabled: bool) -> None:
        """Enabling tries at once what failed."""
        actor.require(Role.ADMIN)
        async with self._store.transaction():
            if not await self._store.webhooks.enable(name, enabled):
                raise UspError("webhook.not_found", f"there is no webhook {name}")
            await self._note(actor, "webhook.enable" if enabled else "webhook.disable", name)


class Teller:
    """Tells the webhooks, while this manager holds the lease."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        note: Callable[..., Awaitable[None]],
        *,
        insecure: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._note = note
        self._insecure = insecure
        self._holder = str(uuid4())

    async def run(self) -> None:
        """Until cancelled."""
        async with self.client() as client:
            while True:
                try:
                    if await self._store.leases.take(LEASE, self._holder, LASTING):
                        await self.round(client)
                except UspError as error:
                    log.warn("webhooks.not_told", exc_info=error)
                await asyncio.sleep(EVERY)

    def client(self) -> aiohttp.ClientSession:
        """It follows no redirect, takes no proxy from the environment, and connects nowhere that is not permitted."""
        connector = aiohttp.TCPConnector(resolver=Resolver(self._insecure), use_dns_cache=False)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT))

    async def round(self, client: aiohttp.ClientSession) -> None:
        """All of them at once, each as far as it goes."""
        now = self._clock()
        due = [each for each in await self._store.webhooks.all() if each.enabled and each.due(now)]
        await asyncio.gather(*(self._tell(client, each) for each in due))

    async def _tell(self, client: aiohttp.ClientSession, hook: Webhook) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + ROUND
        wanted: Any = hook.wanted
        events, told = await self._store.events.since(hook.told, PAGE, **wanted)
        for event in events:
            if loop.time() > end:
                return
            if not event.action.startswith(hooks.OWN):
                if error := await self._send(client, hook, event):
                    await self._failed(hook, event, error)
                    return
                await self._store.webhooks.told(hook, event.number, delivered=1)
        await self._store.webhooks.told(hook, told)

    async def _send(self, client: aiohttp.ClientSession, hook: Webhook, event: Event) -> str:
        """What was wrong; empty: it was taken."""
        if text := hooks.objection(hook.url, insecure=self._insecure):
            return f"the URL {text}"
        sent = hooks.body(event)
        headers = hooks.headers(hook.secret, event, sent, self._clock())
        try:
            async with client.post(hook.url, data=sent, headers=headers, allow_redirects=False) as response:
                return "" if 200 <= response.status < 300 else f"HTTP {response.status}"
        except TimeoutError:
            return f"no answer within {TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__

    async def _failed(self, hook: Webhook, event: Event, error: str) -> None:
        now = self._clock()
        since = hook.failing_since or now
        log.warn("webhook.failed", webhook=hook.name, event_id=event.number, reason=error, failures=hook.failures + 1)
        if now - since < hooks.GIVE_UP:
            wait = backoff.delay(hook.failures, self._random(), hooks.SHORTEST, hooks.LONGEST)
            await self._store.webhooks.failed(hook, error, since=since, retry_at=now + timedelta(seconds=wait))
            return
        system = Actor("usp-manager", Role.ADMIN)
        async with self._store.transaction():
            await self._store.webhooks.told(hook, event.number, dead=1)
            await self._note(system, "webhook.dead", hook.name, event=event.number, reason=error)


class Resolver(AbstractResolver):
    """The system's, without addresses that are not permitted: what was checked is what is connected to."""

    def __init__(self, insecure: bool) -> None:
        self._insecure = insecure

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found: Sequence[Any] = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        addresses = hooks.permitted([info[4][0] for info in found], insecure=self._insecure)
        if not addresses:
            raise OSError(f"{host} leads to this machine or its link, which is not permitted")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """It holds nothing."""
