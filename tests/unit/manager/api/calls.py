"""How tests call the API, and what they expect of a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.unit.manager.site import CA, MANAGER, PRIVATE, PUBLIC

BASE = "https://manager/api/v1"
SERVER_NAME = "server"


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **delta: float) -> None:
        self.now += timedelta(**delta)


def documents() -> list[tuple[str, dict[str, Any]]]:
    """(kind, fields) of everything that one server with one listener needs, in an order that can be created."""
    server = {"host": "127.0.0.1", "port": 1, "ca_certificate": "ca", "tls_certificate": "manager"}
    methods = {"inbound_method": "password", "inbound_source": "none", "outbound_credentials": "passthrough"}
    return [
        ("ca-certificates", {"name": "ca", "certificate": CA.cert}),
        ("tls-certificates", {"name": "manager", "certificate": MANAGER.cert, "private_key": MANAGER.key}),
        ("private-keys", {"name": "host-key", "private_key": PRIVATE.reveal()}),
        ("public-keys", {"name": "target", "public_key": PUBLIC}),
        ("ip-filters", {"name": "everybody"}),
        ("rules", {"name": "passthrough", **methods}),
        (
            "inbound-nodes",
            {"name": "partners", "ip_filter": "everybody", "host_keys": ["host-key"], "rule": "passthrough"},
        ),
        ("outbound-nodes", {"name": "target", "host": "192.0.2.9", "host_keys": ["target"]}),
        ("routes", {"name": "route", "inbound_nodes": ["partners"], "outbound_nodes": ["target"]}),
        ("proxy-servers", {"name": SERVER_NAME, **server}),
        (
            "listeners",
            {
                "name": "partners",
                "address": "127.0.0.1",
                "port": 2222,
                "route": "route",
                "default_outbound_node": "target",
            },
        ),
        ("deployments", {"name": "deployed", "listener": "partners", "proxy_server": SERVER_NAME}),
    ]


class Api:
    """A caller with a token, or without."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self.http = http
        self.token = token

    async def __call__(self, method: str, path: str, json: Any = None, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= kwargs.pop("headers", {})
        if json is not None:
            kwargs["json"] = json
        return await self.http.request(method, path, headers=headers, **kwargs)

    async def make(self, kind: str, **fields: Any) -> Any:
        response = await self("POST", f"/items/{kind}", fields)
        assert response.status_code == 201, response.text
        return response.json()

    async def configure(self) -> None:
        """A whole small configuration: see `documents`."""
        for kind, fields in documents():
            await self.make(kind, **fields)


def refused(response: httpx.Response, status: int, code: str) -> list[tuple[tuple[str | int, ...], str]]:
    """Asserts a problem document; the located problems in it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), response.text
    assert problem.keys() == {"type", "title", "status", "detail", "code", "errors"}
    assert problem["detail"]
    return [(tuple(error["loc"]), error["msg"]) for error in problem["errors"]]
