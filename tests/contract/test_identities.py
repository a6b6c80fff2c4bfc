"""Who of a provider's people is which user."""

from __future__ import annotations

import pytest

from tests.catalogs import NOW
from usp.errors import UspError
from usp.manager.store import Store
from usp.manager.store.rows import Role, User

ANN = User("u1", "ann", Role.ADMIN, None, NOW, NOW)
BOB = User("u2", "bob", Role.ADMIN, None, NOW, NOW)


async def test_a_person_is_one_user(store: Store) -> None:
    for user in (ANN, BOB):
        await store.users.add(user)
    assert await store.identities.user_of("https://id", "1") is None
    await store.identities.add("https://id", "1", "u1")
    await store.identities.add("https://other", "1", "u2")
    assert await store.identities.user_of("https://id", "1") == "u1"
    assert await store.identities.user_of("https://other", "1") == "u2"
    with pytest.raises(UspError) as caught:
        await store.identities.add("https://id", "1", "u2")
    assert caught.value.code == "catalog.conflict"
    await store.users.delete("u1")
    assert await store.identities.user_of("https://id", "1") is None
