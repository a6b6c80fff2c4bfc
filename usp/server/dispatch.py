"""Who gets an accepted connection. Pure: the state of the slots in, a decision out.

Refusing at accept is how the server tells the truth to a load balancer: where no worker could carry a session to its
target, its check sees no SSH banner, and traffic moves to another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from usp import ipfilter
from usp.model import FilterAction
from usp.snapshot import DirectSpec, ListenerSpec, NodeSpec, PathSpec
from usp.status import LinkState

Gate = Callable[[str], NodeSpec | DirectSpec | None]


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


def place_partner(slots: Iterable[SlotView], path: PathSpec | None, turn: int) -> tuple[int, ...]:
    """The slots that can carry the session, best first: fewest sessions, then by turns. Empty: refuse."""
    able = [slot for slot in slots if slot.ready and (path is None or any(link.serves(path) for link in slot.links))]
    return _best_first(able, lambda slot: (slot.sessions,), turn)


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
