"""What the daemons tell, and whom: the blocks `log`, `audit`, `metrics` and `traces` of the configuration files."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated

from pydantic import Field

from usp.configfile import file_problems
from usp.errors import Problem
from usp.model import BindAddress, Host, Model, Port

Days = Annotated[int, Field(ge=0, le=36_500)]


class LogLevel(StrEnum):
    TRACE = "TRACE"
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogSettings(Model):
    level: LogLevel = Field(default=LogLevel.INFO, description="TRACE, DEBUG, INFO, WARN or ERROR")
    path: str = Field(default="", description='a file; "" is standard output')
    format: LogFormat = Field(default=LogFormat.TEXT, description='"text" or "json"')
    max_size: int = Field(
        default=100, ge=0, le=1_000_000, description="megabytes before the file is rotated; 0 = never"
    )
    max_backups: int = Field(default=5, ge=0, le=100_000, description="rotated files to keep; 0 = all")
    max_age: Days = Field(default=0, description="days to keep rotated files; 0 = forever")


class Facility(StrEnum):
    """Of syslog (RFC 5424, table 1): those that suit."""

    AUTH = "auth"
    AUTHPRIV = "authpriv"
    FTP = "ftp"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"

    @property
    def code(self) -> int:
        return {"auth": 4, "authpriv": 10, "ftp": 11}.get(self.value, 0) or 16 + int(self.value[-1])


class SyslogSettings(Model):
    """A syslog server that gets the audit lines, too: RFC 5424 over TLS (RFC 5425)."""

    host: Host = Field(description="name or IP address of the syslog server")
    port: Port = Field(default=6514, description="its port")
    tls: bool = Field(default=True, description="false = plain TCP, readable and forgeable on the way")
    ca: str = Field(default="", description='the CA to trust, PEM; "" = those of this machine')
    cert: str = Field(default="", description="path of this server's certificate for it, PEM")
    key: str = Field(default="", description="path of its private key, PEM")
    facility: Facility = Field(default=Facility.LOCAL0, description="auth, authpriv, ftp, or local0 to local7")
    buffer: int = Field(default=4, ge=1, le=1024, description="megabytes that wait in memory while it is away")

    def problems(self) -> Iterator[Problem]:
        if bool(self.cert) is not bool(self.key):
            yield Problem(("key" if self.cert else "cert",), "cert and key go together")
        if not self.tls and (self.ca or self.cert):
            yield Problem(("tls",), "ca, cert and key mean nothing with tls = false")

    def file_problems(self) -> Iterator[Problem]:
        for name in ("ca", "cert", "key"):
            if file := getattr(self, name):
                yield from file_problems(file, (name,), private=name == "key")


class AuditSettings(Model):
    path: str = Field(default="", description='a file for the audit lines; "" is standard output')
    spool: int = Field(
        default=16, ge=0, le=4096, description="megabytes of lines that wait in memory for the managers; 0 = none do"
    )
    syslog: SyslogSettings | None = Field(default=None, description="syslog { host }")


class MetricsSettings(Model):
    address: BindAddress = Field(default="127.0.0.1", description="IP address of /livez, /readyz and /metrics")
    port: int = Field(default=0, ge=0, le=65535, description="port of /livez, /readyz and /metrics; 0 = off")


class TracesSettings(Model):
    endpoint: str = Field(default="", pattern=r"^(https?://\S+)?$", description='OTLP over HTTP; "" = no traces')
    ca: str = Field(default="", description='the CA to trust, PEM; "" = those of this machine')

    def file_problems(self) -> Iterator[Problem]:
        if self.endpoint and find_spec("opentelemetry.exporter") is None:
            yield Problem(("endpoint",), "needs the extra: pip install 'usp[otel]'")
        if self.ca:
            yield from file_problems(self.ca, ("ca",))
