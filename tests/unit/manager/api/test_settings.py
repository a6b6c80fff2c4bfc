"""Settings of all managers, over the API."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from tests.unit.manager.api.calls import BASE, Api, refused


async def test_the_ip_filter_guards_everything(site: FastAPI, admin: Api, reader: Api) -> None:
    await admin.make("ip-filters", name="office", allow=["192.0.2.0/24"], default="block")
    await admin.make("ip-filters", name="elsewhere", allow=["198.51.100.0/24"], default="block")
    assert (await reader("GET", "/settings/ip-filter")).json() == {"ip_filter": None}
    refused(await reader("PUT", "/settings/ip-filter", {"ip_filter": None}), 403, "auth.forbidden")
    refused(await admin("PUT", "/settings/ip-filter", {}), 422, "request.invalid")
    refused(await admin("PUT", "/settings/ip-filter", {"ip_filter": "nothing"}), 404, "item.not_found")
    refused(await admin("PUT", "/settings/ip-filter", {"ip_filter": "elsewhere"}), 409, "guard.lockout")
    assert (await admin("PUT", "/settings/ip-filter", {"ip_filter": "office"})).json() == {"ip_filter": "office"}
    refused(await admin("DELETE", "/items/ip-filters/office"), 409, "guard.in_use")

    for address, admitted in (("192.0.2.8", True), ("198.51.100.1", False), ("::1", True), ("127.0.0.1", True)):
        transport = httpx.ASGITransport(app=site, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            for path in ("/servers", "/login", "/nothing", "https://manager/openapi.json", "https://manager/livez"):
                headers = {"X-Forwarded-For": "192.0.2.9"}
                response = await Api(http, admin.token)("GET", path, headers=headers)
                if admitted:
                    assert response.status_code != 403, (address, path)
                else:
                    refused(response, 403, "auth.address")
                    assert response.headers["x-content-type-options"] == "nosniff"
    assert (await admin("PUT", "/settings/ip-filter", {"ip_filter": None})).json() == {"ip_filter": None}
