"""The store on every engine: a test that takes `url` or `store` runs once per engine.

To add an engine: a name in ENGINES and a branch in `url` that gives an empty database.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.catalogs import NOW
from usp.manager.store import Store
from usp.manager.store.upgrade import upgrade

ENGINES = ("sqlite",)
KEK = bytes(range(32))

OpenStore = Callable[[], Awaitable[Store]]


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(engine: str, tmp_path: Path) -> str:
    assert engine == "sqlite"
    return f"sqlite:///{tmp_path / 'usp.db'}"


@pytest.fixture
def dump(engine: str, tmp_path: Path) -> Callable[[], bytes]:
    """Everything that the database keeps, as it lies there."""
    assert engine == "sqlite"
    return lambda: b"".join(path.read_bytes() for path in sorted(tmp_path.glob("usp.db*")))


@pytest_asyncio.fixture
async def opened(url: str) -> AsyncIterator[OpenStore]:
    """Opens the store as another manager would; closed at the end."""
    await upgrade(url)
    async with AsyncExitStack() as stack:

        async def open_() -> Store:
            store = await Store.open(url, KEK, now=NOW, new_id=new_id)
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest_asyncio.fixture
async def store(opened: OpenStore) -> Store:
    return await opened()
