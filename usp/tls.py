"""TLS contexts for everything that is not SSH, and the identity that a certificate carries.

TLS 1.3 only. Inside the suite a peer is who its certificate's SAN URI says (`usp://server/NAME`, `usp://manager/NAME`;
RFC 5280, 4.2.1.6), not under which host name it was reached.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any, Final

from usp.errors import UspError

SCHEME: Final = "usp://"


def server_context(cert_path: str, key_path: str, ca_path: str | None = None) -> ssl.SSLContext:
    """For a listening port. With `ca_path` clients must show a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(cert_path, key_path, password=_no_password)
        if ca_path is not None:
            context.load_verify_locations(cafile=ca_path)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise _unusable(error) from None
    return context


def client_context(ca_pem: str, cert_pem: str, key_pem: str, *, peer: str) -> ssl.SSLContext:
    """For connections within the suite, from texts in memory. The handshake fails unless the server is `peer`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the identity is the SAN URI
    context.sslobject_class = _expecting(peer)
    try:
        context.load_verify_locations(cadata=ca_pem)
        _load_from_memory(context, f"{cert_pem}\n{key_pem}\n")
    except (OSError, ValueError) as error:
        raise _unusable(error) from None
    return context


def _expecting(peer: str) -> type[ssl.SSLObject]:
    """asyncio and uvloop make their TLS from this class, so nothing is sent before the identity was looked at."""

    class Expecting(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            found = identity(self.getpeercert())
            if found != peer:
                raise ssl.SSLCertVerificationError(f"the peer's certificate says {found or 'nothing'}, not {peer}")

    return Expecting


def identity(peercert: Mapping[str, Any] | None) -> str | None:
    """The one `usp://` URI of a certificate as `getpeercert()` gives it; None when there is none, or more than one."""
    names = (peercert or {}).get("subjectAltName", ())
    found = [value for kind, value in names if kind == "URI" and value.startswith(SCHEME)]
    return found[0] if len(found) == 1 else None


def server_uri(name: str) -> str:
    return f"{SCHEME}server/{name}"


def manager_uri(name: str) -> str:
    return f"{SCHEME}manager/{name}"


def _load_from_memory(context: ssl.SSLContext, chain_and_key: str) -> None:
    """`load_cert_chain` wants a file; an anonymous one in memory never touches a disk."""
    fd = os.memfd_create("usp-tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "w") as file:
            file.write(chain_and_key)
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_password)
    finally:
        os.close(fd)


def _no_password() -> str:
    """Without this, OpenSSL would ask the terminal for the password of an encrypted key."""
    raise ValueError("the private key is encrypted")


def _unusable(error: Exception) -> UspError:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "not PEM").lower().replace("_", " ")
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return UspError("key.unusable", f"the TLS certificate, key or CA cannot be used: {reason}")
