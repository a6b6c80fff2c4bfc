"""Reconcile: what to do next about one server, from what is wanted and what is seen. Pure.

`decide` is asked again and again and remembers nothing: whatever was lost, interrupted or done by another manager in
between shows in what is seen. The order in which it looks:

1. no answer: wait; 2. nothing was ever pushed: nothing to do; 3. it is shutting down: wait;
4. its release: leave it, when they have no protocol in common;
5. its version: note what it has, push what it lacks; never an older one, never again what it refused;
6. drained or not; 7. the run states: stop, then start, what does not run as it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from usp.hello import agree
from usp.snapshot import PROTOCOL
from usp.status import Intake, ListenerState, ListenerStatus, PushState, Report, ServerState, TunnelStatus


class Action(StrEnum):
    PUSH = "push"
    START = "start"
    STOP = "stop"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    RECORD = "record"  # note that the server runs a version: whoever pushed it could not
    WAIT = "wait"  # ask again after `delay` seconds
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Desired:
    """What the store wants of a server. `version` 0: nothing was pushed yet; `applied`: the newest version that it ever
    accepted (0: none); `offered`: the newest that it was offered and did not refuse, as far as is known; `run`: id of
    Deployment or Tunnel -> whether it shall run (no entry: its startup decides); `drained`: it shall take no new
    sessions; `unrecorded`: it runs one of our versions that is not noted as applied."""

    version: int = 0
    digest: str = ""
    push: PushState = PushState.PENDING
    applied: int = 0
    offered: int = 0
    run: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    drained: bool = False
    unrecorded: bool = False


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
    """`version` goes with PUSH and RECORD, `digest` with PUSH of the newest version, `targets` with START and STOP,
    `delay` with WAIT. `reason` is one sentence; `state` is how the server is to be shown from now on."""

    action: Action
    reason: str
    state: ServerState
    version: int = 0
    digest: str = ""
    targets: tuple[Target, ...] = ()
    delay: float = 0.0


STOPPABLE: Final = frozenset({ListenerState.STARTING, ListenerState.RUNNING, ListenerState.FAILED})
STARTABLE: Final = frozenset({ListenerState.STOPPED, ListenerState.FAILED})
"""Where an order has an effect. What failed to start is tried again: its port may be free by now."""


def decide(desired: Desired, observed: Report | Unreachable, *, retry_in: float = 0.0) -> Decision:
    """The one next step. `retry_in`: seconds until a peer that failed may be tried again (the pusher's back-off)."""
    if isinstance(observed, Unreachable):
        reason = f"The server does not answer: {observed.reason}."
        return Decision(Action.WAIT, reason, ServerState.UNREACHABLE, delay=retry_in)
    if desired.version == 0:
        return Decision(Action.NONE, "Nothing was pushed to this server yet.", ServerState.PENDING)
    if observed.draining:
        return Decision(Action.WAIT, "The server is shutting down.", ServerState.PENDING, delay=retry_in)
    if agree(PROTOCOL, observed.protocol) is None:
        reason = f"The server speaks protocol {observed.protocol}, this manager {PROTOCOL}: upgrade the older one."
        return Decision(Action.NONE, reason, ServerState.REJECTED)
    verdict = _about_version(desired, observed)
    if desired.unrecorded:
        reason = f"The server runs version {observed.version}; that is noted now."
        return replace(verdict, action=Action.RECORD, version=observed.version, digest="", reason=reason)
    if verdict.action is Action.PUSH and desired.push is PushState.UNREACHABLE and retry_in > 0:
        return Decision(Action.WAIT, "The last push got no answer.", ServerState.PENDING, delay=retry_in)
    if verdict.action is not Action.NONE:
        return verdict
    if desired.drained is (observed.intake is Intake.OPEN):
        action, to = (Action.DRAIN, "refuse") if desired.drained else (Action.UNDRAIN, "take")
        return replace(verdict, action=action, reason=f"To {to} new sessions, as an administrator wants it.")
    return _about_run_states(desired, observed, verdict)


def _about_version(desired: Desired, observed: Report) -> Decision:
    """Whether to push, and what; with NONE, the state that the server's version puts it in."""
    wanted, seen = desired.version, observed.version
    if seen > wanted:
        reason = (
            f"The server runs version {seen}, which is newer than version {wanted}: push again to go on from there."
        )
        return Decision(Action.NONE, reason, ServerState.REJECTED)
    if seen == wanted and observed.digest == desired.digest:
        return Decision(Action.NONE, f"Version {wanted} is in force.", ServerState.RUNNING)
    if seen == wanted:
        reason = f"The server runs another content under version {wanted}: push again to replace it."
        return Decision(Action.NONE, reason, ServerState.REJECTED)
    if desired.push is PushState.REJECTED:
        return _about_rejected(desired, observed)
    now = f"runs version {seen}" if seen else "runs no configuration"
    reason = f"The server {now}; version {wanted} is due."
    return Decision(Action.PUSH, reason, ServerState.PENDING, version=wanted, digest=desired.digest)


def _about_rejected(desired: Desired, observed: Report) -> Decision:
    """A server that restarted may have accepted what it was offered last, though nobody heard the answer: it must not
    go back behind that."""
    last = desired.applied if observed.version else max(desired.applied, desired.offered)
    if observed.version < last < desired.version:
        now = f"runs version {observed.version}" if observed.version else "restarted"
        took = "accepted" if last == desired.applied else "was offered and did not refuse"
        reason = f"The server {now}; version {last} is the last that it {took}."
        return Decision(Action.PUSH, reason, ServerState.REJECTED, version=last)
    reason = f"The server refused version {desired.version}; it waits for a newer one."
    return Decision(Action.NONE, reason, ServerState.REJECTED)


def _about_run_states(desired: Desired, observed: Report, verdict: Decision) -> Decision:
    stops, starts = [], []
    for target, status in _ports(observed):
        wanted = desired.run.get(target.id)
        if wanted is False and status.state in STOPPABLE:
            stops.append(target)
        elif wanted is True and status.state in STARTABLE:
            starts.append(target)
    if stops:
        return replace(verdict, action=Action.STOP, targets=tuple(stops), reason=_sentence(stops, "stopped"))
    if starts:
        return replace(verdict, action=Action.START, targets=tuple(starts), reason=_sentence(starts, "started"))
    if observed.intake is not Intake.OPEN:
        return replace(verdict, reason=f"{verdict.reason} An administrator drained the server.")
    return verdict


def _ports(report: Report) -> Iterator[tuple[Target, ListenerStatus | TunnelStatus]]:
    for listener in report.listeners:
        yield Target("listeners", listener.id, listener.name), listener
    for tunnel in report.tunnels:
        yield Target("tunnels", tunnel.id, tunnel.name), tunnel


def _sentence(targets: list[Target], participle: str) -> str:
    return f"To be {participle}, as an administrator wants it: {', '.join(target.name for target in targets)}."
