"""Where the manager keeps everything: the `database` block of usp-manager.hcl, also written as a URL.

One table says which engine knows which argument. The URL is for where one line must do (`usp-manager db copy`,
`usp-demo --database`); what has no place of its own in it is a query parameter, by the argument's name:

    sqlite:////opt/udmg/var/usp-manager.db
    postgresql://usp@db.example.com/usp?password_file=/opt/udmg/etc/db-password
    oracle://usp:secret@db.example.com/USP?wallet=/opt/udmg/etc/wallet

The last one has a secret in it: on a command line it is written as `@FILE`, a file of its owner's alone with the URL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, ValidationError

from usp.configfile import file_problems, read_file
from usp.errors import Problem, UspError
from usp.model import Model
from usp.secret import Secret
from usp.wording import problems_of

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class DatabaseEngine(StrEnum):
    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    ORACLE = "oracle"


_SERVER: Final = frozenset(
    {"host", "port", "user", "password", "password_file", "tls", "ca", "pool_size", "pool_overflow"}
    | {"connect_timeout", "statement_timeout"}
)
ARGUMENTS: Final[Mapping[DatabaseEngine, frozenset[str]]] = {
    DatabaseEngine.SQLITE: frozenset({"path"}),
    DatabaseEngine.POSTGRESQL: _SERVER | {"name"},
    DatabaseEngine.ORACLE: _SERVER | {"service_name", "dsn", "wallet", "wallet_password"},
}
"""Which arguments mean something to which engine."""

DEFAULT_PORTS: Final[Mapping[tuple[DatabaseEngine, bool], int]] = {
    (DatabaseEngine.POSTGRESQL, False): 5432,
    (DatabaseEngine.POSTGRESQL, True): 5432,
    (DatabaseEngine.ORACLE, False): 1521,
    (DatabaseEngine.ORACLE, True): 2484,
}
"""(engine, TLS) -> port."""


class DatabaseSettings(Model):
    engine: DatabaseEngine = Field(
        default=DatabaseEngine.SQLITE, description='"sqlite" (one manager), "postgresql" or "oracle"'
    )
    path: str = Field(default="/opt/udmg/var/usp-manager.db", min_length=1, description="sqlite: path of the database")
    host: str = Field(
        default="",
        max_length=2000,
        description="name or address of the database server, or the directory of PostgreSQL's socket; several, "
        "separated by commas, are tried in turn",
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="its port; 0 = 5432 for PostgreSQL, 1521 or with tls 2484 for Oracle"
    )
    name: str = Field(default="usp", min_length=1, max_length=63, description="postgresql: name of the database")
    service_name: str = Field(default="", max_length=255, description="oracle: service name of the database")
    dsn: str = Field(
        default="", max_length=10_000, description="oracle: a full connect descriptor, instead of host and service_name"
    )
    user: str = Field(default="", max_length=128, description="the database's user, owner of USP's tables")
    password: Secret | None = Field(default=None, description="the user's password")
    password_file: str = Field(default="", description="path of a file with the password, instead of password")
    tls: bool | None = Field(
        default=None,
        description="encrypt, and check the server's certificate; left out: yes, unless it is this machine",
    )
    ca: str = Field(default="", description="path of the CA certificates to check with, PEM; left out: the system's")
    wallet: str = Field(default="", description="oracle: directory of a wallet (ewallet.pem)")
    wallet_password: Secret | None = Field(default=None, description="oracle: password of the wallet")
    pool_size: int = Field(default=5, ge=1, le=1000, description="connections that are kept open")
    pool_overflow: int = Field(default=10, ge=0, le=1000, description="connections beyond those, while they are needed")
    connect_timeout: Seconds = Field(default=5.0, description="seconds to connect to the database")
    statement_timeout: Seconds = Field(default=15.0, description="seconds for a statement to be answered")

    def problems(self) -> Iterator[Problem]:
        for field in sorted(self.model_fields_set - ARGUMENTS[self.engine] - {"engine"}):
            if getattr(self, field) != type(self).model_fields[field].default:
                yield Problem((field,), f'means nothing with engine = "{self.engine}"')
        if self.engine is not DatabaseEngine.SQLITE:
            yield from self._server_problems()

    def _server_problems(self) -> Iterator[Problem]:
        if not self.dsn and not self.host:
            yield Problem(("host",), f'is required with engine = "{self.engine}"')
        if not self.user:
            yield Problem(("user",), f'is required with engine = "{self.engine}"')
        if self.password is not None and self.password_file:
            yield Problem(("password_file",), "either this or password")
        if self.engine is DatabaseEngine.ORACLE:
            yield from self._oracle_problems()
        elif self.password is None and not self.password_file and not self.host.startswith("/"):
            yield Problem(("password",), "or password_file is required, unless host is a socket's directory")
        if self.tls is False and self.ca:
            yield Problem(("ca",), "means nothing with tls = false")

    def _oracle_problems(self) -> Iterator[Problem]:
        if self.password is None and not self.password_file:
            yield Problem(("password",), "or password_file is required")
        if self.host.startswith("/"):
            yield Problem(("host",), "must be a name or an address")
        if self.dsn:
            for field in ("host", "port", "service_name", "tls"):
                if field in self.model_fields_set and getattr(self, field):
                    yield Problem((field,), "the dsn says it already")
        elif not self.service_name:
            yield Problem(("service_name",), "or dsn is required")
        if "," in self.host:
            yield Problem(("host",), "is one host; write several into a dsn with an ADDRESS_LIST")
        if self.wallet_password is not None and not self.wallet:
            yield Problem(("wallet_password",), "there is no wallet")

    def file_problems(self) -> Iterator[Problem]:
        if self.password_file:
            yield from file_problems(self.password_file, ("password_file",), private=True)
        if self.ca:
            yield from file_problems(self.ca, ("ca",))
        if self.wallet:
            yield from file_problems(f"{self.wallet}/ewallet.pem", ("wallet",))

    @property
    def encrypted(self) -> bool:
        """Whether to speak TLS: what `tls` says, or else unless the server is on this machine."""
        return self.tls if self.tls is not None else not all(map(_is_local, self.host.split(",")))

    @property
    def effective_port(self) -> int:
        return self.port or DEFAULT_PORTS[self.engine, self.encrypted]

    def password_text(self) -> str | None:
        """The password itself, read from its file if it has one."""
        if self.password_file:
            return read_file(self.password_file, private=True).strip()
        return self.password.reveal() if self.password else None

    def __str__(self) -> str:
        """For messages: which database, without any secret."""
        if self.engine is DatabaseEngine.SQLITE:
            return self.path
        what = self.name if self.engine is DatabaseEngine.POSTGRESQL else self.service_name
        return f"{self.engine}://{self.user}@{self.host or 'dsn'}/{what}"


def from_argument(text: str) -> DatabaseSettings:
    """The database that a command line names: a URL without a secret, or `@FILE`. UspError `settings.invalid`."""
    if text.startswith("@"):
        return from_url(read_file(text[1:], private=True).strip())
    settings = from_url(text)
    if settings.password is not None or settings.wallet_password is not None:
        hint = "put it into a file (chmod 600) for ?password_file=FILE, or the whole URL into one for @FILE"
        raise UspError("settings.invalid", f"a password on a command line is seen by everybody on this machine: {hint}")
    return settings


def from_url(url: str) -> DatabaseSettings:
    """The database that a URL names. UspError `settings.invalid` with all problems; the URL's secrets are in none."""
    try:
        parts = urlsplit(url)
        values: dict[str, object] = {"engine": parts.scheme}
        told = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    except ValueError as error:
        raise UspError("settings.invalid", f"not the URL of a database: {error}") from None
    values |= {name: unquote(value) if isinstance(value, str) else value for name, value in told.items() if value}
    place = {"sqlite": "path", "postgresql": "name", "oracle": "service_name"}.get(parts.scheme, "path")
    if path := unquote(parts.path.removeprefix("/")):
        values[place] = path
    for name, text in parse_qsl(parts.query):
        values[name] = _value(name, text)
    return _validated(values)


def _value(name: str, text: str) -> object:
    field = DatabaseSettings.model_fields.get(name)
    if field is None or field.annotation not in (int, float, bool | None):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the model says what is wrong with it


def _validated(values: dict[str, object]) -> DatabaseSettings:
    try:
        settings = DatabaseSettings.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise UspError("settings.invalid", problems=problems_of(error)) from None
    problems = [*settings.problems(), *settings.file_problems()]
    if problems:
        raise UspError("settings.invalid", problems=problems)
    return settings


def _is_local(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
