"""What a load balancer is told about this server, in the words of HAProxy's agent checks. Pure.

HAProxy asks about one Listener by its name, or about the whole server. The answer is one line:

* `ready up 85%`: take it, with that share of its configured weight. The share is what is free of `max_sessions`, times
  the share of the worker processes that can carry a session to its target;
* `drain`: full; who is there stays;
* `down # why`: the listener does not listen, or leads nowhere;
* `maint` (or `drain`, as the settings say): it was drained by an administrator. Of a server that shuts down: `maint`.

`ready` goes with `up`, because only that word takes a `drain` or `maint` of before back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from usp.server import dispatch
from usp.server.dispatch import SlotView
from usp.snapshot import ListenerSpec

LOWEST: Final = 1
"""Percent: less would take everybody away from it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The server as it is. `listening`: what is to listen, and does."""

    slots: Sequence[SlotView]
    listening: Sequence[ListenerSpec]
    max_sessions: int
    shutting_down: bool = False
    drained: bool = False


def advice(facts: Facts, name: str, drained: str) -> str:
    """About the Listener `name`, or about all of them if it is "". `drained`: the word for a drained server."""
    if facts.shutting_down:
        return "maint # the server is shutting down"
    if facts.drained:
        return f"{drained} # an administrator drained the server"
    about = [spec for spec in facts.listening if name in ("", spec.name)]
    if not about:
        return f"down # {f'no listener {name!r} listens here' if name else 'nothing listens here'}"
    able = sum(_able(facts.slots, spec) for spec in about) / len(about)
    if not able:
        return f"down # {dispatch.why_nowhere(facts.slots, about[0].path)}"
    free = 1 - sum(view.sessions for view in facts.slots) / facts.max_sessions
    if free <= 0:
        return "drain # no session more: max_sessions are there"
    return f"ready up {max(LOWEST, round(100 * free * able))}%"


def _able(slots: Sequence[SlotView], spec: ListenerSpec) -> float:
    """Which share of the slots could carry a session of the listener."""
    return len(dispatch.place(slots, spec, 0)) / len(slots)
