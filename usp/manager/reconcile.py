"""Reconcile: what to do next about one server. (Types; the body follows.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from usp.status import PushState, Report, ServerState


class Action(StrEnum):
    PUSH = "push"
    START = "start"
    STOP = "stop"
    WAIT = "wait"  # ask again after `delay` seconds
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Desired:
    """What the store wants of a server. `version` 0: nothing was pushed yet; `applied`: the newest version that it ever
    accepted (0: none); `run`: id of Deployment or Tunnel -> whether it shall run (no entry: its startup decides)."""

    version: int = 0
    digest: str = ""
    push: PushState = PushState.PENDING
    applied: int = 0
    run: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The server did not answer, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """A port to start or stop: `path` is `listeners` or `tunnels`, as in the control API."""

    path: str
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`version` goes with PUSH, `targets` with START and STOP, `delay` with WAIT. `reason` is one sentence; `state` is
    how the server is to be shown from now on."""

    action: Action
    reason: str
    state: ServerState
    version: int = 0
    targets: tuple[Target, ...] = ()
    delay: float = 0.0


def decide(desired: Desired, observed: Report | Unreachable, *, retry_in: float = 0.0) -> Decision:
    """The one next step. `retry_in`: seconds until a peer that failed may be tried again (the pusher's back-off)."""
    raise NotImplementedError
