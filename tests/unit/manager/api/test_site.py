"""The application as a whole."""

from __future__ import annotations

import re

import pytest

from tests.unit.manager.api.calls import Api
from usp.errors import UspError
from usp.manager.app import App


async def test_probes_need_no_token(app: App, nobody: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/livez", "/readyz"):
        response = await nobody("GET", f"https://manager{path}")
        assert (response.status_code, response.text) == (200, "ok\n")

    async def away() -> None:
        raise UspError("database.unavailable")

    monkeypatch.setattr(app.store, "ping", away)
    response = await nobody("GET", "https://manager/readyz")
    assert (response.status_code, response.text) == (503, "the database does not answer\n")
    assert (await nobody("GET", "https://manager/livez")).status_code == 200


async def test_openapi_in_both_places(nobody: Api) -> None:
    document = (await nobody("GET", "/openapi.json")).json()
    assert (await nobody("GET", "https://manager/openapi.json")).json() == document
    assert document["components"]["schemas"]["Problem"]["required"]


# Who may call what. The rule: reading is for all users, everything else for administrators. The exceptions:
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("post", "/login"): "anonymous",
    ("post", "/logout"): "read_only",
    ("patch", "/me"): "read_only",
    ("post", "/me/password"): "read_only",
    ("post", "/me/totp"): "read_only",
    ("post", "/me/totp/confirm"): "read_only",
    ("post", "/me/totp/recovery-codes"): "read_only",
    ("post", "/me/totp/remove"): "read_only",
    ("delete", "/logins/{id}"): "read_only",  # one's own
    ("delete", "/tokens/{id}"): "read_only",  # one's own
    ("post", "/ip-filters/{name}/test"): "read_only",  # changes nothing
    ("post", "/explain"): "read_only",  # changes nothing; a probe is for administrators
    ("get", "/users"): "admin",
    ("get", "/users/{name}"): "admin",
    ("get", "/lockouts"): "admin",
}
CALLERS = ("anonymous", "read_only", "admin")


async def test_every_route_is_for_whom_it_should_be(admin: Api, reader: Api, nobody: Api) -> None:
    document = (await nobody("GET", "/openapi.json")).json()
    routes = [
        (method, path.removeprefix("/api/v1"), operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(routes) > 100
    assert EXCEPTIONS.keys() <= {(method, path) for method, path, _ in routes}
    for method, path, operation in routes:
        least = EXCEPTIONS.get((method, path), "read_only" if method == "get" else "admin")
        assert bool(operation.get("security")) is (least != "anonymous"), (method, path)
        if path == "/events/stream":
            continue  # it would never end
        where = re.sub(r"{\w+}", "1", path)
        for name, caller, lacking in (("anonymous", nobody, 401), ("read_only", reader, 403), ("admin", admin, 0)):
            response = await caller(method.upper(), where)
            if CALLERS.index(name) < CALLERS.index(least):
                code = {401: "auth.invalid", 403: "auth.forbidden"}[lacking]
                assert (response.status_code, response.json()["code"]) == (lacking, code), (method, path, name)
            else:
                assert response.status_code not in (401, 403, 500), (method, path, name, response.text)


async def test_a_route_that_no_table_knows_needs_a_token_too(nobody: Api) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert (await nobody(method, "/items/nothing")).status_code == 401
        assert (await nobody(method, "/items/nothing/1")).status_code == 401
