"""A configuration of HAProxy, as text, for services that several servers offer. Pure.

One frontend and one backend per service, in the form of the reference documentation (etc/haproxy.cfg): TCP, the server
with the fewest connections, a partner stays where it was, and a server is in order if it says SSH-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

HEAD: Final = """\
global
    log stdout format raw daemon notice
{stats}
defaults
    log     global
    mode    tcp
    option  tcplog
    option  dontlognull
    option  redispatch
    option  clitcpka
    option  srvtcpka
    retries 3
    timeout connect 5s
    timeout client  {timeout}s
    timeout server  {timeout}s
"""
TIMEOUT: Final = 3600
INTER: Final = 10
WEIGHT: Final = 100
"""Of each server: agents answer with a share of it."""


@dataclass(frozen=True, slots=True)
class Server:
    """`agent_port`: where it answers agent checks; 0: it does not. `listener`: the Listener there, if it is not called
    like the service."""

    name: str
    address: str
    port: int
    agent_port: int = 0
    listener: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """What partners connect to. `proxy`: connections begin with a PROXY header. `banner`: who is connected says SSH-2.0
    first; of anything else it is only checked that it takes connections."""

    name: str
    address: str
    port: int
    servers: Sequence[Server]
    proxy: bool = False
    banner: bool = True


def render(services: Sequence[Service], *, stats: str = "", inter: int = INTER) -> str:
    """The whole configuration. `stats`: a Unix socket for HAProxy's own commands. `inter`: seconds between checks."""
    socket = f"    stats socket {stats} mode 600 level admin\n" if stats else ""
    parts = [HEAD.format(timeout=TIMEOUT, stats=socket)]
    return "\n".join([*parts, *("\n".join(_service(service, inter)) + "\n" for service in services)])


def _service(service: Service, inter: int) -> Iterator[str]:
    name = _name(service.name)
    yield f"frontend {name}"
    yield f"    bind {_place(service.address, service.port)}"
    yield f"    default_backend {name}"
    yield ""
    yield f"backend {name}"
    yield "    balance leastconn"
    yield "    stick-table type ip size 100k expire 4h"
    yield "    stick on src"
    yield "    option tcp-check"
    if service.banner:
        yield "    tcp-check expect string SSH-2.0"
    yield f"    default-server check inter {inter}s fall 3 rise 2" + (
        " send-proxy-v2 check-send-proxy" if service.proxy else ""
    )
    for server in service.servers:
        line = f"    server {_name(server.name)} {_place(server.address, server.port)}"
        if server.agent_port:
            asked = f'agent-inter 2s agent-send "{_name(server.listener or name)}\\n"'
            line += f" weight {WEIGHT} agent-check agent-port {server.agent_port} {asked}"
        yield line


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _name(name: str) -> str:
    """Names of items are words for HAProxy, too."""
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", name), name
    return name
