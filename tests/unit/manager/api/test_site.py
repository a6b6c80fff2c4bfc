"""The application as a whole."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Api
from usp.errors import UspError
from usp.manager.app import App

OPEN = {"/api/v1/login"}


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
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    assert "__" not in "".join(ids)
    for path in ("/docs", "/redoc"):
        assert (await nobody("GET", f"https://manager{path}")).status_code == 404


def references(part: object) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


async def test_openapi_refers_to_nothing_that_is_not_there(nobody: Api) -> None:
    document = (await nobody("GET", "/openapi.json")).json()
    there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= there


async def test_everything_else_needs_a_token(nobody: Api) -> None:
    document = (await nobody("GET", "/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in OPEN:
                continue
            assert operation["security"], path
            response = await nobody(method.upper(), f"https://manager{path.replace('{number}', '1')}")
            assert response.status_code == 401, (method, path)
