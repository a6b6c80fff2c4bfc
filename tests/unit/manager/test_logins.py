"""Logging in and what keeps guessers out, over a real store and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.unit.manager.site import PASSWORD, READER, Clock, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.logins import LOGIN_PREFIX, Logins
from usp.manager.store.rows import Role
from usp.manager.users import TOKEN_PREFIX, Actor, Administrators

BOSS = Actor("boss", Role.ADMIN, "192.0.2.77")
ELSEWHERE = "198.51.100.7"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock) as found:
        await found.administrators.add("admin", Role.ADMIN, PASSWORD, author="test")
        await found.administrators.add("boss", Role.ADMIN, None, author="test")
        await found.administrators.add("reader", Role.READ_ONLY, PASSWORD, author="test")
        yield found


@pytest.fixture
def people(app: App) -> Administrators:
    return app.administrators


@pytest.fixture
def logins(app: App) -> Logins:
    return app.logins


async def refused(logins: Logins, bearer: str) -> None:
    with pytest.raises(UspError) as caught:
        await logins.authenticate(bearer, "192.0.2.1")
    assert caught.value.code == "auth.invalid"
    assert bearer not in str(caught.value)


async def actions(app: App) -> list[tuple[str, str, str]]:
    return [(event.author, event.action, event.target) for event in await app.store.events.page()]


async def test_a_login(app: App, logins: Logins, tmp_path: Path) -> None:
    bearer, login, user = await logins.login("admin", PASSWORD, "192.0.2.1")
    assert bearer.startswith(LOGIN_PREFIX)
    assert len(bearer) == len(LOGIN_PREFIX) + 43, "256 bits"
    actor = await logins.authenticate(bearer, "192.0.2.9")
    assert actor == Actor("admin", Role.ADMIN, "192.0.2.9", user.id, login.id)
    assert (await actions(app))[0] == ("admin", "login.succeeded", "admin")
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("usp.db*"))  # noqa: ASYNC240
    assert bearer.encode() not in stored
    assert PASSWORD.encode() not in stored
    await logins.logout(actor)
    await refused(logins, bearer)
    assert (await actions(app))[0] == ("admin", "logout", "admin")


@pytest.mark.parametrize(
    ("name", "password"),
    [("admin", "wrong"), ("admin", ""), ("nobody", PASSWORD), ("tokens-only", PASSWORD), ("tokens-only", "")],
)
async def test_a_refused_login_says_nothing(
    app: App, people: Administrators, logins: Logins, name: str, password: str
) -> None:
    await people.add("tokens-only", Role.ADMIN, None, author="test")
    with pytest.raises(UspError) as caught:
        await logins.login(name, password, "192.0.2.1")
    assert str(caught.value) == "wrong user name or password, or token not valid"
    assert (await actions(app))[0] == (name, "login.failed", name)


async def test_a_login_ends_when_it_is_idle(logins: Logins, clock: Clock) -> None:
    bearer, _, _ = await logins.login("admin", PASSWORD, "")
    for _ in range(5):
        clock.move(90)
        await logins.authenticate(bearer, "")
    clock.move(101)
    await refused(logins, bearer)
    clock.move(-101)
    await refused(logins, bearer)


async def test_a_login_ends_in_any_case(logins: Logins, clock: Clock) -> None:
    bearer, _, _ = await logins.login("admin", PASSWORD, "")
    for _ in range(11):
        clock.move(90)
        await logins.authenticate(bearer, "")
    clock.move(20)
    await refused(logins, bearer)


async def test_a_new_password_ends_logins(app: App, people: Administrators, logins: Logins) -> None:
    bearer, _, _ = await logins.login("admin", PASSWORD, "")
    await people.set_password("admin", "another password", author="test")
    await refused(logins, bearer)
    with pytest.raises(UspError):
        await logins.login("admin", PASSWORD, "")
    await logins.login("admin", "another password", "")
    assert ("test", "user.password", "admin") in await actions(app)


async def test_a_token(app: App, people: Administrators, logins: Logins, clock: Clock) -> None:
    admin = await people.find("admin")
    token, bearer = await people.add_token("ci", admin, author="test")
    assert bearer.startswith(TOKEN_PREFIX)
    assert (await logins.authenticate(bearer, "")).role is Role.ADMIN
    (used,) = await app.store.users.tokens()
    assert used.used_at is not None
    clock.move(30)
    await logins.authenticate(bearer, "")
    assert (await app.store.users.tokens())[0].used_at == used.used_at, "not a write for every request"
    clock.move(60)
    await logins.authenticate(bearer, "")
    assert (await app.store.users.tokens())[0].used_at != used.used_at
    assert token.digest not in repr(token)
    await logins.logout(await logins.authenticate(bearer, ""))
    await logins.authenticate(bearer, "")


async def test_a_token_expires(people: Administrators, logins: Logins, clock: Clock) -> None:
    admin = await people.find("admin")
    _, bearer = await people.add_token("ci", admin, author="test", expires_at=clock() + timedelta(seconds=10))
    await logins.authenticate(bearer, "")
    clock.move(11)
    await refused(logins, bearer)


async def test_a_disabled_user_is_nobody(app: App, people: Administrators, logins: Logins) -> None:
    admin = await people.find("admin")
    login, _, _ = await logins.login("admin", PASSWORD, "")
    _, token = await people.add_token("t", admin, author="test")
    await people.change(BOSS, "admin", {"enabled": False})
    await refused(logins, login)
    await refused(logins, token)
    with pytest.raises(UspError):
        await logins.login("admin", PASSWORD, "")


async def test_a_token_of_a_user_who_was_demoted(app: App, people: Administrators, logins: Logins) -> None:
    admin = await people.find("admin")
    _, token = await people.add_token("t", admin, author="test")
    await people.change(BOSS, "admin", {"role": Role.READ_ONLY})
    assert (await logins.authenticate(token, "")).role is Role.READ_ONLY


@pytest.mark.parametrize("bearer", ["", "x", "usp_x", "ust_x", "usp_" + "x" * 10_000, "ust_\udcff"[:4]])
async def test_what_is_no_token(logins: Logins, bearer: str) -> None:
    with pytest.raises(UspError):
        await logins.authenticate(bearer, "")


async def fail(logins: Logins, name: str, peer: str = "192.0.2.1", password: str = "wrong") -> UspError:
    with pytest.raises(UspError) as caught:
        await logins.login(name, password, peer)
    return caught.value


@pytest.mark.parametrize("name", ["admin", "nobody"])
async def test_who_fails_too_often_waits_longer_and_longer(
    app: App, people: Administrators, logins: Logins, clock: Clock, name: str
) -> None:
    """The same for a name that nobody has, and from wherever it is tried."""
    for _ in range(5):
        assert (await fail(logins, name)).code == "auth.invalid"
    event = (await app.store.events.page())[0]
    assert (event.action, event.peer, list(event.detail)) == ("login.failed", "192.0.2.1", ["locked_until"])
    seen = len(await app.store.events.page())
    locked = await fail(logins, name, ELSEWHERE, PASSWORD)
    assert locked.code == "auth.locked"
    assert 29 <= int(str(locked.facts["retry_after"])) <= 30
    assert len(await app.store.events.page()) == seen, "a storm of those who wait fills no database"
    clock.move(31)
    assert (await fail(logins, name)).code == "auth.invalid"
    assert 59 <= int(str((await fail(logins, name)).facts["retry_after"])) <= 60
    for _ in range(8):
        clock.move(900)
        assert (await fail(logins, name)).code == "auth.invalid"
    assert 899 <= int(str((await fail(logins, name)).facts["retry_after"])) <= 900


async def test_a_success_forgets_the_failures_of_the_user(app: App, logins: Logins, clock: Clock) -> None:
    for _ in range(4):
        await fail(logins, "admin")
    await logins.login("admin", PASSWORD, "192.0.2.1")
    (left,) = await app.store.lockouts.all()
    assert (left.subject, left.failures) == ("address:192.0.2.1", 4), "or who has one login could guess another's"
    for _ in range(4):
        assert (await fail(logins, "admin")).code == "auth.invalid"
    await logins.login("admin", PASSWORD, "192.0.2.1")


async def test_an_address_that_tries_many_names_waits(app: App, logins: Logins) -> None:
    for number in range(20):
        assert (await fail(logins, f"user-{number}", f"2001:db8::{number}")).code == "auth.invalid"
    assert (await fail(logins, "admin", "2001:db8::ffff", PASSWORD)).code == "auth.locked"
    await logins.login("admin", PASSWORD, "2001:db8:0:1::1")


async def test_guesses_at_once_do_not_slip_through(logins: Logins) -> None:
    errors = await asyncio.gather(*(fail(logins, "admin", f"192.0.2.{number}") for number in range(12)))
    assert sorted(error.code for error in errors) == ["auth.invalid"] * 5 + ["auth.locked"] * 7


async def test_a_lockout_holds_over_managers_and_restarts(
    app: App, logins: Logins, clock: Clock, tmp_path: Path
) -> None:
    for _ in range(5):
        await fail(logins, "admin")
    async with opened(tmp_path, clock) as other:
        assert (await fail(other.logins, "admin", ELSEWHERE, PASSWORD)).code == "auth.locked"


async def test_an_administrator_releases(app: App, people: Administrators, logins: Logins) -> None:
    for _ in range(5):
        await fail(logins, "admin")
    listed = await logins.lockouts(BOSS)
    assert {(each.subject, each.failures) for each in listed} == {("user:admin", 5), ("address:192.0.2.1", 5)}
    await logins.release(BOSS, "user:admin")
    await logins.login("admin", PASSWORD, "192.0.2.1")
    with pytest.raises(UspError) as caught:
        await logins.release(BOSS, "user:admin")
    assert caught.value.code == "lockout.not_found"
    for call in (logins.lockouts(READER), logins.release(READER, "address:192.0.2.1")):
        with pytest.raises(UspError) as caught:
            await call
        assert caught.value.code == "auth.forbidden"
    for _ in range(5):
        await fail(logins, "admin")
    await people.set_password("admin", "another password", author="test")
    await logins.login("admin", "another password", "192.0.2.1")


async def test_too_many_at_once_are_refused_and_not_counted(
    app: App, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.administrators.passwords, "_queue", 0)
    busy = await fail(logins, "admin", password=PASSWORD)
    assert (busy.code, busy.facts["retry_after"]) == ("auth.busy", 1)
    assert await app.store.lockouts.all() == []
    monkeypatch.setattr(app.administrators.passwords, "check_queue", lambda: None)
    monkeypatch.setattr(app.administrators.passwords, "verify", _busy)
    assert (await fail(logins, "admin")).code == "auth.busy"
    assert await app.store.lockouts.all() == []


async def _busy(*_: object) -> bool:
    raise UspError("auth.busy")


async def test_what_is_no_user_name_is_not_kept(app: App, logins: Logins) -> None:
    """Such as a password that was typed into the wrong field."""
    assert (await fail(logins, "my secret passphrase!")).code == "auth.invalid"
    assert (await app.store.events.page())[0].target == "?"
    assert {each.subject for each in await app.store.lockouts.all()} == {"user:?", "address:192.0.2.1"}


async def test_ones_own_password(app: App, logins: Logins) -> None:
    bearer, _, _ = await logins.login("reader", PASSWORD, "192.0.2.1")
    other, _, _ = await logins.login("reader", PASSWORD, "192.0.2.1")
    actor = await logins.authenticate(bearer, "192.0.2.1")
    for current, new, loc in (("wrong", "another password", "current"), (PASSWORD, "short", "password")):
        with pytest.raises(UspError) as caught:
            await logins.change_password(actor, current, new)
        assert [problem.loc for problem in caught.value.problems] == [(loc,)]
    await logins.change_password(actor, PASSWORD, "another password")
    assert (await actions(app))[0] == ("reader", "user.password", "reader")
    await logins.authenticate(bearer, "")
    await refused(logins, other)
    await logins.login("reader", "another password", "")


async def test_a_stolen_login_cannot_guess_the_password(logins: Logins) -> None:
    bearer, _, _ = await logins.login("reader", PASSWORD, "192.0.2.1")
    actor = await logins.authenticate(bearer, "192.0.2.1")
    codes = []
    for number in range(6):
        with pytest.raises(UspError) as caught:
            await logins.change_password(actor, f"wrong {number}", "another password")
        codes.append(caught.value.code)
    assert codes == ["request.invalid"] * 5 + ["auth.locked"]


async def test_logins_are_listed_and_ended(app: App, logins: Logins, clock: Clock) -> None:
    mine, made, _ = await logins.login("reader", PASSWORD, "192.0.2.1")
    others, theirs, _ = await logins.login("admin", PASSWORD, "192.0.2.2")
    actor = await logins.authenticate(mine, "192.0.2.1")
    assert [login.id for login, _ in await logins.all(actor)] == [made.id]
    assert {(login.id, user.name) for login, user in await logins.all(BOSS)} == {
        (made.id, "reader"), (theirs.id, "admin")
    }  # fmt: skip
    with pytest.raises(UspError) as caught:
        await logins.end(actor, theirs.id)
    assert caught.value.code == "login.not_found"
    await logins.end(BOSS, theirs.id)
    await refused(logins, others)
    assert (await actions(app))[0] == ("boss", "login.revoke", "admin")
    await logins.end(actor, made.id)
    await refused(logins, mine)
    await logins.login("reader", PASSWORD, "192.0.2.1")
    clock.move(101)
    assert await logins.all(BOSS) == [], "those that are over are not shown"
    await logins.login("reader", PASSWORD, "192.0.2.1")
    clock.move(1001)
    await logins.login("reader", PASSWORD, "192.0.2.1")
    assert len(await app.store.users.logins()) == 1, "and do not pile up"


async def test_a_name_that_nobody_has_costs_the_same(app: App, logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same statements reach the database, and one password is hashed. (How long that takes: test_passwords.)"""
    said: list[str] = []
    fits = app.administrators.passwords._fits

    def hashing(stored: str, password: str) -> bool:
        said.append("hash")
        return fits(stored, password)

    def executing(connection: object, cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    monkeypatch.setattr(app.administrators.passwords, "_fits", hashing)
    event.listen(Engine, "before_cursor_execute", executing)
    told: dict[str, list[str]] = {}
    for name in ("admin", "nobody", "boss"):  # the last has no password
        said.clear()
        assert (await fail(logins, name, f"192.0.2.{len(told)}")).code == "auth.invalid"
        told[name] = list(said)
    event.remove(Engine, "before_cursor_execute", executing)
    assert told["admin"] == told["nobody"] == told["boss"]
    assert told["admin"].count("hash") == 1
