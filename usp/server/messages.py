"""What the supervisor and its workers say to each other, over one AF_UNIX SEQPACKET socketpair per slot.

Pure: values only; `usp.server.ipc` moves them (one JSON object per packet, file descriptors beside it). The supervisor
owns listening sockets and configuration and parses no SSH byte; workers get accepted sockets and never bind.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from usp.diagnosis import Diagnosis, KeyScan, PathProbe
from usp.model import Model
from usp.status import Complaint, LinkState, Outcome, SessionStatus

# --- supervisor -> worker ---


class Start(Model):
    """The first message. `settings` is the JSON of usp-server's effective settings (they hold no secret)."""

    op: Literal["start"] = "start"
    slot: int
    slots: int
    server: str
    settings: str


class Prepare(Model):
    """Read the snapshot from the one descriptor that comes along (a sealed memfd), parse its keys, keep it aside."""

    op: Literal["prepare"] = "prepare"
    version: int


class Commit(Model):
    """From now on new sessions and links use the prepared version; links of tunnels that it lacks are closed."""

    op: Literal["commit"] = "commit"
    version: int


class Abort(Model):
    """Forget the prepared version."""

    op: Literal["abort"] = "abort"
    version: int


class Partner(Model):
    """An accepted partner connection (one descriptor), admitted and placed."""

    op: Literal["partner"] = "partner"
    session: str
    version: int
    listener: str
    node: str
    peer_host: str
    peer_port: int
    exempt: bool = Field(default=False, description="No penalty of a user name counts for it")
    known: tuple[str, ...] = Field(default=(), description="User names whose penalties do not count for it")


class TunnelSocket(Model):
    """An accepted connection on a tunnel's port (one descriptor); `link` names the link to be."""

    op: Literal["tunnel_socket"] = "tunnel_socket"
    link: str
    tunnel: str
    peer_host: str
    peer_port: int


class CloseLinks(Model):
    """The tunnel was stopped: close its links."""

    op: Literal["close_links"] = "close_links"
    tunnel: str


class Kill(Model):
    """End this session now."""

    op: Literal["kill"] = "kill"
    session: str
    outcome: Outcome = Outcome.KILLED


class Bar(Model):
    """Deny logins of this user name for `seconds`; 0 = not any more."""

    op: Literal["bar"] = "bar"
    username: str
    seconds: float


class Verdict(Model):
    """The answer to `MayTry`. Not `granted`: deny it after `seconds`, as the target would."""

    op: Literal["verdict"] = "verdict"
    attempt: int
    granted: bool
    seconds: float = 0.0


class Shares(Model):
    """The answer to `Wanted`: what the worker may use of each of those limits, in bytes per second."""

    op: Literal["shares"] = "shares"
    shares: tuple[tuple[str, float], ...]


class Drain(Model):
    """Take nothing new; exit when the last session has ended, or after `seconds`. `notice`: tell Proxy Clients to make
    links elsewhere."""

    op: Literal["drain"] = "drain"
    seconds: float
    notice: bool = False


class Poll(Model):
    """Answer with `Sessions`."""

    op: Literal["poll"] = "poll"
    request: int


class Probe(Model):
    """Try that way, and answer with `Probed`. (The one message that may hold a secret: a password to log in with.)"""

    op: Literal["probe"] = "probe"
    request: int
    task: PathProbe | KeyScan


ToWorker = Annotated[
    Start
    | Prepare
    | Commit
    | Abort
    | Partner
    | TunnelSocket
    | CloseLinks
    | Kill
    | Bar
    | Verdict
    | Shares
    | Drain
    | Poll
    | Probe,
    Field(discriminator="op"),
]

# --- worker -> supervisor ---


class Ready(Model):
    """The worker runs and takes messages."""

    op: Literal["ready"] = "ready"
    pid: int


class Prepared(Model):
    """The answer to `Prepare`: no problems means ready to commit."""

    op: Literal["prepared"] = "prepared"
    version: int
    problems: tuple[Complaint, ...] = ()


class SessionEnded(Model):
    """The session that came with `Partner.session` is over; exactly one per `Partner`."""

    op: Literal["session_ended"] = "session_ended"
    session: str
    outcome: Outcome


class LoginFailed(Model):
    """A partner's login was denied, by us or by the target."""

    op: Literal["login_failed"] = "login_failed"
    session: str
    username: str


class Authenticated(Model):
    """A partner is logged in."""

    op: Literal["authenticated"] = "authenticated"
    session: str
    username: str


class Result(StrEnum):
    """What came of showing a partner's password to a target."""

    ACCEPTED = "accepted"
    DENIED = "denied"  # also if nobody heard the answer
    UNTRIED = "untried"  # it was not shown


class MayTry(Model):
    """May this partner's password be shown to the target of that name? The answer is a `Verdict` on the `attempt`."""

    op: Literal["may_try"] = "may_try"
    session: str
    attempt: int
    target: str
    username: str


class Tried(Model):
    """What came of the `attempt`, exactly one for each that was granted; UNTRIED also takes a question back."""

    op: Literal["tried"] = "tried"
    session: str
    attempt: int
    result: Result


class LimitWanted(Model):
    """What a worker wants of a limit of bandwidth (`usp.server.bucket.Demand`). `rate`: what all workers may use."""

    key: str
    rate: float
    used: float
    channels: int
    held: int


class Wanted(Model):
    """Of the limits that are in use, perhaps in parts, every second. The answer is `Shares`."""

    op: Literal["wanted"] = "wanted"
    limits: tuple[LimitWanted, ...]


class LinkChanged(Model):
    """A link's new state. `client` is known once the hello was accepted; DOWN is the last word about a link."""

    op: Literal["link_changed"] = "link_changed"
    link: str
    tunnel: str
    state: LinkState
    client: str = ""
    version: str = ""
    reason: str = ""


class TargetHealth(Model):
    """The ids of listeners whose target is down at all its addresses, as this worker knows; told when it changes."""

    op: Literal["target_health"] = "target_health"
    down: tuple[str, ...] = ()


class Events(Model):
    """Facts for the audit log: each line is one finished JSON object without secrets."""

    op: Literal["events"] = "events"
    lines: tuple[str, ...]


class Metrics(Model):
    """Counters and gauges of this worker, sent every few seconds, in parts that fit a packet: metric name -> label
    values -> value. `more`: it goes on with the part before."""

    op: Literal["metrics"] = "metrics"
    more: bool = False
    samples: tuple[tuple[str, tuple[str, ...], float], ...] = ()


class Sessions(Model):
    """The answer to `Poll`, in parts that fit a packet; `last` marks the end."""

    op: Literal["sessions"] = "sessions"
    request: int
    sessions: tuple[SessionStatus, ...] = ()
    last: bool = True


class Probed(Model):
    """The answer to `Probe`."""

    op: Literal["probed"] = "probed"
    request: int
    diagnosis: Diagnosis


FromWorker = Annotated[
    Ready
    | Prepared
    | SessionEnded
    | LoginFailed
    | Authenticated
    | MayTry
    | Tried
    | Wanted
    | LinkChanged
    | TargetHealth
    | Events
    | Metrics
    | Sessions
    | Probed,
    Field(discriminator="op"),
]
