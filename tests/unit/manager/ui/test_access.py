"""The IP Filter of the managers, chosen in the UI."""

from __future__ import annotations

from tests.unit.manager.site import ADMIN
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.catalog import Create


async def test_nobody_locks_themselves_out(app: App, admin: Browser) -> None:
    for name, allow in (("office", ["192.0.2.0/24"]), ("elsewhere", ["198.51.100.0/24"])):
        fields = {"name": name, "allow": allow, "default": "block"}
        await app.write(ADMIN, [Create("ip-filters", fields)])
    ids = {each.item.name: each.id for each in (await app.catalog()).of_kind("ip-filters")}
    page = await admin.get("/ui/access")
    assert "You come from 192.0.2.7" in text_of(page)
    refused = await admin.post("/ui/access", ip_filter=ids["elsewhere"])
    assert refused.status_code == 409
    assert "192.0.2.7" in text_of(refused)
    assert await app.guard.current() is None
    await admin.post("/ui/access", ip_filter=ids["office"])
    current = await app.guard.current()
    assert current is not None
    assert current.id == ids["office"]
    assert f'value="{ids["office"]}" selected' in (await admin.get("/ui/access")).text
    await admin.post("/ui/access", ip_filter="")
    assert await app.guard.current() is None


async def test_a_reader_chooses_nothing(reader: Browser) -> None:
    assert (await reader.get("/ui/access")).status_code == 403
