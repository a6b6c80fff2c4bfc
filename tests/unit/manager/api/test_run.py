"""Starting and stopping."""

from __future__ import annotations

from tests.unit.manager.api.calls import Api, refused
from usp.manager.app import App


async def test_start_and_stop(app: App, admin: Api, reader: Api) -> None:
    await admin.configure()
    key = (await admin("GET", "/items/deployments/deployed")).json()["id"]
    for verb, state in (("stop", "stopped"), ("start", "started")):
        response = await admin("POST", f"/deployments/deployed/{verb}")
        assert (response.status_code, response.json()) == (202, {"state": state})
        assert await app.store.servers.run_states() == {key: state}
    refused(await reader("POST", "/deployments/deployed/stop"), 403, "auth.forbidden")
    refused(await admin("POST", "/deployments/nobody/stop"), 404, "item.not_found")
    refused(await admin("POST", "/tunnels/deployed/stop"), 404, "item.not_found")
    refused(await admin("POST", "/listeners/partners/stop"), 404, "request.unknown")
    refused(await admin("POST", "/deployments/deployed/restart"), 404, "request.unknown")
