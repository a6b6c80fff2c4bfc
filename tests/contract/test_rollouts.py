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
from usp.manager.store.leases import Lease
from usp.snapshot import Content

UNTIL = NOW + timedelta(seconds=10)
LONG = timedelta(minutes=5)
ROLLOUT = Rollout("ann", NOW, "why", 7, True, False, 60.0, (Step("a"), Step("b")))


async def add(store: Store) -> Rollout:
    return await store.rollouts.add(ROLLOUT, {"a": Content(), "b": Content()})


async def claimed(store: Store, id: int, runner: str, lasting: timedelta = LONG) -> Lease:
    found = await store.rollouts.claim(id, runner, lasting)
    assert found is not None
    return found[1]


async def test_one_comes_back_whole(store: Store, opened: OpenStore) -> None:
    added = await add(store)
    assert added == replace(ROLLOUT, id=added.id)
    other = await opened()
    assert await other.rollouts.get(added.id) == added
    assert await other.rollouts.open() == [added.id]
    steps = (Step("a", StepState.LATE, 3, True, "slow", NOW), Step("b", StepState.SKIPPED))
    moved = replace(added, steps=steps, state=RolloutState.STOPPED, reason="no", ended_at=UNTIL)
    assert await other.rollouts.save(moved, await claimed(other, added.id, "r"))
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
    await store.rollouts.save(replace(added, state=RolloutState.DONE), await claimed(store, added.id, "r"))
    with pytest.raises(UspError):
        await store.rollouts.content(added.id, "dmz")
    await store.close()
    assert b"SECRET" not in dump()


async def test_one_at_a_time(store: Store, opened: OpenStore) -> None:
    added = await add(store)
    stores = [store, await opened(), await opened()]
    short = timedelta(seconds=0.5)
    got = await asyncio.gather(
        *(each.rollouts.claim(added.id, f"r{n}", timedelta(seconds=20)) for n, each in enumerate(stores))
    )
    assert len([each for each in got if each]) == 1
    owner = next(n for n, each in enumerate(got) if each)
    other = (owner + 1) % 3
    lease = await claimed(stores[owner], added.id, f"r{owner}", short)
    assert await stores[owner].rollouts.save(added, lease), "it may go on"
    await asyncio.sleep(0.6)
    taken = await claimed(stores[other], added.id, f"r{other}")
    assert not await stores[owner].rollouts.save(added, lease), "its lease ran out, and another has it"
    assert await stores[other].rollouts.save(replace(added, state=RolloutState.DONE), taken)
    assert await stores[other].rollouts.claim(added.id, f"r{other}", LONG) is None, "it has ended"
