"""TLS to the database: checked against our CA and the server's name, refused otherwise, and never silently in clear."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.databases import oracle_net, postgres
from usp import pki
from usp.databases import DatabaseSettings, from_url
from usp.errors import UspError
from usp.manager.store.upgrade import check, upgrade

CA, OTHER = (pki.new_ca(name, now=datetime.now(UTC)) for name in ("database CA", "another CA"))
GOOD = pki.issue(CA, now=datetime.now(UTC), ips=["127.0.0.1"])
ELSEWHERE = pki.issue(CA, now=datetime.now(UTC), dns=["elsewhere.example.com"])


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as made:
        identify(made, GOOD)
        yield made


def identify(server: postgres.Postgres, identity: pki.Identity) -> None:
    """The server's certificate from now on."""
    for name, text in (("server.crt", identity.cert), ("server.key", identity.key)):
        file = server.folder / "data" / name
        file.touch(mode=0o600)
        file.write_text(text)
        if os.getuid() == 0:
            shutil.chown(file, "postgres")
    server.sql("ALTER SYSTEM SET ssl = on")
    server.sql("SELECT pg_reload_conf()")


def at(url: str, folder: Path, ca: pki.Identity) -> DatabaseSettings:
    file = folder / "ca.pem"
    file.write_text(ca.cert)
    return from_url(f"{url}?tls=true&ca={file}")


async def refused(settings: DatabaseSettings) -> str:
    with pytest.raises(UspError) as caught:
        await check(settings)
    assert caught.value.code == "database.unavailable"
    return caught.value.message


async def test_postgresql(server: postgres.Postgres, tmp_path: Path) -> None:
    settings = at(server.url(), tmp_path, CA)
    assert await upgrade(settings) == await check(settings)
    server.sql("ALTER SYSTEM SET log_connections = on")
    server.sql("SELECT pg_reload_conf()")
    await check(settings)
    assert "SSL enabled (protocol=TLSv1.3" in (server.folder / "log").read_text()


async def test_another_ca_is_refused(server: postgres.Postgres, tmp_path: Path) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in await refused(at(server.url(), tmp_path, OTHER))


async def test_another_name_is_refused(server: postgres.Postgres, tmp_path: Path) -> None:
    identify(server, ELSEWHERE)
    try:
        assert "IP address mismatch" in await refused(at(server.url(), tmp_path, CA))
    finally:
        identify(server, GOOD)


async def test_a_server_without_tls_is_refused(postgresql: postgres.Postgres, tmp_path: Path) -> None:
    assert "SSL" in await refused(at(postgresql.url(), tmp_path, CA))


async def test_tcps(server: postgres.Postgres, tmp_path: Path) -> None:
    """The Oracle driver over TLS."""
    with oracle_net.running(
        server, tls=(server.folder / "data" / "server.crt", server.folder / "data" / "server.key")
    ) as net:
        settings = at(net.url(), tmp_path, CA)
        assert await upgrade(settings) == await check(settings)
        await refused(at(net.url(), tmp_path, OTHER))
        await refused(from_url(net.url()))
