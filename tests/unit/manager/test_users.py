"""Administrators: passwords, logins and tokens, over a real store and a clock that a test moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.unit.manager.site import PASSWORD, Clock, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.users import LOGIN_PREFIX, MAX_PASSWORD, TOKEN_PREFIX, Actor, Administrators
from usp.passwords import Passwords


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock) as found:
        await found.administrators.add("admin", Role.ADMIN, PASSWORD, author="test")
        await found.administrators.add("reader", Role.READ_ONLY, PASSWORD, author="test")
        yield found


@pytest.fixture
def people(app: App) -> Administrators:
    return app.administrators


async def refused(people: Administrators, bearer: str) -> None:
    with pytest.raises(UspError) as caught:
        await people.authenticate(bearer, "192.0.2.1")
    assert caught.value.code == "auth.invalid"
    assert bearer not in str(caught.value)


async def actions(app: App) -> list[tuple[str, str, str]]:
    return [(event.author, event.action, event.target) for event in await app.store.events.page()]


async def test_a_login(app: App, people: Administrators, tmp_path: Path) -> None:
    bearer, login, user = await people.login("admin", PASSWORD, "192.0.2.1")
    assert bearer.startswith(LOGIN_PREFIX)
    assert len(bearer) == len(LOGIN_PREFIX) + 43, "256 bits"
    actor = await people.authenticate(bearer, "192.0.2.9")
    assert actor == Actor("admin", Role.ADMIN, "192.0.2.9", user.id, login.id)
    assert (await actions(app))[0] == ("admin", "login.succeeded", "admin")
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("usp.db*"))  # noqa: ASYNC240
    assert bearer.encode() not in stored
    assert PASSWORD.encode() not in stored
    await people.logout(actor)
    await refused(people, bearer)
    assert (await actions(app))[0] == ("admin", "logout", "admin")


@pytest.mark.parametrize(
    ("name", "password"),
    [("admin", "wrong"), ("admin", ""), ("nobody", PASSWORD), ("tokens-only", PASSWORD), ("tokens-only", "")],
)
async def test_a_refused_login_says_nothing(app: App, people: Administrators, name: str, password: str) -> None:
    await people.add("tokens-only", Role.ADMIN, None, author="test")
    with pytest.raises(UspError) as caught:
        await people.login(name, password, "192.0.2.1")
    assert str(caught.value) == "wrong user name or password, or token not valid"
    assert (await actions(app))[0] == (name, "login.failed", name)


async def test_failures_are_counted_until_a_success(people: Administrators) -> None:
    for _ in range(2):
        with pytest.raises(UspError):
            await people.login("admin", "wrong", "")
    assert (await people.find("admin")).failures == 2
    await people.login("admin", PASSWORD, "")
    assert (await people.find("admin")).failures == 0


async def test_a_login_ends_when_it_is_idle(people: Administrators, clock: Clock) -> None:
    bearer, _, _ = await people.login("admin", PASSWORD, "")
    for _ in range(5):
        clock.move(90)
        await people.authenticate(bearer, "")
    clock.move(101)
    await refused(people, bearer)
    clock.move(-101)
    await refused(people, bearer)


async def test_a_login_ends_in_any_case(people: Administrators, clock: Clock) -> None:
    bearer, _, _ = await people.login("admin", PASSWORD, "")
    for _ in range(11):
        clock.move(90)
        await people.authenticate(bearer, "")
    clock.move(20)
    await refused(people, bearer)


async def test_a_new_password_ends_logins(app: App, people: Administrators) -> None:
    bearer, _, _ = await people.login("admin", PASSWORD, "")
    await people.set_password("admin", "another password", author="test")
    await refused(people, bearer)
    with pytest.raises(UspError):
        await people.login("admin", PASSWORD, "")
    await people.login("admin", "another password", "")
    assert ("test", "user.password", "admin") in await actions(app)


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


async def test_a_token(app: App, people: Administrators, clock: Clock) -> None:
    admin = await people.find("admin")
    token, bearer = await people.add_token("ci", admin, author="test")
    assert bearer.startswith(TOKEN_PREFIX)
    assert (await people.authenticate(bearer, "")).role is Role.ADMIN
    (used,) = await app.store.users.tokens()
    assert used.used_at is not None
    clock.move(30)
    await people.authenticate(bearer, "")
    assert (await app.store.users.tokens())[0].used_at == used.used_at, "not a write for every request"
    clock.move(60)
    await people.authenticate(bearer, "")
    assert (await app.store.users.tokens())[0].used_at != used.used_at
    assert token.digest not in repr(token)
    await people.logout(await people.authenticate(bearer, ""))
    await people.authenticate(bearer, "")


async def test_a_token_expires(people: Administrators, clock: Clock) -> None:
    admin = await people.find("admin")
    _, bearer = await people.add_token("ci", admin, author="test", expires_at=clock() + timedelta(seconds=10))
    await people.authenticate(bearer, "")
    clock.move(11)
    await refused(people, bearer)


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
    people: Administrators, user: str, asked: Role | None, given: Role
) -> None:
    _, bearer = await people.add_token("t", await people.find(user), author="test", role=asked)
    assert (await people.authenticate(bearer, "")).role is given


async def test_who_may_delete_a_token(people: Administrators) -> None:
    admin, reader = await people.find("admin"), await people.find("reader")
    token, bearer = await people.add_token("t", admin, author="test")
    with pytest.raises(UspError) as caught:
        await people.delete_token(Actor("reader", Role.READ_ONLY, user_id=reader.id), token.id)
    assert caught.value.code == "token.not_found"
    own, _ = await people.add_token("own", reader, author="test")
    await people.delete_token(Actor("reader", Role.READ_ONLY, user_id=reader.id), own.id)
    await people.delete_token(Actor("admin", Role.ADMIN, user_id=admin.id), token.id)
    await refused(people, bearer)


async def test_a_disabled_user_is_nobody(app: App, people: Administrators) -> None:
    admin = await people.find("admin")
    login, _, _ = await people.login("admin", PASSWORD, "")
    _, token = await people.add_token("t", admin, author="test")
    await app.store.users.update(replace(admin, enabled=False))
    await refused(people, login)
    await refused(people, token)
    with pytest.raises(UspError):
        await people.login("admin", PASSWORD, "")


async def test_a_token_of_a_user_who_was_demoted(app: App, people: Administrators) -> None:
    admin = await people.find("admin")
    _, token = await people.add_token("t", admin, author="test")
    await app.store.users.update(replace(admin, role=Role.READ_ONLY))
    assert (await people.authenticate(token, "")).role is Role.READ_ONLY


@pytest.mark.parametrize("bearer", ["", "x", "usp_x", "ust_x", "usp_" + "x" * 10_000, "ust_\udcff"[:4]])
async def test_what_is_no_token(people: Administrators, bearer: str) -> None:
    with pytest.raises(UspError):
        await people.authenticate(bearer, "")


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
