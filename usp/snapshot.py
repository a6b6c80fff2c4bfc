"""Snapshot: what one server needs to serve partners, everything resolved, nothing left to look up.

The manager compiles it (`usp.manager.compile`), the server applies it all or nothing and keeps it in memory only. A
session keeps the snapshot that it began with. `digest` covers the content, not the version, so that the same content
under a new version is recognised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Self

from pydantic import Field

from usp.algorithms import Algorithms
from usp.bandwidth import Bandwidth
from usp.combinations import InboundMethod, InboundSource, OutboundCredentials
from usp.model import (
    Address,
    Banner,
    BindAddress,
    Cidr,
    Distribution,
    FilterAction,
    Host,
    ListenerType,
    Model,
    Name,
    Port,
    ProxyProtocol,
    Startup,
    Username,
    Weight,
)
from usp.policy import Policy
from usp.scan import Scan
from usp.secret import REVEAL, Secret

PROTOCOL: Final = 2
"""Version of what managers, servers and clients say to each other; they accept their own and the one before.

2: servers can be drained, and are told so with a snapshot (`Snapshot.drained`)."""


class FilterSpec(Model):
    block: tuple[Cidr, ...] = ()
    allow: tuple[Cidr, ...] = ()
    default: FilterAction = FilterAction.ALLOW


class CredentialsSpec(Model):
    """Dedicated credentials for a target: at least one of password and private key (PEM); both given = both used."""

    username: Username
    password: Secret | None = None
    private_key: Secret | None = None


class AccountSpec(Model):
    """A partner's login. `password`: argon2id hash; `public_keys`: one OpenSSH line each, any of them logs in."""

    username: Username
    password: Secret | None = None
    public_keys: tuple[str, ...] = ()
    target_username: Username | None = None
    policy: Policy | None = None
    bandwidth: Bandwidth = Bandwidth()


class Keeping(Model):
    """A model that keeps what it worked out from its fields. A copy with other fields works it out anew."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class RepositorySpec(Keeping):
    """An Account Repository with its enabled Accounts, once per snapshot however many Rules use it."""

    id: str
    name: Name
    accounts: tuple[AccountSpec, ...] = ()

    @cached_property
    def wire(self) -> bytes:
        """As it stands in `Content.to_wire`. Kept, because it is most of a big content, written again and again: for
        the digest, the vault and the servers, which may all share one repository."""
        return _json(self)


class RuleSpec(Model):
    """`repository`: id of a RepositorySpec of the same snapshot. `trusted_ca_keys`: one OpenSSH line each."""

    id: str
    name: Name
    method: InboundMethod
    source: InboundSource
    outbound: OutboundCredentials
    repository: str | None = None
    trusted_ca_keys: tuple[str, ...] = ()
    dedicated: CredentialsSpec | None = None
    policy: Policy = Policy()
    scan: Scan | None = None
    content_hash: bool = False
    bandwidth: Bandwidth = Bandwidth()


class NodeSpec(Model):
    """An Inbound Node. `host_keys`: private keys (PEM)."""

    id: str
    name: Name
    filter: FilterSpec
    host_keys: tuple[Secret, ...] = Field(min_length=1)
    rule: RuleSpec
    banner: Banner = ""
    algorithms: Algorithms = Algorithms()


class TargetSpec(Model):
    """An Outbound Node. `host_keys`: the pinned public keys, one OpenSSH line each."""

    id: str
    name: Name
    host: Host
    port: Port
    host_keys: tuple[str, ...] = Field(min_length=1)
    algorithms: Algorithms = Algorithms()
    alternates: tuple[Address, ...] = ()
    distribution: Distribution = Distribution.ORDERED
    weight: Weight = 1
    send_proxy_v2: bool = False
    connection_reuse: bool = False
    sessions_per_connection: int = 8

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All of them, in their order."""
        return (Address(host=self.host, port=self.port, weight=self.weight), *self.alternates)


class PathSpec(Model):
    """Through which tunnel, and which client on it, targets are dialled."""

    tunnel: str = Field(description="id of a TunnelSpec of the same snapshot")
    client: Name


class DirectSpec(Model):
    """Direct Mode: bytes are handed on without a session break."""

    filter: FilterSpec
    host: Host
    port: Port
    send_proxy_v2: bool = False


class ListenerSpec(Model):
    """A Listener as deployed on this server. sftp: `nodes` (highest priority first) and `target`; tcp: `direct`.

    `id` is the Deployment's: that is what is started and stopped.
    """

    id: str
    name: Name
    address: BindAddress
    port: Port
    type: ListenerType
    startup: Startup = Startup.AUTO
    path: PathSpec | None = None
    nodes: tuple[NodeSpec, ...] = ()
    target: TargetSpec | None = None
    direct: DirectSpec | None = None
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF
    proxy_trusted: tuple[Cidr, ...] = ()
    withhold_banner: bool = True
    bandwidth: Bandwidth = Bandwidth()


class ClientSpec(Model):
    """A Proxy Client that may link to a tunnel. `public_key`: one OpenSSH line."""

    id: str
    name: Name
    public_key: str


class TunnelSpec(Model):
    id: str
    name: Name
    address: BindAddress
    port: Port
    private_key: Secret
    clients: tuple[ClientSpec, ...] = ()


class Content(Keeping):
    """The part of a snapshot that is configuration."""

    listeners: tuple[ListenerSpec, ...] = ()
    tunnels: tuple[TunnelSpec, ...] = ()
    repositories: tuple[RepositorySpec, ...] = ()

    def to_wire(self) -> bytes:
        """Canonical JSON with the secrets in clear: for mutual TLS, the worker's memfd and the vault only.

        What has its default is left out. So a field that a later release adds changes no digest of a version that was
        made before, and an older server takes what does not use it. (A default, once released, therefore stays.)
        """
        head = _json(self, "repositories")
        if not self.repositories:
            return head
        return _with(head, "repositories", b"[" + b",".join(each.wire for each in self.repositories) + b"]")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hex. Kept, as `RepositorySpec.wire` is."""
        return hashlib.sha256(self.to_wire()).hexdigest()


class Snapshot(Model):
    """One server's configuration version. `version` counts from 1 per server; 0 means that nothing was applied yet.

    `stopped`: ids of listeners and tunnels that an administrator stopped, so that a server that restarted does not open
    them even for a moment; `drained`: the same of new sessions. They are no part of the configuration: the digest does
    not cover them.
    """

    protocol: int
    server: Name
    version: int = Field(ge=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    content: Content
    stopped: tuple[str, ...] = ()
    drained: bool = False

    @classmethod
    def of(cls, server: str, version: int, content: Content) -> Snapshot:
        return cls(protocol=PROTOCOL, server=server, version=version, digest=content.digest, content=content)

    def to_wire(self) -> bytes:
        """JSON with the secrets in clear (see `Content.to_wire`)."""
        return _with(_json(self, "content"), "content", self.content.to_wire())

    def listener(self, id: str) -> ListenerSpec | None:
        return next((spec for spec in self.content.listeners if spec.id == id), None)

    def tunnel(self, id: str) -> TunnelSpec | None:
        return next((spec for spec in self.content.tunnels if spec.id == id), None)


def _json(model: Model, *but: str) -> bytes:
    return model.model_dump_json(context=REVEAL, exclude_defaults=True, exclude=set(but)).encode()


def _with(head: bytes, name: str, value: bytes) -> bytes:
    """The JSON object with one more member, at its end."""
    comma = b"" if head == b"{}" else b","
    return b"".join((head[:-1], comma, b'"', name.encode(), b'":', value, b"}"))
