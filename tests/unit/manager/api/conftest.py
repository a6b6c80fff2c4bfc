"""The API as its callers see it: httpx straight into the ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from tests.unit.manager.api.calls import BASE, Api, Clock
from tests.unit.manager.site import opened
from usp.manager.api import application
from usp.manager.app import App
from usp.manager.store.rows import Role


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock, timeout=5.0) as made:
        yield made


@pytest.fixture(scope="session")
def site() -> FastAPI:
    """Made once: that takes longer than most tests."""
    return application(cast(App, None))


@pytest.fixture
async def http(app: App, site: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    site.state.app = app
    transport = httpx.ASGITransport(app=site, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def caller(app: App, http: httpx.AsyncClient, name: str, role: Role) -> Api:
    user = await app.administrators.add(name, role, None, author="test")
    _, token = await app.administrators.add_token("test", user, author="test")
    return Api(http, token)


@pytest.fixture
async def admin(app: App, http: httpx.AsyncClient) -> Api:
    return await caller(app, http, "alice", Role.ADMIN)


@pytest.fixture
async def reader(app: App, http: httpx.AsyncClient) -> Api:
    return await caller(app, http, "bob", Role.READ_ONLY)


@pytest.fixture
def nobody(http: httpx.AsyncClient) -> Api:
    return Api(http, None)
