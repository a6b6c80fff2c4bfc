from __future__ import annotations

from datetime import UTC, datetime

from tests.unit.manager.api.calls import Api
from tests.unit.manager.site import CA, MANAGER
from usp.certificates import expires


async def test_all_with_warnings(admin: Api, reader: Api) -> None:
    body = {"name": "c", "certificate": MANAGER.cert, "private_key": MANAGER.key}
    assert (await admin("POST", "/items/tls-certificates", body)).status_code == 201
    assert (await admin("POST", "/items/ca-certificates", {"name": "a", "certificate": CA.cert})).status_code == 201
    found = (await reader("GET", "/certificates?limit=1")).json()
    assert found["next"] == "m:ca-certificates/a"
    (last,) = (await reader("GET", f"/certificates?after={found['next']}")).json()["items"]
    until = datetime.fromtimestamp(expires(MANAGER.cert), UTC)
    assert (last["where"], last["name"], last["warning"]) == ("m", "tls-certificates/c", "")
    assert datetime.fromisoformat(last["until"]) == until
