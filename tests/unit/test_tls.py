"""Mutual TLS 1.3 between real sockets, and who the peer is."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from usp import pki, tls
from usp.errors import UspError

NOW = datetime.now(UTC)
CA = pki.new_ca("Test CA", now=NOW)
OTHER_CA = pki.new_ca("Other CA", now=NOW)
SERVER = pki.issue(CA, uri=tls.server_uri("s1"), now=NOW)
MANAGER = pki.issue(CA, uri=tls.manager_uri("m1"), now=NOW)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {"cert": SERVER.cert, "key": SERVER.key, "ca": CA.cert}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {name: str(tmp_path / name) for name in texts}


PEER = tls.server_uri("s1")


async def meet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str | None, str | None, str]:
    """Whom the client sees, whom the server sees, and the protocol's version."""
    seen: asyncio.Queue[str | None] = asyncio.Queue()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await seen.put(tls.identity(writer.get_extra_info("peercert")))
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=server)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            if await reader.readline() != b"hello\n":  # TLS 1.3: a refused client learns it when it reads
                raise ConnectionError("refused")
            peer = tls.identity(writer.get_extra_info("peercert"))
            return peer, await seen.get(), writer.get_extra_info("ssl_object").version()
        finally:
            writer.close()


async def test_both_sides_know_each_other(files: dict[str, str]) -> None:
    server = tls.server_context(files["cert"], files["key"], files["ca"])
    client = tls.client_context(CA.cert, MANAGER.cert, MANAGER.key, peer=PEER)
    assert await meet(server, client) == ("usp://server/s1", "usp://manager/m1", "TLSv1.3")


async def test_a_client_of_another_ca_is_refused(files: dict[str, str]) -> None:
    stranger = pki.issue(OTHER_CA, uri=tls.manager_uri("m1"), now=NOW)
    server = tls.server_context(files["cert"], files["key"], files["ca"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await meet(server, tls.client_context(CA.cert, stranger.cert, stranger.key, peer=PEER))


async def test_a_server_of_another_ca_is_refused(files: dict[str, str]) -> None:
    server = tls.server_context(files["cert"], files["key"], files["ca"])
    with pytest.raises(ssl.SSLCertVerificationError):
        await meet(server, tls.client_context(OTHER_CA.cert, MANAGER.cert, MANAGER.key, peer=PEER))


async def test_a_server_of_another_name_is_refused(files: dict[str, str]) -> None:
    """Before anything is sent: what is sent may hold secrets."""
    server = tls.server_context(files["cert"], files["key"], files["ca"])
    client = tls.client_context(CA.cert, MANAGER.cert, MANAGER.key, peer=tls.server_uri("s2"))
    with pytest.raises(ssl.SSLCertVerificationError, match="usp://server/s1, not usp://server/s2"):
        await meet(server, client)


async def test_without_a_ca_anybody_may_connect(files: dict[str, str]) -> None:
    client = tls.client_context(CA.cert, MANAGER.cert, MANAGER.key, peer=PEER)
    assert (await meet(tls.server_context(files["cert"], files["key"]), client))[1] is None


def test_nothing_is_left_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    tls.client_context(CA.cert, MANAGER.cert, MANAGER.key, peer=PEER)
    assert set(os.listdir("/proc/self/fd")) == before


def encrypted(identity: pki.Identity) -> str:
    key = serialization.load_pem_private_key(identity.key.encode(), password=None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    ).decode()


@pytest.mark.parametrize(
    ("ca", "cert", "key", "reason"),
    [
        (CA.cert, MANAGER.cert, SERVER.key, "key values mismatch"),
        (CA.cert, "nonsense", MANAGER.key, "cannot be used"),
        ("nonsense", MANAGER.cert, MANAGER.key, "cannot be used"),
        (CA.cert, MANAGER.cert, encrypted(MANAGER), "the private key is encrypted"),
    ],
)
def test_what_cannot_be_used(ca: str, cert: str, key: str, reason: str) -> None:
    with pytest.raises(UspError, match=reason) as caught:
        tls.client_context(ca, cert, key, peer=PEER)
    assert caught.value.code == "key.unusable"
    assert "PRIVATE" not in str(caught.value)


def test_missing_files(files: dict[str, str]) -> None:
    with pytest.raises(UspError, match="No such file"):
        tls.server_context(files["cert"], files["key"] + "x")
    with pytest.raises(UspError, match="No such file"):
        tls.server_context(files["cert"], files["key"], files["ca"] + "x")


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        ([("URI", "usp://server/a")], "usp://server/a"),
        ([("DNS", "x"), ("URI", "https://x"), ("URI", "usp://manager/a")], "usp://manager/a"),
        ([("URI", "usp://server/a"), ("URI", "usp://manager/a")], None),  # who would it be?
        ([("DNS", "usp://server/a")], None),
        ([], None),
    ],
)
def test_identity(names: list[tuple[str, str]], identity: str | None) -> None:
    cert: dict[str, Any] = {"subjectAltName": tuple(names)}
    assert tls.identity(cert) == identity
    assert tls.identity({}) is None
    assert tls.identity(None) is None
