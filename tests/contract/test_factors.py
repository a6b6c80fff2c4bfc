"""Second factors: sealed, and taken once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.catalogs import NOW
from tests.contract.conftest import OpenStore
from usp.manager.store import Store
from usp.manager.store.rows import Factor, Role, User
from usp.secret import Secret

LATER = NOW + timedelta(hours=1)
ANN = User("u1", "ann", Role.ADMIN, None, NOW, NOW)
BOB = User("u2", "bob", Role.ADMIN, None, NOW, NOW)
FACTOR = Factor("u1", Secret("JBSWY3DPEHPK3PXP"), NOW)
DIGESTS = ["a" * 64, "b" * 64]


async def test_a_factor_comes_back_as_it_was(store: Store, opened: OpenStore) -> None:
    await store.users.add(ANN)
    assert await store.factors.get("u1") is None
    await store.factors.put(FACTOR)
    other = await opened()
    assert await other.factors.get("u1") == FACTOR
    assert await other.factors.confirmed() == frozenset()
    second = Factor("u1", Secret("another"), LATER)
    await other.factors.put(second)
    assert await store.factors.get("u1") == second
    assert await store.factors.confirm("u1", 5, LATER)
    assert not await other.factors.confirm("u1", 6, LATER)
    await other.factors.put_codes("u1", DIGESTS)
    assert await store.factors.get("u1") == Factor("u1", Secret("another"), LATER, LATER, 5, 2)
    assert await store.factors.confirmed() == {"u1"}
    assert not await store.factors.confirm("u2", 1, LATER)


async def test_a_step_and_a_code_are_taken_once(store: Store, opened: OpenStore) -> None:
    for user in (ANN, BOB):
        await store.users.add(user)
        await store.factors.put(Factor(user.id, Secret("x"), NOW, NOW, 7))
        await store.factors.put_codes(user.id, DIGESTS)
    other = await opened()
    assert not await store.factors.use_step("u1", 7)
    took = await asyncio.gather(*(each.factors.use_step("u1", 8) for each in (store, other, store, other)))
    assert sorted(took) == [False, False, False, True]
    assert not await store.factors.use_step("u1", 6)
    assert await other.factors.use_step("u2", 8)
    took = await asyncio.gather(*(each.factors.use_code("u1", "a" * 64) for each in (store, other, store, other)))
    assert sorted(took) == [False, False, False, True]
    assert await store.factors.use_code("u2", "a" * 64)
    assert not await store.factors.use_code("u1", "c" * 64)


async def test_it_goes_alone_and_with_its_user(store: Store) -> None:
    for user in (ANN, BOB):
        await store.users.add(user)
        await store.factors.put(Factor(user.id, Secret("x"), NOW, NOW))
        await store.factors.put_codes(user.id, DIGESTS)
    assert await store.factors.delete("u1")
    assert not await store.factors.delete("u1")
    await store.users.delete("u2")
    for id in ("u1", "u2"):
        assert await store.factors.get(id) is None
        assert not await store.factors.use_code(id, "a" * 64)
