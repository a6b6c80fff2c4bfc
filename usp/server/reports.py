"""How listeners and tunnels are told to managers."""

from __future__ import annotations

from collections.abc import Iterable

from usp.server.slots import Slot
from usp.snapshot import ListenerSpec, TunnelSpec
from usp.status import ListenerState, ListenerStatus, TunnelStatus

State = tuple[ListenerState, str]
"""The state, and why."""


def listener(spec: ListenerSpec, state: State, sessions: int, relayed: tuple[int, int]) -> ListenerStatus:
    """`relayed`: bytes from partners, and to them."""
    return ListenerStatus(
        id=spec.id,
        name=spec.name,
        type=spec.type,
        address=spec.address,
        port=spec.port,
        state=state[0],
        reason=state[1],
        sessions=sessions,
        bytes_in=relayed[0],
        bytes_out=relayed[1],
    )


def tunnel(spec: TunnelSpec, state: State, slots: Iterable[Slot]) -> TunnelStatus:
    links = tuple(link for slot in slots for link in slot.link_status(spec.id))
    return TunnelStatus(
        id=spec.id,
        name=spec.name,
        address=spec.address,
        port=spec.port,
        state=state[0],
        reason=state[1],
        links=links,
    )
