"""The keys and certificates of a small installation: one private CA, one identity per instance."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from usp import pki
from usp.demo.layout import LOOPBACK, Layout, private_file
from usp.ssh import keys as ssh_keys


@dataclass(frozen=True)
class SshKey:
    """`private`: PEM text. `public`: one OpenSSH line. `path` holds the private part, `path`.pub the public one."""

    path: Path
    private: str
    public: str


@dataclass(frozen=True)
class TlsPair:
    """PEM texts, also lying at `cert_path` and `key_path`."""

    cert: str
    key: str
    cert_path: Path
    key_path: Path


@dataclass(frozen=True)
class Keys:
    ca: str
    ca_path: Path
    manager_web: TlsPair
    manager_identity: TlsPair
    servers: tuple[TlsPair, ...]
    host_key: SshKey  # what partners see, the same on every server
    tunnels: tuple[SshKey, ...]
    clients: tuple[SshKey, ...]
    target_host_key: SshKey
    gateway: SshKey  # with which the servers log in at the target
    partner: SshKey
    kek_path: Path


def make(layout: Layout, *, servers: int) -> Keys:
    etc = layout.etc
    now = datetime.now(UTC)
    ca = pki.new_ca("USP demo CA", now=now)

    def tls(name: str, uri: str | None = None) -> TlsPair:
        cert, key = pki.issue(ca, uri=uri, dns=["localhost"], ips=[LOOPBACK], now=now)
        return TlsPair(cert, key, private_file(etc / f"{name}.crt", cert), private_file(etc / f"{name}.key", key))

    def ssh(name: str) -> SshKey:
        secret, public = ssh_keys.generate(comment=name)
        private = secret.reveal()
        private_file(etc / f"{name}.pub", public + "\n")
        return SshKey(private_file(etc / name, private), private, public)

    numbers = range(1, servers + 1)
    return Keys(
        ca=ca.cert,
        ca_path=private_file(etc / "ca.crt", ca.cert),
        manager_web=tls("manager-web"),
        manager_identity=tls("manager", "usp://manager/usp-manager-1"),
        servers=tuple(tls(f"usp-server-{n}", f"usp://server/usp-server-{n}") for n in numbers),
        host_key=ssh("host_key"),
        tunnels=tuple(ssh(f"tunnel_{n}") for n in numbers),
        clients=tuple(ssh(f"client_{n}") for n in numbers),
        target_host_key=ssh("target_host_key"),
        gateway=ssh("gateway_key"),
        partner=ssh("partner_key"),
        kek_path=private_file(etc / "kek", base64.b64encode(os.urandom(32)).decode()),
    )
