"""What the store hands out, besides the catalog's records: frozen rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypedDict

from usp.errors import Problem
from usp.manager.changes import Change
from usp.secret import Secret
from usp.snapshot import Snapshot
from usp.status import Intake, PushState, Report, ServerState

CLOCK_SKEW: Final = timedelta(minutes=1)  # between managers
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Role(StrEnum):
    """What an administrator may do: everything, or reading."""

    ADMIN = "admin"
    READ_ONLY = "read_only"


class RunState(StrEnum):
    """What an administrator wants of a Deployment's listener, a Tunnel, or (drained, started again) a Proxy Server."""

    STARTED = "started"
    STOPPED = "stopped"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One revision of an item. `document`: its public fields (None: deleted); `secrets`: secret fields that changed."""

    item_id: str
    kind: str
    name: str
    revision: int
    action: str  # create, update, delete
    author: str
    at: datetime
    document: Mapping[str, Any] | None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One configuration version of a server, without its content (`Store.versions.snapshot` opens that)."""

    server: str
    number: int
    digest: str
    catalog_revision: int
    author: str
    at: datetime
    comment: str
    push: PushState
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    pushed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pushable:
    """A version with its content in clear, ready to be sent."""

    version: Version
    snapshot: Snapshot = field(repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it is wanted and as it was last seen. `desired` 0: nothing was ever pushed."""

    name: str
    desired: int = 0
    state: ServerState = ServerState.UNKNOWN
    reason: str = ""
    report: Report | None = None
    seen_at: datetime | None = None  # when it last answered
    checked_at: datetime | None = None  # when it was last asked
    age: float | None = None  # seconds since it last answered, by the database's clock

    @property
    def is_empty(self) -> bool:
        """Drained: it takes no new session and has none left."""
        return self.report is not None and self.report.intake is Intake.CLOSED and self.report.sessions == 0


@dataclass(frozen=True, slots=True)
class ServerChange:
    """A line of a server's history. `number` grows."""

    number: int
    at: datetime
    change: Change


@dataclass(frozen=True, slots=True)
class User:
    """An administrator. `password_hash` is None for a user who cannot log in with one."""

    id: str
    name: str
    role: Role
    password_hash: str | None = field(repr=False)
    created_at: datetime
    updated_at: datetime
    full_name: str = ""
    email: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Factor:
    """A user's second factor. It counts once it is confirmed; `last_step` was used, and so was everything before."""

    user_id: str
    secret: Secret
    created_at: datetime
    confirmed_at: datetime | None = None
    last_step: int = 0
    codes_left: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """An API token: only the digest of it is kept."""

    id: str
    name: str
    user_id: str
    digest: str = field(repr=False)
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A server-side session of an administrator: only the digest of its bearer token is kept."""

    id: str
    user_id: str
    digest: str = field(repr=False)
    peer: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Lockout:
    """How often logins of a subject (`user:NAME`, `address:ADDRESS`) failed of late, and until when none is tried."""

    subject: str
    failures: int
    failed_at: datetime
    locked_until: datetime | None = None

    def locked(self, now: datetime) -> bool:
        """A clock that was set back does not make a lock-out longer than it was meant."""
        if self.locked_until is None:
            return False
        return now < self.locked_until and self.failed_at <= now + CLOCK_SKEW

    def left(self, now: datetime) -> timedelta:
        """For how long it is locked out."""
        return self.locked_until - now if self.locked_until is not None and self.locked(now) else timedelta()


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail. `number` (0 until stored) grows: pages and streams go on from it.

    What a server told of its partners has `server` and a place in its chain (usp.chain); `detail` is the whole line,
    `author` the account, and `target` the path."""

    at: datetime
    author: str
    action: str  # such as item.update, login.failed, push.applied, file.closed
    target: str = ""
    peer: str = ""
    detail: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    number: int = 0
    server: str = ""
    listener: str = ""
    session: str = ""
    outcome: str = ""
    chain: str = ""
    seq: int = 0


class Source(StrEnum):
    """Who told it: a manager of what administrators did, or a server of what partners did."""

    MANAGER = "manager"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told of events. `wanted`: as in `Wanted`; `told`: the number of the last event that it is done with."""

    id: str
    name: str
    url: str
    secret: Secret
    created_at: datetime
    wanted: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    told: int = 0
    delivered: int = 0
    dead: int = 0
    failures: int = 0
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    error: str = ""

    def due(self, now: datetime) -> bool:
        return self.retry_at is None or self.retry_at <= now


class Wanted(TypedDict, total=False):
    """Which events. Texts: "" is any."""

    action: str  # begins so
    path: str  # begins so
    account: str
    server: str
    listener: str
    outcome: str
    session: str
    source: Source | None
    since: datetime | None
    until: datetime | None
