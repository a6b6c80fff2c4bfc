"""What is asked and answered when a path is tested: hop by hop from a server to a target, and which host keys it shows.

Managers ask servers (`POST /v1/probe`, `POST /v1/scan-host-key`), supervisors ask workers. A hop that was not reached
is not in the answer; the last one tells what is wrong, with a code of `usp.errors`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from usp.algorithms import Algorithms
from usp.model import Host, Model, Port
from usp.secret import Secret
from usp.snapshot import PathSpec, TargetSpec

LIMIT: Final = 20.0
"""Seconds that a worker takes for all of it, at the most."""
MARGIN: Final = 3.0
"""Seconds that each one between the worker and the administrator adds."""


class HopName(StrEnum):
    """In the order in which they are tried."""

    SERVER = "server"  # the manager reaches the server
    TUNNEL = "tunnel"  # a live link, and how long a round trip takes
    CONNECT = "connect"
    IDENTIFICATION = "identification"  # RFC 4253, 4.2
    ALGORITHMS = "algorithms"  # key exchange, cipher and MAC in common; RFC 4253, 7.1
    HOST_KEY = "host_key"  # shown, proven, and pinned
    LOGIN = "login"
    SFTP = "sftp"


class Hop(Model):
    """One hop of a path, tried."""

    name: HopName
    ok: bool
    ms: float = Field(description="How long it took")
    detail: str
    code: str = Field(default="", description="What failed")


class HostKey(Model):
    """A key that a target showed, and proved to have."""

    type: str
    bits: int
    fingerprint: str
    line: str = Field(description="As a Public Key takes it")
    pinned: bool = Field(default=False, description="It is one of the Outbound Node's keys")


class Diagnosis(Model):
    """A path, hop by hop, and the host keys at its end."""

    ok: bool = False
    hops: tuple[Hop, ...] = ()
    host_keys: tuple[HostKey, ...] = ()


class Login(Model):
    """Shown to the target only after its host key was found to be pinned. Whatever is given is offered."""

    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: Secret | None = None
    private_key: Secret | None = None


class Probe(Model):
    """Manager to server: test the way of a listener, as the snapshot in force has it. `listener`: a Deployment's id."""

    listener: str
    kind: Literal["path"] = "path"
    login: Login | None = None


class PathProbe(Model):
    """Supervisor to worker: `Probe` with everything resolved. `target` is None in Direct Mode: connect, and no more."""

    host: Host
    port: Port
    path: PathSpec | None = None
    target: TargetSpec | None = None
    login: Login | None = None
    send_proxy_v2: bool = False


class KeyScan(Model):
    """Which host keys does a target show? It need not be in any snapshot; a Proxy Client dials what its allow list
    permits."""

    host: Host
    port: Port = 22
    path: PathSpec | None = None
    algorithms: Algorithms = Algorithms()
    send_proxy_v2: bool = Field(default=False, description="It expects a PROXY header")


Task = PathProbe | KeyScan
