"""The picture's page."""

from __future__ import annotations

import pytest

from tests.unit.manager.site import ADMIN, configure, deploy, server_item
from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.ui import topology


async def test_nothing(reader: Browser) -> None:
    assert "There is nothing to draw yet" in text_of(await reader.get("/ui/topology"))


async def test_all_servers_or_one(app: App, reader: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    await configure(app)
    await app.write(ADMIN, [Create("proxy-servers", server_item("other", 8445))])
    await deploy(app, "l", 2222)
    text = text_of(await reader.get("/ui/topology"))
    assert "server" in text
    assert "other" in text
    assert "not pushed" in text
    monkeypatch.setattr(topology, "TOGETHER", 1)
    page = await reader.get("/ui/topology")
    assert "<option selected>other</option>" in page.text
    assert "127.0.0.1:2222" not in page.text
    part = await reader.get("/ui/topology?server=server", hx_request="true")
    assert "127.0.0.1:2222" in part.text
    assert "<html" not in part.text
