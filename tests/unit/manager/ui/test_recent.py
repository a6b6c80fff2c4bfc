"""An answer that is shared."""

from __future__ import annotations

import asyncio

import pytest

from usp.manager.ui.recent import Recent


async def test_asked_once_for_all() -> None:
    now, asked = 0.0, 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    recent = Recent(ask, 2.0, lambda: now)
    assert await asyncio.gather(*(recent.get() for _ in range(5))) == [1] * 5
    now = 1.9
    assert await recent.get() == 1
    now = 2.0
    assert await recent.get() == 2
    recent.forget()
    assert await recent.get() == 3


async def test_a_failure_is_not_kept() -> None:
    fails = True

    async def ask() -> str:
        if fails:
            raise ValueError
        return "fine"

    recent = Recent(ask, 60.0)
    with pytest.raises(ValueError):  # noqa: PT011
        await recent.get()
    fails = False
    assert await recent.get() == "fine"
