"""Which sockets to open, keep and close when a snapshot replaces another. Pure.

Servers act on it, and managers foretell by it what a push will do.

A port of the server is an *endpoint*: address and port. What listens there (a listener or a tunnel) may change while
its socket stays, so that no waiting connection is lost: only endpoints are opened and closed.

A listener listens when an administrator started it, or has start-up `auto` and was not stopped by one; an order to
start or stop (a *run state*) outlives pushes and is forgotten with the listener. Tunnels start by themselves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from usp.errors import Problem
from usp.model import Startup
from usp.snapshot import ListenerSpec, Snapshot, TunnelSpec

Spec = ListenerSpec | TunnelSpec
RunStates = Mapping[str, bool]
"""id of a listener or tunnel -> what an administrator ordered: started (True) or stopped."""


class Endpoint(NamedTuple):
    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """`open` may need what `close` holds (0.0.0.0 in place of 127.0.0.1): `yielding` tells."""

    open: frozenset[Endpoint]
    keep: frozenset[Endpoint]
    close: frozenset[Endpoint]

    def yielding(self, endpoint: Endpoint) -> frozenset[Endpoint]:
        """The endpoints to be closed that overlap with `endpoint`."""
        return frozenset(old for old in self.close if overlap(old, endpoint))


def endpoint(spec: Spec) -> Endpoint:
    return Endpoint(str(ipaddress.ip_address(spec.address)), spec.port)


def specs(snapshot: Snapshot | None) -> Iterator[tuple[tuple[str, int], Spec]]:
    """Everything of a snapshot that has a port, and where it stands."""
    if snapshot is not None:
        for at, listener in enumerate(snapshot.content.listeners):
            yield ("listeners", at), listener
        for at, tunnel in enumerate(snapshot.content.tunnels):
            yield ("tunnels", at), tunnel


def is_wanted(spec: Spec, run_states: RunStates) -> bool:
    """Whether it is to listen."""
    by_itself = isinstance(spec, TunnelSpec) or spec.startup is Startup.AUTO
    return run_states.get(spec.id, by_itself)


def why_not(spec: Spec, run_states: RunStates) -> str:
    """Why it is not to listen."""
    return "an administrator stopped it" if run_states.get(spec.id) is False else "its start-up is manual"


def wanted(snapshot: Snapshot | None, run_states: RunStates) -> dict[Endpoint, Spec]:
    """Who is to listen where."""
    return {endpoint(spec): spec for _, spec in specs(snapshot) if is_wanted(spec, run_states)}


def plan(bound: Set[Endpoint], new: Snapshot | None, run_states: RunStates) -> Plan:
    """From the endpoints that are open to those that `new` wants."""
    aim = wanted(new, run_states).keys()
    return Plan(open=frozenset(aim - bound), keep=frozenset(aim & bound), close=frozenset(bound - aim))


def problems(snapshot: Snapshot) -> Iterator[Problem]:
    """What shows without asking the operating system: an endpoint or id taken twice, a path that leads nowhere."""
    endpoints: dict[Endpoint, str] = {}
    ids: set[str] = set()
    for loc, spec in specs(snapshot):
        where = endpoint(spec)
        if where in endpoints:
            yield Problem((*loc, "port"), f"'{spec.name}' wants {where}, which '{endpoints[where]}' has")
        if spec.id in ids:
            yield Problem((*loc, "id"), f"'{spec.name}' has an id that another one has")
        endpoints.setdefault(where, spec.name)
        ids.add(spec.id)
        if isinstance(spec, ListenerSpec) and spec.path is not None and snapshot.tunnel(spec.path.tunnel) is None:
            yield Problem((*loc, "path", "tunnel"), f"'{spec.name}' goes through a tunnel that the snapshot lacks")


def overlap(one: Endpoint, other: Endpoint) -> bool:
    """Whether the operating system keeps the two apart: the same port, and the same address or every address."""
    first, second = ipaddress.ip_address(one.address), ipaddress.ip_address(other.address)
    if one.port != other.port or first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified
