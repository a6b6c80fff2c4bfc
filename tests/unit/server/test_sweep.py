from __future__ import annotations

import asyncio
import gc
import weakref

from usp.server.sweep import Sweep


class Knot:
    def __init__(self) -> None:
        self.me = self


async def test_what_ended_is_freed_though_it_has_lived_for_long() -> None:
    sweep, knot = Sweep(0.01), Knot()
    there = weakref.ref(knot)
    gc.collect()  # with what lives long
    del knot
    sweep.order()
    sweep.order()
    assert there() is not None, "not at once, and not once for each end"
    await asyncio.sleep(0.1)
    assert there() is None


async def test_each_order_is_followed_by_a_look() -> None:
    sweep = Sweep(0.01)
    for _ in range(2):
        knot = Knot()
        there = weakref.ref(knot)
        gc.collect()
        del knot
        sweep.order()
        await asyncio.sleep(0.1)
        assert there() is None
