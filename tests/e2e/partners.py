"""Four SFTP clients, each of which logs in with what it is given, asks for the working directory, and goes.

Each takes the methods in the client's own way: what it tries is what it has and the server offers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import paramiko

from tests.e2e import connect_from
from usp.ssh import keys

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Door:
    """A listener, and the host key that it must show."""

    port: int
    host_key: str
    known_hosts: Path


@dataclass(frozen=True)
class Offer:
    """What a partner comes with. `source`: the address it comes from."""

    username: str
    password: str | None = None
    key: Path | None = None
    password_first: bool = False
    source: str = LOOPBACK

    @property
    def order(self) -> list[str]:
        return ["password", "publickey"] if self.password_first else ["publickey", "password"]


def openssh(door: Door, offer: Offer, *, order: str = "") -> bool:
    options = {
        "UserKnownHostsFile": str(door.known_hosts),
        "StrictHostKeyChecking": "yes",
        "PreferredAuthentications": order or ",".join(offer.order),
        "NumberOfPasswordPrompts": "1",
        "BatchMode": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PubkeyAuthentication": "yes" if offer.key else "no",
        "PasswordAuthentication": "yes" if offer.password else "no",
        "KbdInteractiveAuthentication": "yes" if offer.password else "no",
        "BindAddress": offer.source,
    }
    argv = [
        "sshpass", "-e", "sftp", "-q", "-F", "none", *(f"-o{name}={value}" for name, value in options.items()),
        *(["-i", str(offer.key)] if offer.key else []), "-b", "-", "-P", str(door.port),
        f"{offer.username}@{LOOPBACK}",
    ]  # fmt: skip
    return _run(argv, {"SSHPASS": offer.password or ""})


def psftp(door: Door, offer: Offer) -> bool:
    """PuTTY's. It takes keys in its own format (`ppk`), and always tries them first."""
    argv = [
        "psftp", "-batch", "-P", str(door.port), "-l", offer.username,
        "-hostkey", keys.fingerprint(keys.parse_public(door.host_key)),
        *(["-i", str(ppk(offer.key))] if offer.key else []),
        *(["-pw", offer.password] if offer.password else []),
    ]  # fmt: skip
    if offer.source == LOOPBACK:
        return _run([*argv, LOOPBACK], {})
    way = f"{sys.executable} -S {connect_from.__file__} {offer.source} {LOOPBACK} {door.port}"
    return _run([*argv, "-proxycmd", way, "usp.example"], {})  # it goes to 127.0.0.1 without asking the proxy


def ppk(key: Path) -> Path:
    made = key.with_suffix(".ppk")
    if not made.exists():
        argv = ["puttygen", str(key), "-O", "private", "-o", str(made)]
        subprocess.run(argv, check=True, capture_output=True)
    return made


def _run(argv: list[str], env: dict[str, str]) -> bool:
    done = subprocess.run(
        argv, input="pwd\nquit\n", env={**os.environ, **env}, text=True, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def in_asyncssh(door: Door, offer: Offer) -> bool:
    try:
        asyncio.run(_in_asyncssh(door, offer))
    except asyncssh.Error:
        return False
    return True


async def _in_asyncssh(door: Door, offer: Offer) -> None:
    async with (
        asyncssh.connect(
            LOOPBACK,
            door.port,
            config=None,
            known_hosts=str(door.known_hosts),
            username=offer.username,
            password=offer.password,
            client_keys=[str(offer.key)] if offer.key else None,
            agent_path=None,
            preferred_auth=offer.order,
            local_addr=(offer.source, 0),
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        await sftp.realpath(".")


def in_paramiko(door: Door, offer: Offer) -> bool:
    sock = socket.create_connection((LOOPBACK, door.port), source_address=(offer.source, 0))
    transport = paramiko.Transport(sock)
    try:
        transport.start_client(timeout=10)
        shown = transport.get_remote_server_key()
        assert door.host_key.split()[:2] == [shown.get_name(), shown.get_base64()]
        if not _paramiko_logs_in(transport, offer):
            return False
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        sftp.normalize(".")
        sftp.close()
        return True
    except (paramiko.SSHException, EOFError):
        return False
    finally:
        transport.close()


def _paramiko_logs_in(transport: paramiko.Transport, offer: Offer) -> bool:
    left: list[str] = []
    try:
        transport.auth_none(offer.username)
    except paramiko.BadAuthenticationType as refused:
        left = refused.allowed_types
    for method in offer.order:
        try:
            if method in left and method == "password" and offer.password:
                left = transport.auth_password(offer.username, offer.password, fallback=False)
            elif method in left and method == "publickey" and offer.key:
                key = paramiko.Ed25519Key.from_private_key_file(str(offer.key))
                left = transport.auth_publickey(offer.username, key)
        except paramiko.AuthenticationException:
            continue
        if transport.is_authenticated():
            return True
    return False


@dataclass(frozen=True)
class Client:
    """`orders`: it shows the password before the key if told so. `carrier`: the method by which its passwords come.
    `orderly`: it awaits the end of its channel before it goes."""

    log_in: Callable[[Door, Offer], bool]
    orders: bool = True
    carrier: str = "password"
    orderly: bool = True


CLIENTS: Mapping[str, Client] = {
    "openssh": Client(openssh),
    "paramiko": Client(in_paramiko, orderly=False),
    "asyncssh": Client(in_asyncssh),
    "psftp": Client(psftp, orders=False, carrier="keyboard-interactive", orderly=False),
}
