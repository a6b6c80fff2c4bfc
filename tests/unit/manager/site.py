"""A manager over a real SQLite file, and a configuration to work with, for the tests of the manager."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from argon2 import PasswordHasher

from usp import pki, tls
from usp.databases import DatabaseSettings
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.store import Store
from usp.manager.store.rows import Role
from usp.manager.store.upgrade import upgrade
from usp.manager.users import Actor
from usp.passwords import Passwords
from usp.secret import Secret
from usp.settings import EncryptionSettings, LoginSettings, ManagerSettings, ManagerTls, ManagerWeb, PushSettings
from usp.ssh import keys

NOW = datetime.now(UTC)
CA = pki.new_ca("ca", now=NOW)
MANAGER = pki.issue(CA, now=NOW, uri=tls.manager_uri("m"))
SERVER = pki.issue(CA, now=NOW, uri=tls.server_uri("server"), ips=["127.0.0.1"])
PRIVATE, PUBLIC = keys.generate()
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PASSWORD = "a password of admin's"

ADMIN = Actor("admin", Role.ADMIN, "192.0.2.1")
READER = Actor("reader", Role.READ_ONLY, "192.0.2.2")


class Clock:
    """Tells the time, and moves when a test wants it to."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def move(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)


def settings(
    *, interval: float = 0.05, timeout: float = 2.0, idle: float = 100.0, absolute: float = 1000.0
) -> ManagerSettings:
    return ManagerSettings(
        name="m",
        encryption=EncryptionSettings(kek=Secret(KEK)),
        web=ManagerWeb(tls=ManagerTls(cert="cert", key="key")),
        login=LoginSettings(idle_timeout=idle, absolute_timeout=absolute),
        push=PushSettings(interval=interval, timeout=timeout),
    )


@cache
def _new_databases() -> dict[str, bytes]:
    return {}


@asynccontextmanager
async def opened(folder: Path, clock: Callable[[], datetime] | None = None, **seconds: float) -> AsyncIterator[App]:
    """An application over its own new database. Passwords are hashed cheaply: tests have little time."""
    database = folder / "usp.db"
    at = DatabaseSettings(path=str(database))
    if not _new_databases():  # migrating takes longer than all the rest
        await upgrade(at)
        _new_databases()["new"] = database.read_bytes()
    elif not database.exists():
        database.write_bytes(_new_databases()["new"])
    effective = settings(**seconds)
    store = await Store.open(at, effective.encryption.key(), now=NOW, new_id=lambda: str(uuid4()))
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    app = App(store, effective, clock or Clock(), passwords)
    try:
        yield app
    finally:
        await app.close()
        await store.close()


async def make(app: App, kind: str, name: str, **fields: Any) -> None:
    await app.write(ADMIN, [Create(kind, {"name": name, **fields})])


async def configure(app: App, management_port: int = 8444) -> None:
    """Everything that a listener needs, and the Proxy Server `server`."""
    items: list[tuple[str, dict[str, Any]]] = [
        ("ca-certificates", {"name": "ca", "certificate": CA.cert}),
        ("tls-certificates", {"name": "m", "certificate": MANAGER.cert, "private_key": MANAGER.key}),
        ("private-keys", {"name": "host", "private_key": PRIVATE.reveal()}),
        ("public-keys", {"name": "target", "public_key": PUBLIC}),
        ("ip-filters", {"name": "all"}),
        (
            "rules",
            {
                "name": "pass",
                "inbound_method": "password",
                "inbound_source": "none",
                "outbound_credentials": "passthrough",
            },
        ),
        ("inbound-nodes", {"name": "in", "ip_filter": "all", "host_keys": ["host"], "rule": "pass"}),
        ("outbound-nodes", {"name": "out", "host": "127.0.0.1", "host_keys": ["target"]}),
        ("routes", {"name": "r", "inbound_nodes": ["in"], "outbound_nodes": ["out"]}),
        ("proxy-servers", server_item("server", management_port)),
    ]
    await app.write(ADMIN, [Create(kind, fields, (kind,)) for kind, fields in items])


def server_item(name: str, port: int) -> dict[str, Any]:
    return {"name": name, "host": "127.0.0.1", "port": port, "ca_certificate": "ca", "tls_certificate": "m"}


async def deploy(app: App, name: str, port: int, server: str = "server") -> None:
    """A listener on a port of a server; both items have that name."""
    listener = {"name": name, "address": "127.0.0.1", "port": port, "route": "r", "default_outbound_node": "out"}
    deployment = {"name": name, "listener": name, "proxy_server": server}
    await app.write(ADMIN, [Create("listeners", listener), Create("deployments", deployment)])
