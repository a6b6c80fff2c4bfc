"""An answer that is shared."""

from __future__ import annotations

import asyncio

import pytest

from usp.errors import UspError
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


async def test_who_does_not_wait_for_long_gets_what_was_answered_last() -> None:
    now, answers, gate = 0.0, iter(("one", "two")), asyncio.Event()

    async def ask() -> str:
        await gate.wait()
        if (answer := next(answers, None)) is None:
            raise UspError("database.unavailable")
        return answer

    recent = Recent(ask, 2.0, lambda: now)
    assert await recent.within(0) is None
    assert await recent.within(0) is None, "and is not asked for twice"
    gate.set()
    assert await recent.within(5) == "one"
    now = 2.0
    gate.clear()
    assert await recent.within(0) == "one"
    gate.set()
    assert await recent.within(5) == "two"
    now = 4.0
    assert await recent.within(5) == "two", "there is no other answer: it fails"
