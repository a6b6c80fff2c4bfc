"""The configuration items: what an administrator makes, one frozen pydantic model per kind.

An *item* is a document of fields. The store adds identity and history around it and calls that a *record*. The models
drive everything else: the API, the forms of the UI, references, revisions and export. Adding a field is one line here;
adding a kind is one class here (it registers itself in `KINDS`).

* A field of type `Secret` is sealed at rest and write-only in the API; every other field is public.
* A field annotated with `Ref("kind")` holds the id of another item; on the way in, its name will do too.
* Rules over one field stand in its type, rules over several in `problems()`, rules over several items in
  `usp.manager.catalog`.

Names and rules: product.md, "Configuration items".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializeAsAny

from usp.addresses import bind_address, canonical_cidr
from usp.algorithms import Algorithms
from usp.bandwidth import Bandwidth
from usp.combinations import RULE_COMBINATIONS, InboundMethod, InboundSource, OutboundCredentials
from usp.errors import Problem
from usp.policy import Policy
from usp.scan import Scan
from usp.secret import Secret


class Model(BaseModel):
    """Strict, frozen, closed: what does not fit is refused, nothing is coerced, nothing changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Ref:
    """Marks a field that refers to an item of `kind` (kebab-case plural, as in the REST paths)."""

    kind: str


NAME_PATTERN: Final = r"^[a-zA-Z0-9_-]{1,255}$"
USERNAME_PATTERN: Final = r"^[a-zA-Z0-9_.@-]{1,255}$"
HOST_PATTERN: Final = (
    r"^(?:[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)(?:\.[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?)*\.?$"
    r"|^[0-9a-fA-F]*:[0-9a-fA-F:.]{1,44}$"
)
BANNER_PATTERN: Final = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Username = Annotated[str, Field(pattern=USERNAME_PATTERN)]
Host = Annotated[str, Field(pattern=HOST_PATTERN, max_length=253, description="Host name or IP address")]
Port = Annotated[int, Field(ge=1, le=65535)]
BindAddress = Annotated[str, AfterValidator(bind_address)]
Cidr = Annotated[str, Field(max_length=64), AfterValidator(canonical_cidr)]
Banner = Annotated[str, Field(max_length=4096, pattern=BANNER_PATTERN)]
Pem = Annotated[str, Field(min_length=1, max_length=65536)]


class Item(Model):
    """What every kind has."""

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""

    name: Name = Field(description="Unique among its kind: letters, digits, '-' and '_'")
    description: str = Field(default="", max_length=4096, description="For people; has no effect")
    enabled: bool = Field(default=True, description="Disabled items are left out of what is pushed")

    def problems(self) -> Iterator[Problem]:
        """Rules over several fields of this item."""
        yield from ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        assert cls.kind not in _KINDS, cls.kind
        _KINDS[cls.kind] = cls


_KINDS: dict[str, type[Item]] = {}
KINDS: Final[Mapping[str, type[Item]]] = MappingProxyType(_KINDS)
"""kind in kebab-case plural -> its model, in the order of definition (referenced kinds first)."""


class CaCertificate(Item):
    """Certificate of an authority, which verifies the management certificates of Proxy Servers."""

    kind = "ca-certificates"
    title = "CA Certificate"

    certificate: Pem = Field(description="PEM; verifies a Proxy Server's management certificate")
    private_key: Secret | None = Field(default=None, description="PEM; only needed to sign TLS Certificates here")


class TlsCertificate(Item):
    """Certificate with its key: the manager's identity towards Proxy Servers."""

    kind = "tls-certificates"
    title = "TLS Certificate"

    certificate: Pem = Field(description="PEM, the chain with the leaf first; identifies the manager to a Proxy Server")
    private_key: Secret = Field(description="PEM, unencrypted")


class PrivateKey(Item):
    """SSH private key: a host key that partners or Proxy Clients see, or the login at a target."""

    kind = "private-keys"
    title = "Private Key"

    private_key: Secret = Field(description="SSH private key in OpenSSH or PEM form")


class PublicKey(Item):
    """SSH public key: a target's pinned host key, a partner's login, or a Proxy Client's identity."""

    kind = "public-keys"
    title = "Public Key"

    public_key: str = Field(
        min_length=1, max_length=16384, description="One line, such as 'ssh-ed25519 AAAA... comment'"
    )


class FilterAction(StrEnum):
    """What an IP Filter does."""

    ALLOW = "allow"
    BLOCK = "block"


class IpFilter(Item):
    """Which addresses may connect."""

    kind = "ip-filters"
    title = "IP Filter"

    block: tuple[Cidr, ...] = Field(default=(), description="Any match refuses")
    allow: tuple[Cidr, ...] = Field(default=(), description="Else any match permits")
    default: FilterAction = Field(default=FilterAction.ALLOW, description="Else this decides")


class AccountRepository(Item):
    """A set of Accounts, which Rules and Accounts refer to."""

    kind = "account-repositories"
    title = "Account Repository"


class Account(Item):
    """A partner's login."""

    kind = "accounts"
    title = "Account"

    account_repository: Annotated[str, Ref("account-repositories")]
    username: Username = Field(description="What the partner logs in with; unique in its repository")
    password: Secret | None = Field(default=None, description="Kept as an argon2id hash only; a hash is kept as it is")
    public_keys: tuple[Annotated[str, Ref("public-keys")], ...] = Field(default=(), description="Any of them logs in")
    target_username: Username | None = Field(
        default=None, description="The user at the target; else the Rule's, or with passthrough the partner's own"
    )
    policy: Policy | None = Field(default=None, description="What this partner may do, instead of the Rule's policy")
    bandwidth: Bandwidth = Field(default=Bandwidth(), description="What its sessions share on each server")


class Rule(Item):
    """How partners log in, who checks it, and what is shown to the target."""

    kind = "rules"
    title = "Rule"

    inbound_method: InboundMethod = Field(description="What the partner must show")
    inbound_source: InboundSource = Field(description="Who checks it; 'none' leaves it to the target")
    account_repository: Annotated[str, Ref("account-repositories")] | None = None
    trusted_ca_keys: tuple[Annotated[str, Ref("public-keys")], ...] = Field(
        default=(), description="An OpenSSH user certificate signed by one of them, for the user name, is a public key"
    )
    outbound_credentials: OutboundCredentials = Field(description="What is shown to the target")
    username: Username | None = Field(default=None, description="Dedicated credentials: the user at the target")
    password: Secret | None = Field(default=None, description="Dedicated credentials")
    private_key: Annotated[str, Ref("private-keys")] | None = Field(default=None, description="Dedicated credentials")
    policy: Policy = Field(default=Policy(), description="What partners may do over SFTP")
    content_hash: bool = Field(default=False, description="The audit log has the SHA-256 of each file that passes")
    scan: Scan | None = Field(default=None, description="Uploads are scanned before they appear at the target")
    bandwidth: Bandwidth = Field(default=Bandwidth(), description="What its sessions share on each server")

    def problems(self) -> Iterator[Problem]:
        if (self.inbound_method, self.inbound_source, self.outbound_credentials) not in RULE_COMBINATIONS:
            chosen = f"{self.inbound_method} / {self.inbound_source} / {self.outbound_credentials}"
            yield Problem(("inbound_method",), f"{chosen} is not one of the nine valid combinations")
        if (self.account_repository is not None) != (self.inbound_source is InboundSource.ACCOUNT_REPOSITORY):
            yield Problem(("account_repository",), "goes with inbound_source 'account_repository', and only with it")
        if self.trusted_ca_keys and self.inbound_method is InboundMethod.PASSWORD:
            yield Problem(("trusted_ca_keys",), "goes with an inbound_method that takes a public key")
        if self.outbound_credentials is OutboundCredentials.DEDICATED:
            if self.username is None:
                yield Problem(("username",), "dedicated credentials need the user name at the target")
            if self.password is None and self.private_key is None:
                yield Problem(("password",), "dedicated credentials need a password, a private_key, or both")
        else:
            for field in ("username", "password", "private_key"):
                if getattr(self, field) is not None:
                    yield Problem((field,), "goes with outbound_credentials 'dedicated' only")


class InboundNode(Item):
    """How the gateway meets partners that its IP Filter lets in: host keys, Rule, banner, algorithms."""

    kind = "inbound-nodes"
    title = "Inbound Node"

    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000, description="Nodes are tried highest first")
    ip_filter: Annotated[str, Ref("ip-filters")]
    host_keys: tuple[Annotated[str, Ref("private-keys")], ...] = Field(
        min_length=1, description="What the partner sees as the server's identity"
    )
    rule: Annotated[str, Ref("rules")]
    banner: Banner = Field(default="", description="Text that partners are shown before they log in")
    algorithms: Algorithms = Algorithms()


Weight = Annotated[int, Field(ge=0, le=1000, description="Its share of the logins; 0: when no other address is up")]


class Address(Model):
    """Where something listens, and which share of the logins it gets where they are shared out by weight."""

    host: Host
    port: Port = 22
    weight: Weight = 1

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Distribution(StrEnum):
    """Which address of a target a login goes to."""

    ORDERED = "ordered"
    WEIGHTED = "weighted"


class OutboundNode(Item):
    """A target: where it is, and its pinned host keys."""

    kind = "outbound-nodes"
    title = "Outbound Node"

    host: Host = Field(description="The target; the name is resolved when dialling, where it is dialled from")
    port: Port = 22
    host_keys: tuple[Annotated[str, Ref("public-keys")], ...] = Field(
        min_length=1, description="The target's pinned keys; any other key is refused"
    )
    algorithms: Algorithms = Algorithms()
    alternates: tuple[Address, ...] = Field(
        default=(),
        max_length=8,
        description="More addresses of the same target, with the same keys: dialled when another one is down",
    )
    distribution: Distribution = Field(
        default=Distribution.ORDERED,
        description="ordered: the first address that is up; weighted: each login draws one by weight",
    )
    weight: Weight = 1
    send_proxy_v2: bool = Field(
        default=False, description="The target is told the partner's address by a PROXY header (version 2)"
    )
    connection_reuse: bool = Field(default=False, description="With dedicated credentials, sessions share connections")
    sessions_per_connection: int = Field(default=8, ge=2, le=100, description="How many share one: below MaxSessions")

    def problems(self) -> Iterator[Problem]:
        weighted = self.distribution is Distribution.WEIGHTED
        weights: list[tuple[tuple[str | int, ...], int]] = [(("weight",), self.weight)]
        seen = {(self.host, self.port)}
        for number, each in enumerate(self.alternates):
            if (each.host, each.port) in seen:
                yield Problem(("alternates", number), "is there already")
            seen.add((each.host, each.port))
            weights.append((("alternates", number, "weight"), each.weight))
        if weighted and not any(weight for _, weight in weights):
            yield Problem(("weight",), "one address at least must have a weight above 0")
        for loc, weight in weights:
            if weight != 1 and not weighted:
                yield Problem(loc, "goes with distribution 'weighted' only")
        if self.sessions_per_connection != 8 and not self.connection_reuse:  # the default is no wish
            yield Problem(("sessions_per_connection",), "goes with connection_reuse only")
        if self.connection_reuse and self.send_proxy_v2:
            yield Problem(("send_proxy_v2",), "does not go with connection_reuse: a header speaks for one partner")


class Route(Item):
    """Which Inbound Nodes a Listener tries, and which Outbound Nodes it may lead to."""

    kind = "routes"
    title = "Route"

    inbound_nodes: tuple[Annotated[str, Ref("inbound-nodes")], ...] = Field(min_length=1)
    outbound_nodes: tuple[Annotated[str, Ref("outbound-nodes")], ...] = Field(min_length=1)


class ListenerType(StrEnum):
    """SFTP with session break, or TCP passed through."""

    SFTP = "sftp"
    TCP = "tcp"


class ProxyProtocol(StrEnum):
    """Whether load balancers in front of a Listener say, by the PROXY protocol, whom they speak for."""

    OFF = "off"
    REQUIRED = "required"


class Listener(Item):
    """A port for partners: SFTP with session break, or TCP passed through to one target (Direct Mode)."""

    kind = "listeners"
    title = "Listener"

    address: BindAddress = Field(default="0.0.0.0", description="Where to listen")  # noqa: S104  (a public gateway)
    port: Port
    type: ListenerType = ListenerType.SFTP
    bandwidth: Bandwidth = Field(default=Bandwidth(), description="What its sessions share on each server")
    route: Annotated[str, Ref("routes")] | None = Field(default=None, description="sftp")
    default_outbound_node: Annotated[str, Ref("outbound-nodes")] | None = Field(default=None, description="sftp")
    ip_filter: Annotated[str, Ref("ip-filters")] | None = Field(default=None, description="tcp")
    target_host: Host | None = Field(default=None, description="tcp (Direct Mode, no session break)")
    target_port: Port | None = Field(default=None, description="tcp")
    proxy_protocol: ProxyProtocol = Field(
        default=ProxyProtocol.OFF, description="required: every connection begins with a PROXY header (version 1 or 2)"
    )
    proxy_trusted: tuple[Cidr, ...] = Field(
        default=(), description="The load balancers that may send PROXY headers; others are refused"
    )
    send_proxy_v2: bool = Field(
        default=False, description="The target is told the partner's address by a PROXY header, version 2 (tcp)"
    )
    withhold_banner: bool = Field(
        default=True, description="Close connections at once while the target is known to be out of reach (sftp)"
    )

    _OF_TYPE: ClassVar[Mapping[ListenerType, tuple[str, ...]]] = {
        ListenerType.SFTP: ("route", "default_outbound_node"),
        ListenerType.TCP: ("ip_filter", "target_host", "target_port"),
    }

    def problems(self) -> Iterator[Problem]:
        for type_, fields in self._OF_TYPE.items():
            for field in fields:
                given = getattr(self, field) is not None
                if given and type_ is not self.type:
                    yield Problem((field,), f"goes with type '{type_}' only")
                if not given and type_ is self.type:
                    yield Problem((field,), f"is required for type '{type_}'")
        if self.type is ListenerType.TCP and not self.withhold_banner:
            yield Problem(("withhold_banner",), "goes with type 'sftp' only: there is no banner of ours otherwise")
        if self.type is ListenerType.SFTP and self.send_proxy_v2:
            yield Problem(("send_proxy_v2",), "goes with type 'tcp' only: else the Outbound Node says it")
        required = self.proxy_protocol is ProxyProtocol.REQUIRED
        if required and not self.proxy_trusted:
            yield Problem(("proxy_trusted",), "is needed with proxy_protocol 'required': name your load balancers")
        if self.proxy_trusted and not required:
            yield Problem(("proxy_trusted",), "goes with proxy_protocol 'required' only")


class ProxyServer(Item):
    """A usp-server in the DMZ."""

    kind = "proxy-servers"
    title = "Proxy Server"

    host: Host = Field(description="Where its management port is reached")
    port: Port = Field(default=8444, description="Its management port")
    ca_certificate: Annotated[str, Ref("ca-certificates")] = Field(description="Verifies the server")
    tls_certificate: Annotated[str, Ref("tls-certificates")] = Field(description="Identifies the manager")


class Tunnel(Item):
    """A port of a Proxy Server where its Proxy Clients connect from inside."""

    kind = "tunnels"
    title = "Tunnel"

    proxy_server: Annotated[str, Ref("proxy-servers")]
    address: BindAddress = Field(default="0.0.0.0", description="Where the server awaits its clients")  # noqa: S104
    port: Port
    private_key: Annotated[str, Ref("private-keys")] = Field(description="The server's SSH identity on that port")


class ProxyClient(Item):
    """A usp-client inside, which dials targets for a Proxy Server."""

    kind = "proxy-clients"
    title = "Proxy Client"

    tunnel: Annotated[str, Ref("tunnels")]
    public_key: Annotated[str, Ref("public-keys")] = Field(description="The client's SSH identity")


class Startup(StrEnum):
    """Whether a Deployment starts by itself."""

    AUTO = "auto"
    MANUAL = "manual"


class Deployment(Item):
    """A Listener on a Proxy Server, optionally by way of a Tunnel."""

    kind = "deployments"
    title = "Deployment"

    listener: Annotated[str, Ref("listeners")]
    proxy_server: Annotated[str, Ref("proxy-servers")]
    startup: Startup = Field(
        default=Startup.AUTO, description="auto: starts after a push and whenever the server starts"
    )
    tunnel: Annotated[str, Ref("tunnels")] | None = Field(default=None, description="Targets are dialled through it")
    proxy_client: Annotated[str, Ref("proxy-clients")] | None = None

    def problems(self) -> Iterator[Problem]:
        if (self.tunnel is None) != (self.proxy_client is None):
            missing = "tunnel" if self.tunnel is None else "proxy_client"
            yield Problem((missing,), "tunnel and proxy_client go together: give both or neither")


class Record(Model):
    """An item as the store knows it. `revision` is the catalog's revision at which it last changed (its ETag).

    `facts` is what was read out of keys and certificates when they were saved (type, bits, fingerprint, expiry): all
    public.
    """

    kind: str
    id: str
    revision: int
    created_at: datetime
    updated_at: datetime
    item: SerializeAsAny[Item]
    facts: Mapping[str, str | int] = MappingProxyType({})
