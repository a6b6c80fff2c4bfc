"""What is copied to the host of a usp-server or usp-client: its settings file, its keys, and what to do with them. The
keys are made at that moment and are kept nowhere here: who loses them makes new ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from usp import pki, tls
from usp.model import CaCertificate, ProxyClient, ProxyServer, Tunnel
from usp.secret import Secret

ETC: Final = "/opt/udmg/etc"
PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


def for_server(server: ProxyServer, ca: CaCertificate, *, now: datetime) -> bytes:
    """With a new certificate, signed by `ca`, which has its private key."""
    assert ca.private_key is not None
    identity = pki.Identity(ca.certificate, ca.private_key.reveal())
    dns, ips = _names(server.host)
    made = pki.issue(identity, now=now, uri=tls.server_uri(server.name), dns=dns, ips=ips)
    settings = f"""\
# usp-server {server.name}. All arguments: docs, or `usp-server --help`.
name = "{server.name}"

web {{
  port = {server.port}

  tls {{
    cert = "{ETC}/tls/usp-server.crt"
    key  = "{ETC}/tls/usp-server.key"
    ca   = "{ETC}/tls/ca.crt"
  }}
}}
"""
    about = f"""\
USP Server {server.name}

1. Install the package usp on this host, and copy these files to {ETC}, owned by the user that runs usp-server:
     unzip THIS.zip -d {ETC} && chmod 600 {ETC}/tls/usp-server.key
2. Let managers, and nobody else, reach TCP port {server.port}.
3. Check and start it:
     usp-server -config {ETC}/usp-server.hcl --check
     systemctl enable --now usp-server        (or: usp-server -config {ETC}/usp-server.hcl)

The private key was made for this download and is kept nowhere else.
"""
    files = {
        "usp-server.hcl": (settings, PUBLIC),
        "tls/usp-server.crt": (made.cert, PUBLIC),
        "tls/usp-server.key": (made.key, PRIVATE),
        "tls/ca.crt": (ca.certificate, PUBLIC),
        "README.txt": (about, PUBLIC),
    }
    return packed(files, now)


def for_client(
    client: ProxyClient,
    tunnel: Tunnel,
    host: str,
    tunnel_key: str,
    private_key: Secret,
    allow: Sequence[str],
    *,
    now: datetime,
) -> bytes:
    """`tunnel_key`: the public key by which the client knows the server; `host`: where it finds it."""
    permitted = ", ".join(f'"{entry}"' for entry in allow)
    settings = f"""\
# usp-client {client.name}. All arguments: docs, or `usp-client --help`.
name  = "{client.name}"
key   = "{ETC}/ssh/usp-client"
allow = [{permitted}] # what it may dial; everything else is refused

tunnel {{
  host     = "{host}"
  port     = {tunnel.port}
  host_key = "{tunnel_key}"
}}
"""
    about = f"""\
USP Client {client.name}

1. Install the package usp on this host, inside, and copy these files to {ETC}, owned by the user that runs usp-client:
     unzip THIS.zip -d {ETC} && chmod 600 {ETC}/ssh/usp-client
2. It connects out to {host}, TCP port {tunnel.port}, and to what `allow` names. Nothing connects to it.
3. Check and start it:
     usp-client -config {ETC}/usp-client.hcl --check
     systemctl enable --now usp-client        (or: usp-client -config {ETC}/usp-client.hcl)

The private key was made for this download and is kept nowhere else.
"""
    files = {
        "usp-client.hcl": (settings, PUBLIC),
        "ssh/usp-client": (private_key.reveal(), PRIVATE),
        "README.txt": (about, PUBLIC),
    }
    return packed(files, now)


def _names(host: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DNS names and IP addresses."""
    is_address = ":" in host or host.replace(".", "").isdecimal()
    return ((), (host,)) if is_address else ((host,), ())


def packed(files: Mapping[str, tuple[str, int]], now: datetime) -> bytes:
    """A zip file; unzip keeps the modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (text, mode) in files.items():
            info = zipfile.ZipInfo(name, now.timetuple()[:6])
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return buffer.getvalue()
