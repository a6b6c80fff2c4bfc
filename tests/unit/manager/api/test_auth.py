"""Bearer tokens."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Api, Clock, refused
from usp.manager.app import App


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dTpw", "Bearer usp_x", "Bearer ust_x", "Bearer \xff"]
)
async def test_no_token(nobody: Api, header: str) -> None:
    response = await nobody("GET", "/servers", headers={"Authorization": header.encode("latin-1")})
    refused(response, 401, "auth.invalid")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_who_asks_is_noted_with_their_address(app: App, admin: Api) -> None:
    await admin.make("ip-filters", name="f")
    (event,) = await app.store.events.page(action="item.create")
    assert (event.author, event.peer, event.target) == ("alice", "192.0.2.7", "ip-filters/f")


async def test_a_token_ends(app: App, admin: Api, clock: Clock) -> None:
    made = await admin("POST", "/tokens", {"name": "short", "expires_at": "2026-01-01T13:00:00Z"})
    short = Api(admin.http, made.json()["token"])
    assert (await short("GET", "/servers")).status_code == 200
    clock.pass_(hours=1)
    refused(await short("GET", "/servers"), 401, "auth.invalid")
    assert (await admin("GET", "/servers")).status_code == 200


async def test_a_token_in_the_address_is_none(admin: Api, nobody: Api) -> None:
    """Addresses are written into logs and histories."""
    for name in ("token", "access_token", "authorization", "api_key"):
        refused(await nobody("GET", f"/servers?{name}={admin.token}"), 401, "auth.invalid")
