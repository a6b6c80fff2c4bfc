"""What tests of the worker side share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.unit.server.gateway import Target


@pytest_asyncio.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    made = Target(tmp_path)
    await made.start()
    yield made
    await made.stop()
