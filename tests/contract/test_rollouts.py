"""Pushes to several servers: kept whole, moved on by one at a time, and what they carry is sealed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.catalogs import NOW, sample
from tests.contract.conftest import OpenStore
from usp.errors import UspError
from usp.manager.compile import compile as compiled
from usp.manager.rollout import Rollout, RolloutState, Step, StepState
from usp.manager.store import Store
from usp.snapshot import Content

UNTIL = NOW + timedelta(seconds=10)
ROLLOUT = Rollout("ann", NOW, "why", 7, True, False, 60.0, (Step("a"), Step("b")))


async def add(store: Store) -> Rollout:
    return await store.rollouts.add(ROLLOUT, {"a": Content(), "b": Content()})


async def test_one_comes_back_whole(store: Store, opened: OpenStore) -> None:
    added = await add(store)
    assert added == replace(ROLLOUT, id=added.id)
    other = await opened()
    assert await other.rollouts.get(added.id) == added
    assert await other.rollouts.open() == [added.id]
    steps = (Step("a", StepState.LATE, 3, True, "slow", NOW), Step("b", StepState.SKIPPED))
    moved = replace(added, steps=steps, state=RolloutState.STOPPED, reason="no", ended_at=UNTIL)
    assert await other.rollouts.claim(added.id, "r", now=NOW, until=UNTIL)
    assert await other.rollouts.save(moved, "r")
    assert await store.rollouts.get(added.id) == moved
    assert await store.rollouts.open() == []
    with pytest.raises(UspError) as caught:
        await store.rollouts.get(99)
    assert caught.value.code == "rollout.not_found"


async def test_newest_first(store: Store) -> None:
    ids = [(await add(store)).id for _ in range(3)]
    assert [each.id for each in await store.rollouts.page()] == ids[::-1]
    assert [each.id for each in await store.rollouts.page(before=ids[2], limit=1)] == [ids[1]]


async def test_content_is_sealed_and_goes_with_the_end(store: Store, dump: Callable[[], bytes]) -> None:
    content = compiled(sample(), "dmz")
    added = await store.rollouts.add(replace(ROLLOUT, steps=(Step("dmz"),)), {"dmz": content})
    assert await store.rollouts.content(added.id, "dmz") == content
    await store.rollouts.claim(added.id, "r", now=NOW, until=UNTIL)
    await store.rollouts.save(replace(added, state=RolloutState.DONE), "r")
    with pytest.raises(UspError):
        await store.rollouts.content(added.id, "dmz")
    await store.close()
    assert b"SECRET" not in dump()


async def test_one_at_a_time(store: Store, opened: OpenStore) -> None:
    added = await add(store)
    stores = [store, await opened(), await opened()]
    got = await asyncio.gather(
        *(each.rollouts.claim(added.id, f"r{n}", now=NOW, until=UNTIL) for n, each in enumerate(stores))
    )
    assert len([each for each in got if each]) == 1
    owner = next(n for n, each in enumerate(got) if each)
    other = (owner + 1) % 3
    assert await stores[owner].rollouts.claim(added.id, f"r{owner}", now=NOW, until=UNTIL), "it may go on"
    assert not await stores[other].rollouts.save(added, f"r{other}")
    late = UNTIL + timedelta(seconds=1)
    assert await stores[other].rollouts.claim(added.id, f"r{other}", now=late, until=late), "its lease ran out"
    assert not await stores[owner].rollouts.save(added, f"r{owner}")
    await stores[other].rollouts.save(replace(added, state=RolloutState.DONE), f"r{other}")
    assert await stores[other].rollouts.claim(added.id, f"r{other}", now=late, until=late) is None, "it has ended"
