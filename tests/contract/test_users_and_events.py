"""Administrators, tokens, logins, and the audit trail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.catalogs import NOW
from tests.contract.conftest import OpenStore
from usp.errors import UspError
from usp.manager.store import Store
from usp.manager.store.rows import Event, Login, Role, Token, User

LATER = NOW + timedelta(hours=1)
ANN = User("u1", "ann", Role.ADMIN, "$argon2id$...", NOW, NOW)
BOB = User("u2", "bob", Role.READ_ONLY, None, NOW, NOW, "Bob B.", "bob@example.org", False, 2, LATER)
TOKEN = Token("t1", "ci", "u1", "a" * 64, Role.READ_ONLY, NOW, LATER)
LOGIN = Login("l1", "u1", "b" * 64, "192.0.2.1", NOW, NOW, LATER)


async def code(call: object) -> str:
    with pytest.raises(UspError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def test_users_come_back_as_they_were(store: Store, opened: OpenStore) -> None:
    await store.users.add(BOB)
    await store.users.add(ANN)
    other = await opened()
    assert await other.users.all() == [ANN, BOB]
    assert await other.users.find("bob") == BOB
    assert await other.users.find("cat") is None
    assert await other.users.get("u1") == ANN


async def test_user_names_are_unique(store: Store) -> None:
    await store.users.add(ANN)
    await store.users.add(BOB)
    assert await code(store.users.add(replace(ANN, id="u3"))) == "user.exists"
    assert await code(store.users.update(replace(BOB, name="ann"))) == "user.exists"


async def test_updating_and_deleting_a_user(store: Store) -> None:
    await store.users.add(ANN)
    await store.users.add_token(TOKEN)
    await store.users.add_login(LOGIN)
    changed = replace(ANN, full_name="Ann", role=Role.READ_ONLY, updated_at=LATER)
    await store.users.update(changed)
    assert await store.users.get("u1") == changed
    await store.users.delete("u1")
    assert await store.users.find_token(TOKEN.digest) is None
    assert await store.users.find_login(LOGIN.digest) is None
    for call in (store.users.get("u1"), store.users.update(ANN), store.users.delete("u1")):
        assert await code(call) == "user.not_found"


async def test_failures_are_counted_by_all_managers(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(2)]
    await stores[0].users.add(ANN)
    counts = await asyncio.gather(*[store.users.login_failed("u1", locked_until=LATER) for store in stores * 3])
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert (await stores[0].users.get("u1")).locked_until == LATER
    await stores[1].users.login_succeeded("u1")
    assert await stores[0].users.get("u1") == ANN
    assert await stores[0].users.login_failed("nobody", locked_until=None) == 0


async def test_tokens(store: Store) -> None:
    await store.users.add(ANN)
    await store.users.add(BOB)
    mine, his = TOKEN, Token("t2", "backup", "u2", "c" * 64, Role.ADMIN, NOW)
    await store.users.add_token(mine)
    await store.users.add_token(his)
    assert await code(store.users.add_token(replace(mine, id="t3", digest="d" * 64))) == "token.exists"
    assert await store.users.tokens() == [his, mine]
    assert await store.users.tokens("u1") == [mine]
    assert await store.users.find_token(mine.digest) == (mine, ANN)
    assert await store.users.find_token("e" * 64) is None
    await store.users.token_used("t1", at=LATER)
    assert await store.users.tokens("u1") == [replace(mine, used_at=LATER)]
    assert await store.users.delete_token("t1")
    assert not await store.users.delete_token("t1")


async def test_logins(store: Store) -> None:
    await store.users.add(ANN)
    await store.users.add_login(LOGIN)
    assert await code(store.users.add_login(replace(LOGIN, id="l2", user_id="gone"))) == "user.not_found"
    await store.users.login_used("l1", at=LATER)
    assert await store.users.find_login(LOGIN.digest) == (replace(LOGIN, used_at=LATER), ANN)
    assert await store.users.find_login("e" * 64) is None
    assert await store.users.delete_login("l1")
    assert not await store.users.delete_login("l1")


async def test_logins_end_by_user_or_by_time(store: Store) -> None:
    await store.users.add(ANN)
    short, long = replace(LOGIN, expires_at=NOW), replace(LOGIN, id="l2", digest="c" * 64)
    for login in (short, long):
        await store.users.add_login(login)
    assert await store.users.end_logins(expired_at=NOW) == 1
    assert await store.users.end_logins(user_id="u2") == 0
    assert await store.users.end_logins(user_id="u1") == 1


async def test_events_page_and_stream(store: Store) -> None:
    full = Event(NOW, "ann", "item.update", "rules/x", "192.0.2.1", {"fields": ["name"]})
    for event in (full, Event(NOW, "", "login.failed"), Event(LATER, "ann", "login_odd")):
        await store.events.add(event)
    page = await store.events.page()
    assert [event.action for event in page] == ["login_odd", "login.failed", "item.update"]
    assert page[2] == replace(full, number=page[2].number)
    assert page[1] == Event(NOW, "", "login.failed", number=page[1].number)
    assert page[0].number > page[1].number > page[2].number
    assert await store.events.page(before=page[0].number, limit=1) == [page[1]]
    assert await store.events.page(action="login.") == [page[1]]
    assert await store.events.since(page[2].number) == [page[1], page[0]]
    assert await store.events.since(0, limit=1) == [page[2]]
