"""What `usp doctor` looks at. Each check yields a `Finding` for what is wrong, which says what to do about it.

Checks only look: they bind and connect to nothing for longer than a moment, and change nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import resource
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from usp import __version__, expiry, landlock, pki, tls
from usp.certificates import expires
from usp.configfile import read_file
from usp.databases import DEFAULT_PORTS, DatabaseEngine, DatabaseSettings
from usp.errors import UspError
from usp.secret import Secret
from usp.settings import ClientSettings, LogSettings, ManagerSettings, MetricsSettings, ServerSettings
from usp.ssh import keys

PATIENCE: Final = 3.0
"""Seconds for a peer to answer."""
SKEW: Final = 30.0
"""Seconds that clocks may differ: certificates and tokens begin at a moment."""
SPACE: Final = 100_000_000
"""Bytes that a log needs to have before it."""
USER: Final = "usp"
"""Whom the packages' units run the daemons as."""
UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True)
class Finding:
    """`grave`: the daemon does not work like that, or not safely. `about`: an argument, or what else it is about."""

    about: str
    message: str
    grave: bool = True


Findings = Iterator[Finding]

# --- files ---


def certificate(name: str, path: str, now: float, *, uri: str | None = None) -> Findings:
    """`uri`: whom it is to name; None: names for browsers."""
    try:
        text = read_file(path)
        until = expires(text)
    except UspError:
        return  # what cannot be read is a problem of the configuration, or of the pair
    if until <= now:
        yield Finding(name, f"{expiry.warning(path, until, now)} (`usp pki renew {path}`, then reload)")
    elif warning := expiry.warning(path, until, now):
        yield Finding(name, f"{warning} (`usp pki renew {path}`, then reload)", grave=False)
    if (begins := _begins(text)) > now:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(begins))
        yield Finding(name, f"{path} is valid only from {day} UTC on: set this machine's clock, or wait")
    try:
        names = pki.names(text)
    except UspError as error:
        yield Finding(name, f"{path}: {error.message}")
        return
    if uri is not None and names.uri != uri:
        found = names.uri or "no URI"
        yield Finding(name, f"{path} names {found}, but managers look for {uri} (`usp pki issue server NAME`)")
    if uri is None and not names.dns and not names.ips:
        yield Finding(name, f"{path} names no DNS name and no address: no client accepts it (`usp pki issue web`)")


def pair(name: str, cert: str, key: str, ca: str | None = None) -> Findings:
    try:
        tls.server_context(cert, key, ca)
    except UspError as error:
        files = ", ".join(path for path in (cert, key, ca) if path)
        yield Finding(name, f"{error.message}: do {files} belong together, and are they PEM?")


def authority(name: str, path: str) -> Findings:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(read_file(path).encode())
    except (UspError, ValueError):
        return  # told by `pair`
    for each in found:
        try:
            signs = each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            signs = False
        if not signs:
            yield Finding(name, f"{path} is no CA's certificate, so it verifies nobody: name ca.crt of the CA")


def private(name: str, path: str) -> Findings:
    """Whether the daemons' user gets at it, where root asks."""
    with contextlib.suppress(KeyError, OSError):
        wanted = pwd.getpwnam(USER).pw_uid
        status = os.stat(path)
        if os.geteuid() == 0 and status.st_uid not in (wanted, 0):
            yield Finding(name, f"{path} belongs to user {status.st_uid}, not to {USER} (chown {USER} {path})")
        elif os.geteuid() == 0 and status.st_uid == 0:
            message = f"{path} belongs to root, so {USER} cannot read it (chown {USER} {path})"
            yield Finding(name, message, grave=False)


def secrets_inside(path: Path, settings: ManagerSettings) -> Findings:
    """Secrets that stand in the configuration itself."""
    if settings.holds_secrets and stat.S_IMODE(path.stat().st_mode) & 0o007:
        yield Finding(str(path), f"holds a secret, and everybody may read it (chmod o-rwx {path})")


def ssh_private(name: str, path: str) -> Findings:
    try:
        keys.parse_private(Secret(read_file(path)))
    except UspError as error:
        yield Finding(name, f"{path}: {error.message}")


def ssh_public(name: str, settings: ClientSettings) -> Findings:
    try:
        keys.parse_public(settings.tunnel.host_key_line())
    except UspError as error:
        yield Finding(name, f"{error.message}: it is the Tunnel's public key (`usp get private-keys NAME --public`)")


def log(settings: LogSettings, name: str = "log.path") -> Findings:
    if settings.path:
        yield from writable(name, settings.path)


def writable(name: str, path: str) -> Findings:
    folder = Path(path).parent
    there = Path(path) if Path(path).exists() else folder
    if not folder.is_dir():
        yield Finding(name, f"the directory {folder} does not exist (install -d -o {USER} {folder})")
    elif not os.access(there, os.W_OK):
        yield Finding(name, f"{there} cannot be written (chown {USER} {there})")
    elif (free := shutil.disk_usage(folder).free) < SPACE:
        yield Finding(name, f"{folder} has {free // 1_000_000} MB left: make room, or lower log.max_backups")


# --- ports and peers ---


def port(name: str, address: str, number: int, own_certificate: str | None = None) -> Findings:
    """Whether the daemon could listen there, or already does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, number))
            return
        except OSError as error:
            why = error.errno
    if why == errno.EADDRINUSE:
        there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
        own = _shows(there, number, own_certificate) if own_certificate else _lives(there, number)
        if not own:
            yield Finding(name, f"{address}:{number} is taken by another program (ss -ltnp 'sport = :{number}')")
    elif why == errno.EACCES:
        yield Finding(name, f"port {number} needs CAP_NET_BIND_SERVICE, which the packages' units give")
    elif why == errno.EADDRNOTAVAIL:
        yield Finding(name, f"{address} is no address of this machine (ip address)")
    else:
        yield Finding(name, f"{address}:{number}: {os.strerror(why or 0)}")


def exposed(settings: MetricsSettings) -> Findings:
    if settings.port and settings.address not in ("127.0.0.1", "::1"):
        message = f"{settings.address} may be reached from outside, without a login: firewall port {settings.port}"
        yield Finding("metrics.address", message, grave=False)


def peer(name: str, host: str, number: int) -> Findings:
    """Whether something listens there."""
    try:
        socket.create_connection((host, number), PATIENCE).close()
    except socket.gaierror:
        yield Finding(name, f"the name {host} does not resolve here (getent hosts {host})")
    except TimeoutError:
        yield Finding(name, f"{host}:{number} does not answer: is a firewall in between?")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        yield Finding(name, f"{host}:{number}: {reason}; does it run, and listen there?")


def allowed(settings: ClientSettings) -> Findings:
    """Targets that are named one by one. (Networks are not searched.)"""
    for entry in settings.allow:
        host, _, number = entry.rpartition(":")
        if number.isdecimal() and "/" not in host:
            yield from peer("allow", host.strip("[]"), int(number))


def database(settings: DatabaseSettings) -> Findings:
    if settings.engine is DatabaseEngine.SQLITE:
        if not Path(settings.path).exists():
            yield Finding("database.path", f"there is no {settings.path} (`usp-manager db upgrade` makes it)")
        else:
            yield from writable("database.path", settings.path)
    elif settings.host and not settings.host.startswith("/"):
        number = settings.port or DEFAULT_PORTS[settings.engine, bool(settings.tls)]
        for host in settings.host.split(","):
            yield from peer("database.host", host.strip(), number)


# --- the machine ---


def files(settings: ServerSettings, limit: int | None = None) -> Findings:
    """`limit`: of open files; this process's where it is not given. A session needs two, a worker some."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if limit is None else limit
    workers = settings.workers or len(os.sched_getaffinity(0))
    need = 2 * settings.server.max_sessions // workers + 200
    if hard != resource.RLIM_INFINITY and hard < need:
        yield Finding(
            "server.max_sessions",
            f"{settings.server.max_sessions} sessions on {workers} workers need {need} open files, {hard} are allowed "
            f"(LimitNOFILE={need} in the unit, or `ulimit -n`)",
        )


def sandbox(name: str, on: bool) -> Findings:
    if not on:
        yield Finding(name, "is off: who breaks in may open what the daemon's user may", grave=False)
    elif not landlock.abi():
        message = "this kernel has no Landlock, or it is not among `lsm=`: only the unit confines the daemon"
        yield Finding(name, message, grave=False)


def clock() -> Findings:
    """Whether the kernel knows that its clock is right."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, of which nothing is set: it only asks
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) == UNSYNCHRONISED:
        message = "this machine's clock is not synchronised: run chrony or systemd-timesyncd"
        yield Finding("clock", message, grave=False)


def clock_of(url: str, ca: str | None, now: float) -> Findings:
    """This machine's clock and the manager's."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    connection = HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=PATIENCE, context=context)
    try:
        connection.request("GET", "/livez")
        date = connection.getresponse().getheader("Date")
    except (OSError, HTTPException) as error:
        yield Finding("manager", f"{url} does not answer: {getattr(error, 'strerror', None) or error}")
        return
    finally:
        connection.close()
    skew = now - parsedate_to_datetime(date).timestamp() if date else 0.0
    if abs(skew) > SKEW:
        which = "ahead of" if skew > 0 else "behind"
        yield Finding("clock", f"it is {abs(skew):.0f} s {which} the manager's at {url}: synchronise both (chrony)")


def version(settings: MetricsSettings) -> Findings:
    """Whether what runs is what is installed."""
    if not settings.port:
        return
    text = _got(settings.address, settings.port, "/metrics")
    _, found, rest = text.partition('usp_build_info{version="')
    running = rest.partition('"')[0]
    if found and running != __version__:
        yield Finding("version", f"{running} runs, {__version__} is installed: restart the daemon, or upgrade it whole")


# --- small things ---


def _begins(text: str) -> float:
    from cryptography import x509

    return max(each.not_valid_before_utc.timestamp() for each in x509.load_pem_x509_certificates(text.encode()))


def _shows(host: str, number: int, certificate: str) -> bool:
    """Is it our own daemon that listens there? It shows the certificate of the configuration."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        ours = ssl.PEM_cert_to_DER_cert("-----BEGIN" + read_file(certificate).split("-----BEGIN", 2)[1])
        with (
            socket.create_connection((host, number), PATIENCE) as sock,
            context.wrap_socket(sock, server_hostname=host) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True) == ours
    except (OSError, ValueError, IndexError, UspError):
        return False


def _lives(host: str, number: int) -> bool:
    return _got(host, number, "/livez") == "ok\n"


def _got(host: str, number: int, path: str) -> str:
    connection = HTTPConnection(host, number, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()
