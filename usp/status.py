"""Run-time states and what servers tell managers about them.

Each state machine is one enum and one table in `TRANSITIONS`; `advance` refuses a step that the table does not have,
because such a step is a bug. The words are fixed (interfaces.md, "Names of states").
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import ConfigDict

from usp.model import ListenerType, Model
from usp.snapshot import PROTOCOL


class ServerState(StrEnum):
    """How a manager sees a server."""

    UNKNOWN = "unknown"  # never spoken to
    UNREACHABLE = "unreachable"
    PENDING = "pending"  # reachable, but does not run the desired version yet
    RUNNING = "running"
    REJECTED = "rejected"  # refused the desired version; the one before stays in force


class ListenerState(StrEnum):
    """A listening port, of a Listener or a Tunnel."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPING = "stopping"
    DRAINING = "draining"


class Intake(StrEnum):
    """Whether a server takes new sessions, or an administrator drained it."""

    OPEN = "open"
    CLOSING = "closing"  # load balancers are told; who comes all the same is let in
    CLOSED = "closed"  # refused before any banner; what runs goes on


class LinkState(StrEnum):
    """One live tunnel connection."""

    HANDSHAKING = "handshaking"
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


class PushState(StrEnum):
    """What became of a version."""

    PENDING = "pending"
    PUSHING = "pushing"
    APPLIED = "applied"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"


TRANSITIONS: Final[Mapping[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]]] = MappingProxyType(
    {
        ServerState: {
            ServerState.UNKNOWN: frozenset(
                {ServerState.UNREACHABLE, ServerState.PENDING, ServerState.RUNNING, ServerState.REJECTED}
            ),
            ServerState.UNREACHABLE: frozenset({ServerState.PENDING, ServerState.RUNNING, ServerState.REJECTED}),
            ServerState.PENDING: frozenset({ServerState.RUNNING, ServerState.REJECTED, ServerState.UNREACHABLE}),
            ServerState.RUNNING: frozenset({ServerState.PENDING, ServerState.REJECTED, ServerState.UNREACHABLE}),
            ServerState.REJECTED: frozenset({ServerState.PENDING, ServerState.RUNNING, ServerState.UNREACHABLE}),
        },
        ListenerState: {
            ListenerState.STOPPED: frozenset({ListenerState.STARTING}),
            ListenerState.STARTING: frozenset({ListenerState.RUNNING, ListenerState.FAILED, ListenerState.STOPPING}),
            ListenerState.RUNNING: frozenset({ListenerState.STOPPING, ListenerState.DRAINING, ListenerState.FAILED}),
            ListenerState.FAILED: frozenset({ListenerState.STARTING, ListenerState.STOPPED}),
            ListenerState.STOPPING: frozenset({ListenerState.STOPPED}),
            ListenerState.DRAINING: frozenset({ListenerState.STOPPING, ListenerState.STOPPED}),
        },
        Intake: {
            Intake.OPEN: frozenset({Intake.CLOSING, Intake.CLOSED}),
            Intake.CLOSING: frozenset({Intake.CLOSED, Intake.OPEN}),
            Intake.CLOSED: frozenset({Intake.OPEN}),
        },
        LinkState: {
            LinkState.HANDSHAKING: frozenset({LinkState.UP, LinkState.DOWN}),
            LinkState.UP: frozenset({LinkState.DRAINING, LinkState.DOWN}),
            LinkState.DRAINING: frozenset({LinkState.DOWN}),
            LinkState.DOWN: frozenset(),
        },
        PushState: {
            PushState.PENDING: frozenset({PushState.PUSHING}),
            PushState.PUSHING: frozenset({PushState.APPLIED, PushState.REJECTED, PushState.UNREACHABLE}),
            PushState.UNREACHABLE: frozenset({PushState.PUSHING}),
            PushState.APPLIED: frozenset(),  # a restarted server gets it again, and it stays applied
            PushState.REJECTED: frozenset({PushState.PUSHING}),
        },
    }
)
"""machine -> state -> the states that may follow. (Equal words of two machines are equal keys: one table each.)"""

State = TypeVar("State", ServerState, ListenerState, Intake, LinkState, PushState)


def advance(state: State, to: State) -> State:
    """`to`, if the table allows the step from `state` (staying is always allowed)."""
    assert to is state or to in TRANSITIONS[type(state)][state], f"{type(state).__name__}: no step {state} -> {to}"
    return to


class Outcome(StrEnum):
    """How a session ended: the same word in log, audit, metric label and status. Exactly one per session."""

    COMPLETED = "completed"
    PARTNER_CLOSED = "partner_closed"
    TARGET_CLOSED = "target_closed"
    AUTH_DENIED = "auth_denied"
    TARGET_DENIED = "target_denied"
    TARGET_UNREACHABLE = "target_unreachable"
    TUNNEL_DOWN = "tunnel_down"
    HOST_KEY_MISMATCH = "host_key_mismatch"
    PROTOCOL_ERROR = "protocol_error"
    TARGET_PROTOCOL_ERROR = "target_protocol_error"  # the target's, for which no partner is blamed
    LIMIT = "limit"
    IDLE = "idle"
    DRAINED = "drained"
    KILLED = "killed"  # by an administrator
    PROBE = "probe"  # connected, said no SSH, went away: a load balancer's banner check
    INTERNAL = "internal"


class Told(Model):
    """What a server tells its managers: fields of a newer release are ignored, so that one of skew works."""

    model_config = ConfigDict(extra="ignore")


class ListenerStatus(Told):
    """A listening port of a Listener, as its server reports it."""

    id: str
    name: str
    type: ListenerType
    address: str
    port: int
    state: ListenerState
    reason: str = ""
    sessions: int = 0
    bytes_in: int = 0  # from partners, since the server started
    bytes_out: int = 0


class LinkStatus(Told):
    """A live connection of a Proxy Client."""

    id: str
    client: str
    slot: int
    state: LinkState
    peer: str
    version: str = ""
    since: float = 0.0  # Unix time


class TunnelStatus(Told):
    """A Tunnel's port and its live connections."""

    id: str
    name: str
    address: str
    port: int
    state: ListenerState
    reason: str = ""
    links: tuple[LinkStatus, ...] = ()


class SlotStatus(Told):
    """A worker's place in the supervisor."""

    slot: int
    pid: int | None
    ready: bool
    sessions: int
    restarts: int


class SessionStatus(Told):
    """A partner's session."""

    id: str
    listener: str
    node: str
    peer: str
    username: str = ""
    slot: int
    since: float  # Unix time
    bytes_in: int = 0  # from the partner
    bytes_out: int = 0  # to the partner
    rate_in: float = 0.0  # bytes per second, just now
    rate_out: float = 0.0
    target: str = ""  # the Outbound Node; in Direct Mode its address
    file: str = ""  # of those that are open, the one that was opened last
    direction: str = ""  # of that file: upload, download, or both


class PenaltyStatus(Told):
    """What is held against somebody on a server. `key` releases it; `kind`: source, username or
    target; `until`: Unix time."""

    key: str
    kind: str
    name: str
    reason: str
    failures: int
    seconds: float  # that are left
    until: float


class CertificateStatus(Told):
    """A certificate that a daemon stands on. `name`: the argument of its configuration, or kind/name of the item."""

    name: str
    until: float  # Unix time


class Report(Told):
    """`GET /v1/status` of a server. `boot` changes with every start of the supervisor; `version` 0: no snapshot yet."""

    protocol: int = PROTOCOL
    server: str
    software: str
    boot: str
    started_at: float
    version: int = 0
    digest: str = ""
    draining: bool = False  # it shuts down
    intake: Intake = Intake.OPEN
    sessions: int = 0
    bytes_in: int = 0  # from partners, since it started
    bytes_out: int = 0
    slots: tuple[SlotStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    tunnels: tuple[TunnelStatus, ...] = ()
    certificates: tuple[CertificateStatus, ...] = ()


class AckResult(StrEnum):
    APPLIED = "applied"
    ALREADY = "already"
    REJECTED = "rejected"


class Complaint(Told):
    """A `Problem` on the wire."""

    loc: tuple[str | int, ...]
    msg: str


class Ack(Told):
    """A server's answer to `PUT /v1/snapshot`. `version` and `digest` are what is in force after it."""

    result: AckResult
    version: int
    digest: str
    code: str = ""
    message: str = ""
    problems: tuple[Complaint, ...] = ()
