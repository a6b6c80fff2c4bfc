"""Telling webhooks over real HTTP: in order, signed, again after failures, and nowhere that is not permitted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.catalogs import NOW
from tests.unit.manager.site import ADMIN, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.hooks import GIVE_UP
from usp.manager.store.rows import Event, Role
from usp.manager.users import Actor
from usp.manager.webhooks import Resolver, Teller, Webhooks


class Receiver:
    """Keeps what it is sent, and answers `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers={"Location": self.url} if self.status == 302 else {})

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    made = Receiver()
    application = web.Application()
    application.router.add_post("/hook", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


class Desk:
    def __init__(self, app: App) -> None:
        self.app = app
        self.now = NOW
        self.hooks = Webhooks(app.store, lambda: self.now, app.note, insecure=True)
        self.teller = Teller(app.store, lambda: self.now, lambda: 0.5, app.note, insecure=True)

    async def happen(self, *actions: str) -> None:
        for action in actions:
            await self.app.store.events.add(Event(at=NOW, author="acme", action=action, target="/in/a"))

    async def round(self) -> None:
        async with self.teller.client() as client:
            await self.teller.round(client)

    async def hook(self) -> Any:
        (found,) = await self.app.store.webhooks.all()
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as app:
        yield Desk(app)


async def test_it_is_told_of_what_it_wants_in_order_and_once(desk: Desk) -> None:
    async with receiving() as receiver:
        await desk.happen("file.closed")
        made = await desk.hooks.add(ADMIN, "siem", receiver.url, {"action": "file."})
        await desk.happen("file.closed", "login", "file.rename")
        await desk.round()
        await desk.round()
        assert [json.loads(body)["type"] for _, body in receiver.got] == ["file.closed", "file.rename"]
        headers, body = receiver.got[0]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(made.secret.reveal().removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert ((await desk.hook()).delivered, (await desk.hook()).failures) == (2, 0)


async def test_what_fails_is_tried_again_and_left_out_in_the_end(desk: Desk) -> None:
    async with receiving() as receiver:
        await desk.hooks.add(ADMIN, "siem", receiver.url, {"action": "file."})
        await desk.happen("file.closed", "file.rename")
        receiver.status = 503
        await desk.round()
        await desk.round()  # too early
        assert ((await desk.hook()).failures, (await desk.hook()).error) == (1, "HTTP 503")
        desk.now += timedelta(hours=1)
        receiver.status = 302  # nobody is followed
        await desk.round()
        assert len(receiver.got) == 2
        assert (await desk.hook()).error == "HTTP 302"
        desk.now += GIVE_UP
        await desk.round()
        assert ((await desk.hook()).dead, (await desk.hook()).failures) == (1, 0)
        receiver.status = 204
        await desk.round()
        assert len(set(receiver.ids())) == 2
        assert ((await desk.hook()).delivered, (await desk.hook()).dead) == (1, 1)
    (told,) = await desk.app.store.events.page(action="webhook.dead")
    assert (told.target, told.detail["reason"]) == ("siem", "HTTP 302")


async def test_a_receiver_that_is_away_and_one_that_is_enabled_again(desk: Desk) -> None:
    async with receiving() as receiver:
        url = receiver.url
    await desk.hooks.add(ADMIN, "siem", url, {})
    await desk.happen("file.closed")
    await desk.round()
    assert "onnect" in (await desk.hook()).error
    await desk.hooks.enable(ADMIN, "siem", True)
    assert ((await desk.hook()).failures, (await desk.hook()).retry_at) == (0, None)
    await desk.hooks.enable(ADMIN, "siem", False)
    await desk.round()
    assert (await desk.hook()).failures == 0
    await desk.hooks.remove(ADMIN, "siem")
    with pytest.raises(UspError, match="there is no webhook siem"):
        await desk.hooks.remove(ADMIN, "siem")
    with pytest.raises(UspError, match="there is no webhook siem"):
        await desk.hooks.enable(ADMIN, "siem", True)


async def test_nowhere_that_is_not_permitted(desk: Desk) -> None:
    strict = Webhooks(desk.app.store, lambda: NOW, desk.app.note, insecure=False)
    with pytest.raises(UspError) as refused:
        await strict.add(ADMIN, "siem", "https://127.0.0.1/", {})
    assert refused.value.problems[0].loc == ("url",)
    with pytest.raises(UspError, match="may read but not change"):
        await strict.add(Actor("bob", Role.READ_ONLY), "siem", "https://hooks.example/", {})
    with pytest.raises(OSError, match="localhost leads to this machine"):
        await Resolver(False).resolve("localhost", 443)
    assert (await Resolver(True).resolve("localhost", 443))[0]["port"] == 443
    await desk.hooks.add(ADMIN, "siem", "http://127.0.0.1:9/hook", {})
    await desk.happen("file.closed")
    teller = Teller(desk.app.store, lambda: NOW, lambda: 0.5, desk.app.note, insecure=False)
    async with teller.client() as client:
        await teller.round(client)
    assert (await desk.hook()).error.startswith("the URL must begin with https://")
