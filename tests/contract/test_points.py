"""The points of the charts: one of each moment, whoever writes it, for as long as they are wanted."""

from __future__ import annotations

import asyncio

from tests.contract.conftest import OpenStore
from usp.manager.store import Store


async def test_points_come_back_in_order_and_go(store: Store, opened: OpenStore) -> None:
    other = await opened()
    await store.points.add(7, {"a": ["boot", 1, 2, 3]}, keep=3)
    await store.points.add(6, {}, keep=3)
    await asyncio.gather(
        *(each.points.add(8, {"a": ["boot", number, 0, 0]}, keep=3) for number, each in enumerate((store, other)))
    )
    found = await other.points.after(0)
    assert [moment for moment, _ in found] == [6, 7, 8], "one of them wrote the last one"
    assert found[0][1] == {}
    assert found[1][1] == {"a": ["boot", 1, 2, 3]}
    assert found[2][1] in ({"a": ["boot", 0, 0, 0]}, {"a": ["boot", 1, 0, 0]})
    assert [moment for moment, _ in await store.points.after(7)] == [8]
    await store.points.add(10, {}, keep=3)
    assert [moment for moment, _ in await store.points.after(0)] == [8, 10]
