"""What the three daemons read at start: one frozen model each, from an HCL file and the environment.

Every argument may be overridden by `USP_<ARGUMENT>`, `USP_<BLOCK>__<ARGUMENT>` (deeper: `USP_WEB__TLS__CERT`); lists
are written as JSON. Mistakes are collected and told with their place: `FILE:LINE:COL: path.to.argument: what (hint)`.
The description of a field is its hint, so it says what to write.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field

from usp import configfile
from usp.configfile import File, file_problems, read_file, redacted
from usp.databases import DatabaseSettings
from usp.errors import Problem, UspError
from usp.limits import Limits
from usp.model import BindAddress, Host, Model, Name, Port
from usp.secret import Secret
from usp.telemetry import AuditSettings as AuditSettings
from usp.telemetry import Days
from usp.telemetry import Facility as Facility
from usp.telemetry import LogFormat as LogFormat
from usp.telemetry import LogLevel as LogLevel
from usp.telemetry import LogSettings as LogSettings
from usp.telemetry import MetricsSettings as MetricsSettings
from usp.telemetry import SyslogSettings as SyslogSettings
from usp.telemetry import TracesSettings as TracesSettings

__all__ = ["redacted"]

DIRECTORY: Final = "/opt/udmg/etc"

PublicFile = Annotated[str, Field(min_length=1), File()]
PrivateFile = Annotated[str, Field(min_length=1), File(private=True)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class AgentSettings(Model):
    """What load balancers may ask this server (HAProxy's agent checks)."""

    address: BindAddress = Field(default="127.0.0.1", description="IP address for agent checks of load balancers")
    port: int = Field(default=0, ge=0, le=65535, description="port for agent checks of load balancers; 0 = off")
    drained: Literal["maint", "drain"] = Field(
        default="maint", description='"maint", or "drain": partners with a stick-table entry still come'
    )
    notice: float = Field(
        default=5.0, ge=0, le=3600, allow_inf_nan=False, description="seconds from a drain to the first refusal"
    )


class KeepaliveSettings(Model):
    interval: Seconds = Field(default=5.0, description="seconds of silence before asking whether the peer is there")
    count: int = Field(default=3, ge=1, le=100, description="unanswered questions before the peer is held for gone")


class ServerTls(Model):
    cert: PublicFile = Field(description="path of this server's certificate chain, PEM")
    key: PrivateFile = Field(description="path of its private key, PEM")
    ca: PublicFile = Field(description="path of the CA certificate that managers' certificates are checked with, PEM")


class ServerWeb(Model):
    address: BindAddress = Field(default="0.0.0.0", description="IP address of the management port")  # noqa: S104
    port: Port = Field(default=8444, description="the management port")
    tls: ServerTls = Field(description="tls { cert, key, ca }")


class ServerLimits(Model):
    login_timeout: Seconds = Field(default=30.0, description="seconds for a partner to log in")
    idle_timeout: Seconds = Field(default=900.0, description="seconds without traffic before a session is ended")
    max_session_time: float = Field(
        default=0.0, ge=0, le=31_536_000, allow_inf_nan=False, description="seconds that a session may last; 0 = any"
    )
    connect_timeout: Seconds = Field(default=10.0, description="seconds to connect to a target")
    drain_timeout: Seconds = Field(default=30.0, description="seconds for sessions to end at shutdown")
    upgrade_timeout: float = Field(
        default=43_200.0,
        gt=0,
        le=604_800,
        allow_inf_nan=False,
        description="seconds for sessions to end after an upgrade",
    )
    max_sessions: int = Field(default=5000, ge=1, le=1_000_000, description="partner sessions at once")
    fast_path: bool = Field(default=True, description="relay packets on the short way; false = stock asyncssh")
    sandbox: bool = Field(default=True, description="workers give up this host's files (Landlock)")


class ServerSettings(Model):
    """usp-server.hcl"""

    name: Name = Field(description="the name of this server's Proxy Server item: letters, digits, '-' and '_'")
    workers: int = Field(default=0, ge=0, le=512, description="worker processes; 0 = one per CPU")
    web: ServerWeb = Field(description="web { tls { cert, key, ca } }")
    server: ServerLimits = ServerLimits()
    limits: Limits = Limits()
    keepalive: KeepaliveSettings = KeepaliveSettings()
    log: LogSettings = LogSettings()
    audit: AuditSettings = AuditSettings()
    metrics: MetricsSettings = MetricsSettings()
    agent: AgentSettings = AgentSettings()
    traces: TracesSettings = TracesSettings()


class TunnelSettings(Model):
    host: Host = Field(description="name or IP address of the usp-server")
    port: Port = Field(description="port of the Tunnel on the usp-server")
    host_key: str = Field(
        min_length=1,
        max_length=16384,
        description="the server's public key on that port: 'ssh-ed25519 AAAA...', or the path of a file with it",
    )

    def host_key_line(self) -> str:
        """The public key in OpenSSH form, read from the file if one is named."""
        return self.host_key if self._is_inline() else read_file(self.host_key).strip()

    @property
    def host_key_files(self) -> list[str]:
        return [] if self._is_inline() else [self.host_key]

    def file_problems(self) -> Iterator[Problem]:
        if not self._is_inline():
            yield from file_problems(self.host_key, ("host_key",))

    def _is_inline(self) -> bool:
        return self.host_key.startswith(("ssh-", "ecdsa-", "sk-")) and " " in self.host_key


class RetrySettings(Model):
    initial: Seconds = Field(default=0.5, description="seconds before the first repetition")
    maximum: Seconds = Field(default=2.0, description="seconds between repetitions at most")

    def problems(self) -> Iterator[Problem]:
        if self.maximum < self.initial:
            yield Problem(("maximum",), "is smaller than initial")


class ClientSettings(Model):
    """usp-client.hcl"""

    name: Name = Field(description="the name of this client's Proxy Client item: letters, digits, '-' and '_'")
    key: PrivateFile = Field(description="path of this client's private SSH key")
    tunnel: TunnelSettings = Field(description="tunnel { host, port, host_key }")
    allow: tuple[Annotated[str, Field(pattern=r"^\S+:(\d{1,5}|\*)$")], ...] = Field(
        default=(), description='what may be dialled, such as ["10.0.0.0/8:22", "sftp.internal:22"]; [] = nothing'
    )
    fast_path: bool = Field(default=True, description="relay packets on the short way; false = stock asyncssh")
    sandbox: bool = Field(default=True, description="it gives up this host's other files (Landlock)")
    keepalive: KeepaliveSettings = KeepaliveSettings()
    retry: RetrySettings = RetrySettings()
    connect_timeout: Seconds = Field(default=10.0, description="seconds to connect to a target")
    drain_timeout: Seconds = Field(default=30.0, description="seconds for connections to end at shutdown")
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()


class KekSource(StrEnum):
    VALUE = "value"
    FILE = "file"
    ENVIRONMENT = "environment"


KEK_HINT: Final = "base64 of 32 random bytes (openssl rand -base64 32), or a file or environment variable with it"


class RotationSettings(Model):
    """The KEK before the present one, while data keys are still wrapped with it."""

    previous_kek_source: KekSource = Field(default=KekSource.VALUE, description='"value", "file" or "environment"')
    previous_kek: Secret = Field(description=KEK_HINT)

    def key(self) -> bytes:
        return _kek(self.previous_kek_source, self.previous_kek)

    def problems(self) -> Iterator[Problem]:
        yield from _kek_problems(self.previous_kek_source, self.previous_kek, "previous_kek", files=False)

    def file_problems(self) -> Iterator[Problem]:
        yield from _kek_problems(self.previous_kek_source, self.previous_kek, "previous_kek", files=True)


class EncryptionSettings(Model):
    kek_source: KekSource = Field(default=KekSource.VALUE, description='"value", "file" or "environment"')
    kek: Secret = Field(description=KEK_HINT)
    rotation: RotationSettings | None = Field(default=None, description="rotation { previous_kek }")

    def key(self) -> bytes:
        """The key-encryption key itself: 32 bytes."""
        return _kek(self.kek_source, self.kek)

    def previous_key(self) -> bytes | None:
        """The one before it, while there is a rotation block."""
        return self.rotation.key() if self.rotation else None

    def problems(self) -> Iterator[Problem]:
        yield from _kek_problems(self.kek_source, self.kek, "kek", files=False)

    def file_problems(self) -> Iterator[Problem]:
        yield from _kek_problems(self.kek_source, self.kek, "kek", files=True)


def _kek(source: KekSource, kek: Secret) -> bytes:
    text = kek.reveal()
    if source is KekSource.FILE:
        text = read_file(text, private=True)
    elif source is KekSource.ENVIRONMENT:
        if text not in os.environ:
            raise UspError("settings.invalid", "names an environment variable that is not set")
        text = os.environ[text]
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise UspError("settings.invalid", "is not the base64 form of 32 bytes (openssl rand -base64 32)")
    return key


def _kek_problems(source: KekSource, kek: Secret, field: str, *, files: bool) -> Iterator[Problem]:
    if files is (source is KekSource.VALUE):  # what lies outside the configuration is looked at with the files
        return
    try:
        _kek(source, kek)
    except UspError as error:
        yield Problem((field,), error.message)


class ManagerTls(Model):
    cert: PublicFile = Field(description="path of this manager's certificate chain, PEM")
    key: PrivateFile = Field(description="path of its private key, PEM")


class ManagerWeb(Model):
    address: BindAddress = Field(default="0.0.0.0", description="IP address of UI and API")  # noqa: S104
    port: Port = Field(default=8443, description="port of UI and API")
    tls: ManagerTls = Field(description="tls { cert, key }")


class SecondFactor(StrEnum):
    """Whose logins with a password must have one."""

    OPTIONAL = "optional"
    ADMINS = "admins"
    ALL = "all"


class LoginSettings(Model):
    idle_timeout: Seconds = Field(default=1800.0, description="seconds without a request before a login ends")
    absolute_timeout: Seconds = Field(default=43200.0, description="seconds before a login ends in any case")
    password_length: int = Field(default=12, ge=8, le=128, description="characters of a password at least, 8 to 128")
    failures: int = Field(default=5, ge=1, le=1000, description="wrong passwords of a user before a wait")
    address_failures: int = Field(
        default=20, ge=1, le=100_000, description="wrong logins from an address before a wait"
    )
    lock_time: Seconds = Field(
        default=30.0, description="seconds of the first wait; each failure after it doubles them"
    )
    max_lock_time: Seconds = Field(default=900.0, description="seconds of the longest wait")
    second_factor: SecondFactor = Field(
        default=SecondFactor.OPTIONAL,
        description="who must log in with one: optional (nobody), admins, all; set up at the next login",
    )

    def problems(self) -> Iterator[Problem]:
        if self.max_lock_time < self.lock_time:
            yield Problem(("max_lock_time",), "is smaller than lock_time")


class OidcSettings(Model):
    """Where administrators may log in elsewhere: an OpenID provider."""

    issuer: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$", max_length=400)] = Field(
        description="https://... as the provider writes it in its tokens"
    )
    client_id: Annotated[str, Field(min_length=1, max_length=400)] = Field(description="as registered at the provider")
    client_secret: Secret | None = Field(default=None, description="or client_secret_file")
    client_secret_file: str = Field(default="", description="path of a file with the secret, instead of client_secret")
    ca: str = Field(default="", description='path of the authority of its certificate, PEM; "" = those of the system')
    title: str = Field(default="", max_length=60, description='what the button of the login page says; "" = the label')
    scopes: tuple[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")], ...] = Field(
        default=("openid", "profile", "email", "groups"), description="what the provider is asked for"
    )
    name_claim: str = Field(default="preferred_username", min_length=1, description="the claim with the user name")
    groups_claim: str = Field(default="groups", min_length=1, description="the claim with the groups")
    admin_groups: tuple[str, ...] = Field(default=(), description="groups that may do everything")
    read_only_groups: tuple[str, ...] = Field(default=(), description="groups that may read")

    def secret(self) -> Secret | None:
        if self.client_secret_file:
            return Secret(read_file(self.client_secret_file, private=True).strip())
        return self.client_secret

    def problems(self) -> Iterator[Problem]:
        if self.issuer.startswith("http://") and not self.issuer.startswith(("http://127.0.0.1:", "http://[::1]:")):
            yield Problem(("issuer",), "must begin with https://")
        if self.client_secret is not None and self.client_secret_file:
            yield Problem(("client_secret_file",), "either this or client_secret")
        if not (self.admin_groups or self.read_only_groups):
            yield Problem(("admin_groups",), "or read_only_groups is required: else nobody can log in")
        if "openid" not in self.scopes:
            yield Problem(("scopes",), "must have openid among them")

    def file_problems(self) -> Iterator[Problem]:
        if self.client_secret_file:
            yield from file_problems(self.client_secret_file, ("client_secret_file",), private=True)
        if self.ca:
            yield from file_problems(self.ca, ("ca",))


class PushSettings(Model):
    interval: Seconds = Field(default=1.0, description="seconds between looks at the servers")
    timeout: Seconds = Field(default=10.0, description="seconds for a server to answer")


class UiColour(StrEnum):
    """Of the banner: each has a contrast that can be read, in light and dark."""

    GREY = "grey"
    BLUE = "blue"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class UiSettings(Model):
    banner: str = Field(default="", max_length=200, description='above every page of the web UI, "" is none')
    banner_colour: UiColour = Field(default=UiColour.GREY, description='"grey", "blue", "green", "amber" or "red"')


class EventSettings(Model):
    """How long the audit trail is kept in the database."""

    days: Days = Field(default=90, description="days to keep what servers tell of partners; 0 = forever")
    administration_days: Days = Field(default=0, description="days to keep what administrators did; 0 = forever")
    insecure_webhooks: bool = Field(
        default=False, description="webhooks may use http, and addresses of the manager's own machine and its links"
    )


class ManagerSettings(Model):
    """usp-manager.hcl"""

    name: Name = Field(default="usp-manager", description="unique among the managers: letters, digits, '-' and '_'")
    encryption: EncryptionSettings = Field(description="encryption { kek }")
    database: DatabaseSettings = DatabaseSettings()
    web: ManagerWeb = Field(description="web { tls { cert, key } }")
    ui: UiSettings = UiSettings()
    login: LoginSettings = LoginSettings()
    oidc: dict[Name, OidcSettings] = Field(default={}, description='oidc "NAME" { issuer, client_id }, any number')
    push: PushSettings = PushSettings()
    events: EventSettings = EventSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def holds_secrets(self) -> bool:
        """They stand in the file itself, not in files of their own."""
        kek, rotation = self.encryption, self.encryption.rotation
        keys = [kek.kek_source, *([rotation.previous_kek_source] if rotation else [])]
        passwords = [self.database.password, *(each.client_secret for each in self.oidc.values())]
        return KekSource.VALUE in keys or any(each is not None for each in passwords)


Settings = TypeVar("Settings", bound=Model)

_DAEMONS: Final[tuple[type[Model], ...]] = (ServerSettings, ClientSettings, ManagerSettings)
_BLOCKS: Final = frozenset(name for daemon in _DAEMONS for name in daemon.model_fields)


def load(model: type[Settings], path: str | Path, environ: Mapping[str, str], *, files: bool = True) -> Settings:
    """The effective settings, or `UspError("settings.invalid")` with all problems (see `usp.configfile`)."""
    return configfile.load(model, path, environ, files=files, foreign_blocks=_BLOCKS)
