"""Ringing wakes who waits, and is forgotten."""

from __future__ import annotations

import asyncio

from usp.manager.bell import ANY, Bell
from usp.tasks import spawn


async def test_everybody_who_waits_is_woken() -> None:
    bell = Bell()
    waiting = [spawn(bell.wait(10.0), "waiter") for _ in range(2)]
    await asyncio.sleep(0)
    bell.ring()
    bell.ring()
    assert await asyncio.gather(*waiting) == [True, True]


async def test_who_comes_later_has_not_heard_it() -> None:
    bell = Bell()
    bell.ring()
    assert not await bell.wait(0.01)


async def test_who_gave_up_is_forgotten() -> None:
    bell = Bell()
    waiter = spawn(bell.wait(10.0), "waiter")
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    bell.ring()
    assert not await bell.wait(0.01)


async def test_it_rings_for_one_server_or_for_all() -> None:
    bell = Bell()
    waiting = [spawn(bell.wait(0.2, name), "waiter") for name in ("server-1", "server-2", ANY)]
    await asyncio.sleep(0)
    bell.ring("server-1")
    assert await asyncio.gather(*waiting) == [True, False, True]
    waiting = [spawn(bell.wait(10.0, name), "waiter") for name in ("server-1", "server-2", ANY)]
    await asyncio.sleep(0)
    bell.ring()
    assert await asyncio.gather(*waiting) == [True, True, True]
