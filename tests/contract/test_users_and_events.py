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
BOB = User("u2", "bob", Role.READ_ONLY, None, NOW, NOW, "Bob B.", "bob@example.org", False)
CAT = User("u3", "cat", Role.ADMIN, None, NOW, NOW)
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


async def test_changing_and_deleting_a_user(store: Store) -> None:
    await store.users.add(ANN)
    await store.users.add(CAT)
    await store.users.add_token(TOKEN)
    await store.users.add_login(LOGIN)
    changed = replace(ANN, full_name="Ann", role=Role.READ_ONLY, updated_at=LATER)
    values = {"full_name": "Ann", "role": Role.READ_ONLY, "updated_at": LATER}
    assert await store.users.change("u1", values) == changed == await store.users.get("u1")
    await store.users.delete("u1")
    assert await store.users.find_token(TOKEN.digest) is None
    assert await store.users.find_login(LOGIN.digest) is None
    for call in (store.users.get("u1"), store.users.change("u1", {"enabled": True}), store.users.delete("u1")):
        assert await code(call) == "user.not_found"


@pytest.mark.parametrize("values", [{"role": Role.READ_ONLY}, {"enabled": False}, None])
async def test_somebody_administers(opened: OpenStore, values: dict[str, object] | None) -> None:
    """However many take each other's rights at once: the last one keeps them."""
    stores = [await opened() for _ in range(2)]
    for user in (ANN, BOB, CAT):
        await stores[0].users.add(user)

    async def demote(store: Store, id: str) -> None:
        await (store.users.delete(id) if values is None else store.users.change(id, values))

    done = await asyncio.gather(demote(stores[0], "u1"), demote(stores[1], "u3"), return_exceptions=True)
    (refused,) = [error for error in done if isinstance(error, UspError)]
    assert refused.code == "user.last_admin"
    left = [user for user in await stores[0].users.all() if user.enabled and user.role is Role.ADMIN]
    assert len(left) == 1
    assert (await stores[0].users.change(left[0].id, {"full_name": "Last"})).full_name == "Last"


async def test_users_without_an_administrator_can_change(store: Store) -> None:
    await store.users.add(BOB)
    assert (await store.users.change("u2", {"enabled": True})).enabled
    await store.users.delete("u2")


def penalty(subject: str, failures: int) -> timedelta | None:
    return timedelta(minutes=failures) if failures >= 3 else None


async def test_failures_are_counted_by_all_managers(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(2)]
    done = await asyncio.gather(
        *[store.lockouts.count(["user:ann", "address:x"], penalty, now=NOW) for store in stores * 3],
        return_exceptions=True,
    )
    counted = [found for found in done if isinstance(found, list)]
    assert sorted(found[0].failures for found in counted) == [1, 2, 3], "those at once do not slip in between"
    refused = [error for error in done if isinstance(error, UspError)]
    assert [(error.code, error.facts["retry_after"]) for error in refused] == [("auth.locked", 180)] * 3
    assert [found.failures for found in await stores[0].lockouts.all()] == [3, 3]
    with pytest.raises(UspError):
        await stores[0].lockouts.count(["user:bob", "address:x"], penalty, now=NOW + timedelta(seconds=179))
    after = await stores[1].lockouts.count(["user:ann"], penalty, now=NOW + timedelta(seconds=180))
    assert (after[0].failures, after[0].locked_until) == (4, NOW + timedelta(seconds=180 + 240))


async def test_what_is_given_back_and_forgotten(store: Store) -> None:
    for _ in range(3):
        await store.lockouts.count(["user:ann"], penalty, now=NOW)
    await store.lockouts.give_back("user:ann", penalty)
    (left,) = await store.lockouts.all()
    assert (left.failures, left.locked_until) == (2, None)
    assert await store.lockouts.forget("user:ann")
    assert not await store.lockouts.forget("user:ann")
    await store.lockouts.give_back("user:ann", penalty)
    await store.lockouts.count(["user:ann"], penalty, now=NOW)
    await store.lockouts.give_back("user:ann", penalty)
    assert await store.lockouts.all() == []


async def test_what_others_earned_is_not_given_back(store: Store) -> None:
    far = NOW + timedelta(minutes=30)
    for turn in range(4):
        await store.lockouts.count(["address:x"], penalty, now=NOW + turn * timedelta(minutes=10))
    await store.lockouts.give_back("address:x", penalty)
    (left,) = await store.lockouts.all()
    assert (left.failures, left.locked_until) == (3, far + timedelta(minutes=4))


async def test_failures_are_forgotten_in_time(store: Store) -> None:
    await store.lockouts.count(["user:ann"], penalty, now=NOW)
    (again,) = await store.lockouts.count(["user:ann"], penalty, now=NOW + timedelta(hours=23))
    assert again.failures == 2
    await store.lockouts.count(["user:bob"], penalty, now=NOW + timedelta(hours=48))
    assert [found.subject for found in await store.lockouts.all()] == ["user:bob"]


async def test_a_clock_set_back_locks_nobody_out_for_longer(store: Store) -> None:
    for _ in range(3):
        await store.lockouts.count(["user:ann"], penalty, now=LATER)
    assert (await store.lockouts.count(["user:ann"], penalty, now=NOW))[0].failures == 4


async def test_preferences(store: Store, opened: OpenStore) -> None:
    assert await store.preferences.get("x") is None
    await store.preferences.put("x", {"a": [1]}, author="ann", at=NOW)
    await store.preferences.put("x", "b", author="bob", at=NOW)
    assert await (await opened()).preferences.get("x") == "b"
    await store.preferences.put("x", None, author="bob", at=NOW)
    assert await store.preferences.get("x") is None


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
    assert await store.users.end_logins(user_id="u1", but="l2") == 0
    assert await store.users.logins() == [(long, ANN)] == await store.users.logins("u1")
    assert await store.users.logins("u2") == []
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
    assert await store.events.since(page[2].number) == ([page[1], page[0]], page[0].number)
    assert await store.events.since(0, limit=1) == ([page[2]], page[2].number)
    assert await store.events.since(0, action="login.") == ([page[1]], page[0].number)
    assert await store.events.since(page[0].number) == ([], page[0].number)
    assert await store.events.page(after=page[2].number) == [page[1], page[0]]


async def test_a_tally_of_what_partners_did(store: Store) -> None:
    def event(author: str, outcome: str, minute: int, server: str = "s", action: str = "login") -> Event:
        at = NOW + timedelta(minutes=minute)
        return Event(at=at, author=author, action=action, server=server, outcome=outcome)

    await store.events.add(
        event("a", "ok", 1),
        event("a", "ok", 2),
        event("a", "failed", 2),
        event("", "failed", 3),
        event("b", "ok", 0),
        event("admin", "ok", 2, server=""),
        event("a", "ok", 2, action="session.ended"),
    )
    found = await store.events.tally("login", since=NOW + timedelta(minutes=1))
    assert sorted(found) == [("", "failed", 1), ("a", "failed", 1), ("a", "ok", 2)]
