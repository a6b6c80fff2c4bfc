"""Use cases for finding out what is wrong: explain a connection, test its path, read a target's host keys, test an
address against an IP Filter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from usp import ipfilter
from usp.combinations import OutboundCredentials
from usp.diagnosis import Diagnosis, Hop, HopName, KeyScan, Login, Probe
from usp.errors import Problem, UspError
from usp.manager.catalog import Catalog
from usp.manager.compile import compile as compiled
from usp.manager.control import Controls, Endpoint
from usp.manager.explain import Explanation, Observed, Question, explain, verdict
from usp.manager.kinds import item_of
from usp.manager.store import Store
from usp.manager.store.rows import Role
from usp.manager.users import Actor
from usp.model import IpFilter, OutboundNode, PrivateKey, ProxyClient, ProxyServer, Record, Rule, Tunnel
from usp.snapshot import PathSpec
from usp.wording import problems_of

Note = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Through:
    """The Proxy Client, and its Tunnel, through which a target is dialled: names or ids."""

    tunnel: str
    proxy_client: str


class Diagnostics:
    """`note(actor, action, target, **detail)` leaves an event."""

    def __init__(self, store: Store, controls: Controls, note: Note) -> None:
        self._store = store
        self._controls = controls
        self._note = note

    async def explain(self, question: Question) -> Explanation:
        """What becomes of a partner's connection; see usp.manager.explain."""
        catalog = await self._store.items.read()
        server = catalog.get(ProxyServer.kind, question.server).item.name
        known = await self._store.servers.get(server)
        updated, problems = await asyncio.to_thread(_compiled, catalog, server)
        return explain(catalog, question, Observed(known.report, updated, problems))

    async def probe(
        self, actor: Actor, server: str, explained: Explanation, login: Login | str | None = None
    ) -> Diagnosis:
        """Have the server test the path that was explained, as it has it now. `login`: to be tried at the target, too;
        "dedicated" for the credentials of the Rule."""
        actor.require(Role.ADMIN)
        catalog = await self._store.items.read()
        record = catalog.get(ProxyServer.kind, server)
        if isinstance(login, str):
            login = _dedicated(catalog, explained)
        who = login.username if login else ""
        await self._note(actor, "probe", record.item.name, deployment=explained.deployment, login=who)
        if not explained.deployment:
            error = UspError("deployment.unknown", "the Listener is not deployed on this server")
            return Diagnosis(ok=False, hops=(_server_hop(0.0, error),))
        ask = Probe(listener=explained.deployment, login=login)
        return await self._timed(self._controls.probe(Endpoint.of(catalog, record), ask))

    async def scan(self, actor: Actor, node: str, server: str, through: Through | None) -> Diagnosis:
        """The host keys that an Outbound Node's target shows to a server, and which of them are pinned already."""
        actor.require(Role.ADMIN)
        catalog = await self._store.items.read()
        target = item_of(OutboundNode, catalog.get(OutboundNode.kind, node))
        task = KeyScan(
            host=target.host, port=target.port, algorithms=target.algorithms, send_proxy_v2=target.send_proxy_v2
        )
        found = await self._scanned(actor, catalog, server, through, task, target.name)
        pinned = {catalog.records[id].facts.get("fingerprint") for id in target.host_keys}
        shown = tuple(key.model_copy(update={"pinned": key.fingerprint in pinned}) for key in found.host_keys)
        return found.model_copy(update={"host_keys": shown})

    async def scan_address(self, actor: Actor, host: str, port: int, server: str, through: Through | None) -> Diagnosis:
        """The same of a target that is to become an Outbound Node, which needs its keys."""
        actor.require(Role.ADMIN)
        try:
            task = KeyScan(host=host, port=port)
        except ValidationError as error:
            raise UspError("request.invalid", problems=problems_of(error)) from None
        return await self._scanned(actor, await self._store.items.read(), server, through, task, f"{host}:{port}")

    async def _scanned(
        self, actor: Actor, catalog: Catalog, server: str, through: Through | None, task: KeyScan, target: str
    ) -> Diagnosis:
        record = catalog.get(ProxyServer.kind, server)
        path = _path(catalog, record, through) if through else None
        await self._note(actor, "scan_host_key", target, server=record.item.name)
        asking = self._controls.scan(Endpoint.of(catalog, record), task.model_copy(update={"path": path}))
        return await self._timed(asking)

    async def test_address(self, key: str, address: str) -> ipfilter.Verdict:
        """What an IP Filter says about an address, and by which of its rules."""
        filter = item_of(IpFilter, (await self._store.items.read()).get(IpFilter.kind, key))
        try:
            return verdict(filter, address)
        except ValueError:
            wrong = Problem(("address",), "is not an IP address, such as 192.0.2.7 or 2001:db8::1")
            raise UspError("request.invalid", "this is not an IP address", problems=[wrong]) from None

    async def _timed(self, asking: Awaitable[Diagnosis]) -> Diagnosis:
        """With the hop to the server itself in front."""
        began = time.perf_counter()
        try:
            found = await asking
        except UspError as error:
            return Diagnosis(ok=False, hops=(_server_hop(time.perf_counter() - began, error),))
        beyond = sum(hop.ms for hop in found.hops) / 1000
        hop = _server_hop(max(0.0, time.perf_counter() - began - beyond))
        return found.model_copy(update={"hops": (hop, *found.hops)})


def _compiled(catalog: Catalog, server: str) -> tuple[str, tuple[Problem, ...]]:
    """The digest of what a push would bring, or why there is none."""
    try:
        return compiled(catalog, server).digest, ()
    except UspError as error:
        return "", error.problems


def _server_hop(seconds: float, error: UspError | None = None) -> Hop:
    ms = round(seconds * 1000, 1)
    if error is None:
        return Hop(name=HopName.SERVER, ok=True, ms=ms, detail="the server answers")
    return Hop(name=HopName.SERVER, ok=False, ms=ms, detail=error.message, code=error.code)


def _dedicated(catalog: Catalog, explained: Explanation) -> Login:
    record = catalog.find(Rule.kind, explained.rule) if explained.rule else None
    rule = item_of(Rule, record) if record else None
    if rule is None or rule.outbound_credentials is not OutboundCredentials.DEDICATED:
        raise _wrong("login", "there is no Rule with dedicated credentials for this partner")
    assert rule.username is not None
    key = item_of(PrivateKey, catalog.records[rule.private_key]).private_key if rule.private_key else None
    return Login(username=rule.username, password=rule.password, private_key=key)


def _path(catalog: Catalog, server: Record, through: Through) -> PathSpec:
    tunnel = catalog.get(Tunnel.kind, through.tunnel)
    if item_of(Tunnel, tunnel).proxy_server != server.id:
        raise _wrong("tunnel", f"Tunnel '{tunnel.item.name}' does not belong to Proxy Server '{server.item.name}'")
    client = catalog.get(ProxyClient.kind, through.proxy_client)
    if item_of(ProxyClient, client).tunnel != tunnel.id:
        raise _wrong(
            "proxy_client", f"Proxy Client '{client.item.name}' does not belong to Tunnel '{tunnel.item.name}'"
        )
    return PathSpec(tunnel=tunnel.id, client=client.item.name)


def _wrong(field: str, msg: str) -> UspError:
    return UspError("request.invalid", problems=[Problem((field,), msg)])
