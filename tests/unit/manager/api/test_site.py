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


async def test_everything_else_needs_a_token(nobody: Api) -> None:
    document = (await nobody("GET", "/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in OPEN:
                continue
            assert operation["security"], path
            response = await nobody(method.upper(), f"https://manager{path.replace('{number}', '1')}")
            assert response.status_code == 401, (method, path)
