"""Which services a load balancer has to offer, from the catalog. Pure; usp.haproxy writes them down.

A Listener that is deployed is a service: its port, over the Proxy Servers that it is deployed on. What is disabled is
left out. Partners reach a server at the address that its Listener binds, or, where that is any, at the Proxy Server's
host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from usp import haproxy
from usp.haproxy import Server, Service
from usp.manager.catalog import Catalog
from usp.manager.kinds import item_of
from usp.model import Deployment, Listener, ListenerType, ProxyProtocol, ProxyServer, Record

ANYWHERE = "0.0.0.0"  # noqa: S104  (a load balancer's public address)


def configuration(catalog: Catalog, *, bind: str = ANYWHERE, agent_port: int = 0) -> str:
    """HAProxy's configuration for all of them. `bind`: the address that partners connect to; `agent_port`: where the
    servers answer agent checks (`agent` in usp-server.hcl); 0: they do not."""
    return haproxy.render(list(services(catalog, bind=bind, agent_port=agent_port)))


def services(catalog: Catalog, *, bind: str, agent_port: int) -> Iterator[Service]:
    """By name of the Listener."""
    deployments = [record for record in catalog.of_kind(Deployment.kind) if record.item.enabled]
    for record in catalog.of_kind(Listener.kind):
        listener = item_of(Listener, record)
        if not listener.enabled:
            continue
        holders = [item_of(Deployment, each).proxy_server for each in deployments if _is_of(each, record.id)]
        proxies = [item_of(ProxyServer, catalog.records[holder]) for holder in holders]
        servers = [
            Server(proxy.name, _address(listener, proxy), listener.port, agent_port)
            for proxy in sorted(proxies, key=lambda proxy: proxy.name)
            if proxy.enabled
        ]
        if servers:
            yield Service(
                name=listener.name,
                address=bind,
                port=listener.port,
                servers=servers,
                proxy=listener.proxy_protocol is ProxyProtocol.REQUIRED,
                banner=listener.type is ListenerType.SFTP,
            )


def _is_of(deployment: Record, listener: str) -> bool:
    return item_of(Deployment, deployment).listener == listener


def _address(listener: Listener, proxy: ProxyServer) -> str:
    return proxy.host if ipaddress.ip_address(listener.address).is_unspecified else listener.address
