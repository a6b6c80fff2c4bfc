"""Who gets an accepted connection. Pure: the state of the slots in, a decision out.

Refusing at accept is how the server tells the truth to a load balancer: where no worker could carry a session to its
target, its check sees no SSH banner, and traffic moves to another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from usp import ipfilter
from usp.model import FilterAction
from usp.snapshot import DirectSpec, ListenerSpec, NodeSpec, PathSpec
from usp.status import LinkState

Gate = Callable[[str], NodeSpec | DirectSpec | None]


class Refusal(StrEnum):
    """Why a connection is closed at accept: the word in the log and in usp_refused_total."""

    FILTER = "ip_filter"  # no Inbound Node is for this address
    LIMIT = "limit"  # max_sessions
    DRAINED = "drained"  # by an administrator
    TARGET_DOWN = "target.unreachable"  # the workers that could carry it know that the target is down
    TUNNEL_DOWN = "tunnel.down"  # no worker has a link for the listener's path
    NO_WORKER = "no_worker"
    BUSY = "busy"  # the workers do not keep up with what they are given
    PENALTY = "penalty"  # too many failures from there
    PER_SOURCE = "connections_per_source"
    LISTENER_FULL = "connections_per_listener"
    UNAUTHENTICATED = "unauthenticated"
    UNAUTHENTICATED_PER_SOURCE = "unauthenticated_per_source"
    PROXY_UNTRUSTED = "proxy.untrusted"  # not one of the load balancers that may tell whom they speak for
    PROXY_HEADER = "proxy.header"  # no PROXY header in time, or none that can be read


@dataclass(frozen=True, slots=True)
class Link:
    """A tunnel link in a slot. `source`: the address that it comes from."""

    tunnel: str
    source: str
    client: str
    state: LinkState

    def serves(self, path: PathSpec) -> bool:
        return self.state is LinkState.UP and (self.tunnel, self.client) == (path.tunnel, path.client)


@dataclass(frozen=True, slots=True)
class SlotView:
    """What dispatch needs to know of a slot."""

    slot: int
    ready: bool
    sessions: int
    links: tuple[Link, ...] = ()
    down: frozenset[str] = frozenset()  # ids of listeners whose target is down, as the worker knows


def gate(listener: ListenerSpec) -> Gate:
    """How a partner is faced, by its address: the first Inbound Node whose filter allows it, or None to refuse.

    Made ready once per listener, since filters may be long.
    """
    if listener.direct is not None:
        guarded: tuple[NodeSpec | DirectSpec, ...] = (listener.direct,)
    else:
        guarded = listener.nodes
    filters = [(entry, ipfilter.compiled(entry.filter)) for entry in guarded]

    def admit(address: str) -> NodeSpec | DirectSpec | None:
        return next((entry for entry, decide in filters if decide(address) is FilterAction.ALLOW), None)

    return admit


def place_partner(slots: Iterable[SlotView], path: PathSpec | None, turn: int, listener: str = "") -> tuple[int, ...]:
    """The slots that can carry the session, best first: fewest sessions, then by turns. Empty: refuse."""
    able = [slot for slot in slots if slot.ready and listener not in slot.down and _leads(slot, path)]
    return _best_first(able, lambda slot: (slot.sessions,), turn)


def place(slots: Sequence[SlotView], listener: ListenerSpec, turn: int) -> tuple[int, ...]:
    """The slots that get a partner of the listener, best first; empty: refuse. One that withholds no banner takes
    everybody as long as a worker is ready."""
    able = place_partner(slots, listener.path, turn, listener.id)
    return able if able or listener.withhold_banner else place_partner(slots, None, turn)


def why_nowhere(slots: Sequence[SlotView], path: PathSpec | None) -> Refusal:
    """Why no slot could carry it."""
    ready = [slot for slot in slots if slot.ready]
    if any(_leads(slot, path) for slot in ready):
        return Refusal.TARGET_DOWN
    return Refusal.TUNNEL_DOWN if ready else Refusal.NO_WORKER


def _leads(slot: SlotView, path: PathSpec | None) -> bool:
    return path is None or any(link.serves(path) for link in slot.links)


def place_tunnel(slots: Iterable[SlotView], tunnel: str, source: str, turn: int) -> tuple[int, ...]:
    """The slots for a new connection of a tunnel, best first: those that lack a link from that source, then those with
    the fewest links, then by turns. Empty: refuse."""

    def load(slot: SlotView) -> tuple[int, int]:
        alike = sum(link.tunnel == tunnel and link.source == source for link in slot.links)
        return alike, len(slot.links)

    return _best_first([slot for slot in slots if slot.ready], load, turn)


def _best_first(slots: Sequence[SlotView], load: Callable[[SlotView], tuple[int, ...]], turn: int) -> tuple[int, ...]:
    """Among equals it is the turn of another one each time."""
    start = turn % len(slots) if slots else 0
    return tuple(slot.slot for slot in sorted([*slots[start:], *slots[:start]], key=load))
