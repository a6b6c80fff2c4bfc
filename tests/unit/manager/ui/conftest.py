"""The UI as a browser gets it: httpx straight into the manager's application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.site import opened
from usp.manager.api import application
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.ui import assets
from usp.manager.ui.site import install
from usp.manager.ui.visits import COOKIE, csrf_token

BASE = "https://manager"
PASSWORD = "a password of a visitor"


@pytest.fixture(autouse=True)
def _fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not need what npm fetches."""
    monkeypatch.setattr(assets, "missing", list)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock, timeout=5.0) as made:
        yield made


class Browser:
    """Keeps cookies, and sends what a browser sends with a form of ours."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @property
    def token(self) -> str:
        return self.http.cookies.get(COOKIE) or ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        fields = {"csrf": csrf_token(self.token), **fields} if self.token else fields
        return await self.http.post(path, data=fields, headers={"Origin": BASE} if headers is None else headers)

    async def login(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return await self.post("/ui/login", username=name, password=password)


def text_of(response: httpx.Response) -> str:
    """What people read of a page."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", response.text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


@pytest.fixture
async def nobody(app: App) -> AsyncIterator[Browser]:
    site = application(app)
    install(site, app)
    transport = httpx.ASGITransport(app=site, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield Browser(client)


@pytest.fixture
async def admin(app: App, nobody: Browser) -> Browser:
    await app.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
    assert (await nobody.login("alice")).status_code == 303
    return nobody


@pytest.fixture
async def reader(app: App, nobody: Browser) -> Browser:
    await app.administrators.add("bob", Role.READ_ONLY, PASSWORD, author="test")
    assert (await nobody.login("bob")).status_code == 303
    return nobody
