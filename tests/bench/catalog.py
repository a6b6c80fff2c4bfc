"""A large installation: 10,000 Accounts, 500 Listeners, 100 Proxy Servers, over the real store and API.

Every Listener is deployed twice, every server has a tunnel, and each of them serves the one repository with all the
Accounts: what is compiled for it has 10,000 of them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from argon2 import PasswordHasher

from tests.bench.figure import Figure, timed
from tests.unit.manager.api.calls import BASE
from tests.unit.manager.site import ADMIN, PUBLIC, configure, opened, server_item
from usp.manager import bulk
from usp.manager.api import application
from usp.manager.app import App
from usp.manager.compile import compile as compiled
from usp.manager.store.rows import Role

ACCOUNTS: Final = 10_000
LISTENERS: Final = 500
SERVERS: Final = 100
WRITE: Final = 0.3
LIST: Final = 0.1

HASH: Final = PasswordHasher().hash("a partner's password")
RULE: Final = {
    "name": "partners",
    "inbound_method": "password_or_public_key",
    "inbound_source": "account_repository",
    "account_repository": "partners",
    "outbound_credentials": "dedicated",
    "username": "gateway",
    "private_key": "host",
}


def installation() -> dict[str, list[dict[str, Any]]]:
    """What `apply` takes, on top of the small configuration of the unit tests."""
    servers = [f"server-{n:03}" for n in range(SERVERS)]
    deployments = []
    for number in range(LISTENERS):
        for server in (servers[number % SERVERS], servers[(number + 1) % SERVERS]):
            name = f"listener-{number:03}"
            path = {"tunnel": server, "proxy_client": server}
            deployments.append({"name": f"{name}-on-{server}", "listener": name, "proxy_server": server, **path})
    return {
        "account-repositories": [{"name": "partners"}],
        "rules": [RULE],
        "inbound-nodes": [{"name": "partners", "ip_filter": "all", "host_keys": ["host"], "rule": "partners"}],
        "routes": [{"name": "partners", "inbound_nodes": ["partners"], "outbound_nodes": ["out"]}],
        "public-keys": [{"name": f"key-{n}", "public_key": f"{PUBLIC} {n}"} for n in range(100)],
        "accounts": [
            {
                "name": f"account-{n:05}",
                "account_repository": "partners",
                "username": f"partner{n:05}",
                "password": HASH,
                "public_keys": [f"key-{n % 100}"],
            }
            for n in range(ACCOUNTS)
        ],
        "listeners": [
            {"name": f"listener-{n:03}", "port": 2000 + n, "route": "partners", "default_outbound_node": "out"}
            for n in range(LISTENERS)
        ],
        "proxy-servers": [server_item(server, 8444) for server in servers],
        "tunnels": [{"name": s, "proxy_server": s, "port": 1999, "private_key": "host"} for s in servers],
        "proxy-clients": [{"name": s, "tunnel": s, "public_key": "target"} for s in servers],
        "deployments": deployments,
    }


@asynccontextmanager
async def caller(app: App) -> AsyncIterator[httpx.AsyncClient]:
    user = await app.administrators.add("bench", Role.ADMIN, None, author="bench")
    _, token = await app.administrators.add_token("bench", user, author="bench")
    transport = httpx.ASGITransport(app=application(app))
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=60) as client:
        yield client


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as app:
            await configure(app)
            body = {"items": installation()}
            figures.append(await timed("apply all of it to an empty manager", _apply(app, body), rounds=1))
            async with caller(app) as http:
                figures += await _measure(app, http, body)
        async with opened(Path(folder)) as app:
            figures.append(await timed("first read after a start of the manager", lambda _: app.catalog(), rounds=1))
    return figures


def _apply(app: App, body: dict[str, Any], **kwargs: Any) -> Any:
    return lambda _: bulk.apply(app, ADMIN, body, **kwargs)


async def _measure(app: App, http: httpx.AsyncClient, body: dict[str, Any]) -> list[Figure]:
    async def ask(method: str, path: str, status: int = 200, **kwargs: Any) -> Any:
        response = await http.request(method, path, **kwargs)
        assert response.status_code == status, response.text
        return response

    def change(kind: str, name: str) -> Any:
        async def write(number: int) -> None:
            shown = (await ask("GET", f"/items/{kind}/{name}")).json()
            await ask("PUT", f"/items/{kind}/{name}", json={**shown, "description": f"d{number}"})

        return write

    async def create(number: int) -> None:
        fields = {"account_repository": "partners", "username": f"new{number}", "password": HASH}
        await ask("POST", "/items/accounts", 201, json={"name": f"new-{number}", **fields})

    async def delete(number: int) -> None:
        await ask("DELETE", f"/items/accounts/new-{number}", 204)

    async def push(number: int) -> None:
        await ask("POST", f"/servers/server-{number:03}/push", 202)

    async def compile_one(number: int) -> None:
        compiled(await app.catalog(), f"server-{number:03}")

    def page(path: str) -> Any:
        return lambda _: ask("GET", path)

    return [
        await timed("POST an Account", create, wanted=WRITE),
        await timed("GET and PUT an Account", change("accounts", "account-05000"), wanted=WRITE),
        await timed("GET and PUT a Listener", change("listeners", "listener-250"), wanted=WRITE),
        await timed("GET and PUT a Deployment", change("deployments", "listener-000-on-server-000"), wanted=WRITE),
        await timed("GET and PUT the Rule", change("rules", "partners"), wanted=WRITE),
        await timed("DELETE an Account", delete, wanted=WRITE),
        await timed("compile a server with 10,000 Accounts", compile_one, wanted=WRITE),
        await timed("POST push: compile, digest, seal, store", push, wanted=WRITE),
        await timed("GET a page of 100 Accounts", page("/items/accounts?after=account-05000"), wanted=LIST),
        await timed("GET a page of 1000 Accounts", page("/items/accounts?limit=1000"), wanted=LIST),
        await timed("GET a page of 100 Listeners", page("/items/listeners"), wanted=LIST),
        await timed("GET /servers", page("/servers"), wanted=LIST),
        await timed("GET /export", page("/export"), rounds=3),
        await timed("apply all of it again: no change", _apply(app, body), rounds=2),
    ]


def run(options: object) -> Iterator[Figure]:
    yield from asyncio.run(measure())
