"""The guard of UI and API: an IP Filter that says which addresses may talk to the managers at all.

It is a setting in the database, the same for all managers. Loopback is always exempt; whoever sets a filter, or changes
the one in force, must still be admitted by it. `usp-manager remove-ip-filter` helps out whoever is locked out all the
same. The address is that of the TCP connection: what a header says of it (`X-Forwarded-For`) is hearsay.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from usp import ipfilter
from usp.errors import UspError
from usp.manager.catalog import Catalog, Delta
from usp.manager.kinds import item_of
from usp.manager.store.rows import Event, Role
from usp.manager.store.store import Store
from usp.manager.users import Actor
from usp.model import FilterAction, IpFilter, Record
from usp.snapshot import FilterSpec

SETTING: Final = "ip-filter"
REFRESH_SECONDS: Final = 2.0
"""A change reaches the other managers after so long at the latest."""


class Guard:
    def __init__(
        self, store: Store, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._fresh_until = -1.0
        self._known: FilterSpec | None = None

    async def admits(self, address: str) -> bool:
        """May this address talk to us? While the database is away, what was last known holds."""
        if is_loopback(address):
            return True
        if self._monotonic() >= self._fresh_until:
            await self._refresh()
        return self._known is None or _permits(self._known, address)

    async def _refresh(self) -> None:
        first = self._fresh_until < 0
        self._fresh_until = self._monotonic() + REFRESH_SECONDS
        try:
            id = await self._store.preferences.get(SETTING)
            self._known = None if id is None else _spec(_find(await self._store.items.read(), id))
        except UspError:
            if first:
                self._fresh_until = -1.0
                raise

    async def current(self) -> Record | None:
        """The IP Filter in force."""
        id = await self._store.preferences.get(SETTING)
        return None if id is None else _find(await self._store.items.read(), id)

    async def choose(self, actor: Actor, key: str | None) -> Record | None:
        """Put an IP Filter (by name or id) in force, or none. UspError item.not_found, guard.lockout."""
        actor.require(Role.ADMIN)
        record = None if key is None else (await self._store.items.read()).get(IpFilter.kind, key)
        if record is not None:
            _require_admitted(record, actor.peer)
        now, detail = self._clock(), {"ip_filter": record.item.name if record else None}
        event = Event(now, actor.name, "settings.update", "settings/ip-filter", actor.peer, detail)
        async with self._store.transaction():
            await self._store.preferences.put(SETTING, record.id if record else None, author=actor.name, at=now)
            await self._store.events.add(event)
        self._fresh_until = 0.0
        return record

    async def remove(self, actor: Actor) -> str:
        """None in force from now on; the name of the one that was, "" if there was none."""
        was = await self._store.preferences.get(SETTING)
        record = await self.current()
        await self.choose(actor, None)
        return record.item.name if record else (was or "")

    async def check(self, actor: Actor, delta: Delta) -> None:
        """A change of items must not delete the filter in force, or make it lock out who makes the change."""
        touched = [record for record in (*delta.deletes, *delta.updates) if record.kind == IpFilter.kind]
        id = await self._store.preferences.get(SETTING) if touched else None
        for record in touched:
            if record.id == id:
                if record in delta.deletes:
                    raise UspError("guard.in_use", f"the IP Filter '{record.item.name}' guards UI and API")
                _require_admitted(record, actor.peer)
                self._fresh_until = 0.0


def is_loopback(address: str) -> bool:
    try:
        plain = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
    return (mapped or plain).is_loopback


def _find(catalog: Catalog, id: str) -> Record | None:
    return catalog.find(IpFilter.kind, id)


def _spec(record: Record | None) -> FilterSpec:
    """A filter that is gone or switched off admits nobody: what it was meant to keep out stays out."""
    if record is None or not record.item.enabled:
        return FilterSpec(default=FilterAction.BLOCK)
    item = item_of(IpFilter, record)
    return FilterSpec(block=item.block, allow=item.allow, default=item.default)


def _permits(spec: FilterSpec, address: str) -> bool:
    try:
        return ipfilter.decide(spec, address.partition("%")[0]) is FilterAction.ALLOW
    except ValueError:
        return False


def _admits_somebody(spec: FilterSpec) -> bool:
    for version in (4, 6):
        blocked = [network for network in map(ipaddress.ip_network, spec.block) if network.version == version]
        allowed = [network for network in map(ipaddress.ip_network, spec.allow) if network.version == version]
        if spec.default is FilterAction.ALLOW:
            allowed.append(ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0"))
        if any(not _covered(network, blocked) for network in allowed):
            return True
    return False


def _covered(network: Any, blocks: list[Any]) -> bool:
    return any(network.subnet_of(block) for block in ipaddress.collapse_addresses(blocks))


def _require_admitted(record: Record, address: str) -> None:
    if not record.item.enabled:
        raise UspError("guard.lockout", f"the IP Filter '{record.item.name}' is disabled, and would admit nobody")
    if not _admits_somebody(_spec(record)):
        raise UspError("guard.lockout", f"the IP Filter '{record.item.name}' permits no address at all")
    if address and not is_loopback(address) and not _permits(_spec(record), address):
        msg = f"the IP Filter '{record.item.name}' does not permit {address}, which is where you ask from"
        raise UspError("guard.lockout", msg)
