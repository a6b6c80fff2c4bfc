"""Administrators and their tokens, over a real store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.unit.manager.site import PASSWORD, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.policy import MAX_PASSWORD
from usp.manager.store.rows import Role
from usp.manager.users import Actor, Administrators
from usp.passwords import Passwords


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as found:
        await found.administrators.add("admin", Role.ADMIN, PASSWORD, author="test")
        await found.administrators.add("reader", Role.READ_ONLY, PASSWORD, author="test")
        yield found


@pytest.fixture
def people(app: App) -> Administrators:
    return app.administrators


async def acting(people: Administrators, name: str) -> Actor:
    user = await people.find(name)
    return Actor(user.name, user.role, "192.0.2.9", user.id)


@pytest.mark.parametrize("password", ["Password-2026!", "admin-admin", "123456789012"])
async def test_passwords_that_are_tried_first(people: Administrators, password: str) -> None:
    with pytest.raises(UspError) as caught:
        await people.add("admins", Role.ADMIN, password, author="test")
    assert [problem.loc for problem in caught.value.problems] == [("password",)]
    assert password not in str(caught.value)


@pytest.mark.parametrize("password", ["", "short", "x" * (MAX_PASSWORD + 1)])
async def test_passwords_have_a_length(people: Administrators, password: str) -> None:
    with pytest.raises(UspError) as caught:
        await people.add("new", Role.ADMIN, password, author="test")
    assert [problem.loc for problem in caught.value.problems] == [("password",)]
    with pytest.raises(UspError):
        await people.set_password("admin", password, author="test")


async def test_names_are_taken_once(people: Administrators) -> None:
    with pytest.raises(UspError) as caught:
        await people.add("admin", Role.READ_ONLY, None, author="test")
    assert caught.value.code == "user.exists"
    with pytest.raises(UspError) as caught:
        await people.find("nobody")
    assert caught.value.code == "user.not_found"


@pytest.mark.parametrize(
    ("user", "asked", "given"),
    [
        ("admin", None, Role.ADMIN),
        ("admin", Role.READ_ONLY, Role.READ_ONLY),
        ("reader", None, Role.READ_ONLY),
        ("reader", Role.ADMIN, Role.READ_ONLY),
    ],
)
async def test_a_token_may_do_less_but_never_more(
    app: App, people: Administrators, user: str, asked: Role | None, given: Role
) -> None:
    _, bearer = await people.add_token("t", await people.find(user), author="test", role=asked)
    assert (await app.logins.authenticate(bearer, "")).role is given


async def test_who_may_delete_a_token(app: App, people: Administrators) -> None:
    admin, reader = await people.find("admin"), await people.find("reader")
    token, bearer = await people.add_token("t", admin, author="test")
    with pytest.raises(UspError) as caught:
        await people.delete_token(Actor("reader", Role.READ_ONLY, user_id=reader.id), token.id)
    assert caught.value.code == "token.not_found"
    own, _ = await people.add_token("own", reader, author="test")
    await people.delete_token(Actor("reader", Role.READ_ONLY, user_id=reader.id), own.id)
    await people.delete_token(Actor("admin", Role.ADMIN, user_id=admin.id), token.id)
    with pytest.raises(UspError):
        await app.logins.authenticate(bearer, "")


def test_roles() -> None:
    Actor("a", Role.ADMIN).require(Role.ADMIN)
    Actor("r", Role.READ_ONLY).require(Role.READ_ONLY)
    Actor("a", Role.ADMIN).require(Role.READ_ONLY)
    with pytest.raises(UspError) as caught:
        Actor("r", Role.READ_ONLY).require(Role.ADMIN)
    assert caught.value.code == "auth.forbidden"


async def test_hashing_is_done_by_two_threads_at_most() -> None:
    seen: set[str] = set()

    class Hasher(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            seen.add(threading.current_thread().name)
            return super().hash(password, salt=salt)

    passwords = Passwords(Hasher(time_cost=1, memory_cost=8, parallelism=1))
    seen.clear()  # the dummy
    hashes = await asyncio.gather(*(passwords.hash("x") for _ in range(50)))
    assert len(set(hashes)) == 50
    assert len(seen) <= 2
    assert threading.current_thread().name not in seen
    assert await passwords.verify(hashes[0], "x")
    assert not await passwords.verify(hashes[0], "y")
    assert not await passwords.verify("not a hash", "x")
    assert not await passwords.verify(None, "x")
    passwords.close()


async def test_an_administrator_changes_a_user(app: App, people: Administrators) -> None:
    admin = await acting(people, "admin")
    bearer, _, reader = await app.logins.login("reader", PASSWORD, "")
    values = {"full_name": "R. Eader", "email": "r@example.org", "role": Role.ADMIN}
    changed = await people.change(admin, "reader", values)
    assert (changed.full_name, changed.email, changed.role) == ("R. Eader", "r@example.org", Role.ADMIN)
    assert (await app.logins.authenticate(bearer, "")).role is Role.ADMIN
    event = (await app.store.events.page())[0]
    assert (event.author, event.action, event.target, event.peer) == ("admin", "user.update", "reader", "192.0.2.9")
    assert event.detail == {"fields": ["email", "full_name", "role"]}
    await people.change(admin, reader.id, {"password": "another password"})
    with pytest.raises(UspError):
        await app.logins.authenticate(bearer, "")
    bearer, _, _ = await app.logins.login("reader", "another password", "")
    await people.change(admin, "reader", {"enabled": False})
    await people.change(admin, "reader", {"enabled": True})
    with pytest.raises(UspError):
        await app.logins.authenticate(bearer, "")
    assert (await people.change(admin, "reader", {"password": None})).password_hash is None
    with pytest.raises(UspError):
        await app.logins.login("reader", "another password", "")


async def test_others_change_their_name_and_address_only(people: Administrators) -> None:
    reader = await acting(people, "reader")
    assert (await people.change(reader, "reader", {"full_name": "R", "email": ""})).full_name == "R"
    for key, values in (
        ("reader", {"role": Role.ADMIN}),
        ("reader", {"full_name": "R", "enabled": False}),
        ("reader", {"password": "another password"}),
        ("admin", {"full_name": "A"}),
    ):
        with pytest.raises(UspError) as caught:
            await people.change(reader, key, values)
        assert caught.value.code == "auth.forbidden"
    with pytest.raises(UspError) as caught:
        await people.delete(reader, "reader")
    assert caught.value.code == "auth.forbidden"


async def test_the_last_administrator_stays(app: App, people: Administrators) -> None:
    admin = await acting(people, "admin")
    for call in (
        people.delete(admin, "admin"),
        people.change(admin, "admin", {"enabled": False}),
        people.change(admin, "admin", {"role": Role.READ_ONLY}),
    ):
        with pytest.raises(UspError) as caught:
            await call
        assert caught.value.code == "user.last_admin"
    await people.delete(admin, "reader")
    assert [user.name for user in await app.store.users.all()] == ["admin"]
    await people.add("second", Role.ADMIN, None, author="admin")
    await people.delete(admin, "admin")


async def test_a_bounded_queue() -> None:
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), queue=3)
    found = await asyncio.gather(*(passwords.verify(None, "x") for _ in range(20)), return_exceptions=True)
    assert found.count(False) == 3
    refused = [error for error in found if isinstance(error, UspError)]
    assert len(refused) == 17
    assert {error.code for error in refused} == {"auth.busy"}
    assert not await passwords.verify(None, "x")
    passwords.close()
