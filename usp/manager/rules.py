"""Rules between items, as one table: which kinds a rule is about, and the function that finds where it is broken.

A rule looks at the whole catalog as it will be. It is only asked when an item of one of its kinds changed, because
otherwise it cannot have come to be broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usp.manager.kinds import item_of
from usp.model import Account, Deployment, Listener, ProxyClient, Record, Route, Tunnel

if TYPE_CHECKING:
    from usp.manager.catalog import Catalog

WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104
"""Addresses that take a port on all others: `::` also takes the IPv4 ones on Linux."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold. `culprits`: the fields that could be changed to mend it, the likeliest first."""

    msg: str
    culprits: tuple[tuple[Record, str], ...]


def _name(record: Record) -> str:
    return f"{record.item.title} '{record.item.name}'"


def default_node_in_route(catalog: Catalog) -> Iterator[Broken]:
    """A Listener's default Outbound Node belongs to its Route."""
    for record in catalog.of_kind(Listener.kind):
        listener = item_of(Listener, record)
        if listener.route is None or listener.default_outbound_node is None:
            continue
        route = catalog.records[listener.route]
        if listener.default_outbound_node not in item_of(Route, route).outbound_nodes:
            node = catalog.records[listener.default_outbound_node]
            msg = f"{_name(node)} does not belong to {_name(route)} of {_name(record)}"
            yield Broken(msg, ((record, "default_outbound_node"), (route, "outbound_nodes")))


def path_of_deployment(catalog: Catalog) -> Iterator[Broken]:
    """A Deployment's Tunnel belongs to its Proxy Server, and its Proxy Client to that Tunnel."""
    for record in catalog.of_kind(Deployment.kind):
        deployment = item_of(Deployment, record)
        if deployment.tunnel is None or deployment.proxy_client is None:
            continue
        tunnel = catalog.records[deployment.tunnel]
        client = catalog.records[deployment.proxy_client]
        if item_of(Tunnel, tunnel).proxy_server != deployment.proxy_server:
            server = catalog.records[deployment.proxy_server]
            msg = f"{_name(tunnel)} does not belong to {_name(server)} of {_name(record)}"
            yield Broken(msg, ((record, "tunnel"), (tunnel, "proxy_server")))
        if item_of(ProxyClient, client).tunnel != deployment.tunnel:
            msg = f"{_name(client)} does not belong to {_name(tunnel)} of {_name(record)}"
            yield Broken(msg, ((record, "proxy_client"), (client, "tunnel")))


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A port taken on a server: by `holder`, because of `culprits`."""

    address: str
    holder: Record
    culprits: tuple[tuple[Record, str], ...]


def ports_once(catalog: Catalog) -> Iterator[Broken]:
    """A (server, port) is taken once across deployed Listeners and Tunnels, unless both name different addresses."""
    taken: dict[tuple[str, int], list[_Endpoint]] = {}
    for server, port, endpoint in _endpoints(catalog):
        others = taken.setdefault((server, port), [])
        for other in others:
            if endpoint.address == other.address or WILDCARDS & {endpoint.address, other.address}:
                where = f"port {port} of {_name(catalog.records[server])}"
                msg = f"{_name(endpoint.holder)} and {_name(other.holder)} would both listen on {where}"
                yield Broken(msg, endpoint.culprits + other.culprits)
        others.append(endpoint)


def _endpoints(catalog: Catalog) -> Iterator[tuple[str, int, _Endpoint]]:
    for record in catalog.of_kind(Tunnel.kind):
        tunnel = item_of(Tunnel, record)
        yield tunnel.proxy_server, tunnel.port, _Endpoint(tunnel.address, record, ((record, "port"),))
    for record in catalog.of_kind(Deployment.kind):
        deployment = item_of(Deployment, record)
        holder = catalog.records[deployment.listener]
        listener = item_of(Listener, holder)
        culprits = ((holder, "port"), (record, "listener"))
        yield deployment.proxy_server, listener.port, _Endpoint(listener.address, holder, culprits)


def usernames_once(catalog: Catalog) -> Iterator[Broken]:
    """An Account's user name is unique in its Account Repository."""
    taken: dict[tuple[str, str], Record] = {}
    for record in catalog.of_kind(Account.kind):
        account = item_of(Account, record)
        other = taken.setdefault((account.account_repository, account.username), record)
        if other is not record:
            repository = _name(catalog.records[account.account_repository])
            msg = f"{_name(record)} and {_name(other)} have the same user name in {repository}"
            yield Broken(msg, ((record, "username"), (other, "username")))


RULES: Final[tuple[tuple[frozenset[str], Callable[[Catalog], Iterator[Broken]]], ...]] = (
    (frozenset({Listener.kind, Route.kind}), default_node_in_route),
    (frozenset({Deployment.kind, Tunnel.kind, ProxyClient.kind}), path_of_deployment),
    (frozenset({Deployment.kind, Tunnel.kind, Listener.kind}), ports_once),
    (frozenset({Account.kind}), usernames_once),
)


def broken_rules(catalog: Catalog, touched: set[str]) -> Iterator[Broken]:
    """Where the rules about the kinds in `touched` do not hold."""
    for kinds, rule in RULES:
        if kinds & touched:
            yield from rule(catalog)
