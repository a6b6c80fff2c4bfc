"""The second factor of logins, over a real store and a clock that a test moves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest

from tests.unit.manager.site import PASSWORD, READER, Clock, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.logins import LOGIN_PREFIX, PROVIDED_PREFIX
from usp.manager.store.rows import Role
from usp.manager.users import Actor
from usp.settings import SecondFactor

PEER = "192.0.2.1"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def app(tmp_path: Path, clock: Clock) -> AsyncIterator[App]:
    async with opened(tmp_path, clock) as found:
        await found.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
        await found.administrators.add("bob", Role.READ_ONLY, PASSWORD, author="test")
        yield found


async def actor(app: App, name: str = "alice") -> Actor:
    user = await app.administrators.find(name)
    return Actor(user.name, user.role, PEER, user.id)


async def enrolled(app: App, clock: Clock, name: str = "alice") -> tuple[pyotp.TOTP, list[str]]:
    """The app on the phone, and the recovery codes."""
    secret, _ = await app.factors.begin(await actor(app, name), PASSWORD)
    phone = pyotp.TOTP(secret.reveal())
    codes = await app.factors.confirm(await actor(app, name), phone.at(clock()))
    clock.move(30)
    return phone, list(codes)


async def code_of(call: object) -> str:
    with pytest.raises(UspError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def log_in(app: App, code: str = "", name: str = "alice", password: str = PASSWORD) -> str:
    _, _, user = await app.logins.login(name, password, PEER, code)
    return user.name


async def test_a_factor_counts_once_it_is_confirmed(app: App, clock: Clock) -> None:
    await app.factors.begin(await actor(app), PASSWORD)
    assert await app.factors.of((await actor(app)).user_id) is None
    assert await log_in(app) == "alice"
    secret, uri = await app.factors.begin(await actor(app), PASSWORD)  # another phone, before it was confirmed
    assert secret.reveal() in uri
    assert await app.factors.enrolling(await actor(app)) == (secret, uri)
    wrong = app.factors.confirm(await actor(app), "000000" if pyotp.TOTP(secret.reveal()).now() != "000000" else "1")
    assert await code_of(wrong) == "request.invalid"
    assert await log_in(app) == "alice"
    codes = await app.factors.confirm(await actor(app), pyotp.TOTP(secret.reveal()).at(clock()))
    assert len(codes) == 10
    found = await app.factors.of((await actor(app)).user_id)
    assert found is not None
    assert found.codes_left == 10
    assert await code_of(log_in(app)) == "auth.totp"
    assert await code_of(app.factors.confirm(await actor(app), "123456")) == "factor.not_found"
    assert await code_of(app.factors.begin(await actor(app), PASSWORD)) == "factor.exists"
    assert await log_in(app, name="bob") == "bob"  # others are not concerned


async def test_enrolling_needs_the_password(app: App) -> None:
    assert await code_of(app.factors.begin(await actor(app), "wrong")) == "request.invalid"
    assert await app.store.factors.get((await actor(app)).user_id) is None
    lockouts = await app.store.lockouts.all()
    assert "user:alice" in {each.subject for each in lockouts}  # guessing there is counted like guessing at the login


async def test_a_code_is_good_once(app: App, clock: Clock) -> None:
    phone, _ = await enrolled(app, clock)
    code = phone.at(clock())
    assert await log_in(app, code) == "alice"
    assert await code_of(log_in(app, code)) == "auth.totp"
    earlier = phone.at(clock() - timedelta(seconds=30))
    assert await code_of(log_in(app, earlier)) == "auth.totp"
    clock.move(30)
    assert await log_in(app, phone.at(clock())) == "alice"


async def test_a_code_is_good_once_on_all_managers(app: App, clock: Clock, tmp_path: Path) -> None:
    phone, codes = await enrolled(app, clock)
    async with opened(tmp_path, clock) as other:
        for code in (phone.at(clock()), codes[0]):
            attempts = [log_in(each, code) for each in (app, other, app, other)]
            done = await asyncio.gather(*attempts, return_exceptions=True)
            assert sorted(each if isinstance(each, str) else type(each).__name__ for each in done) == [
                "UspError",
                "UspError",
                "UspError",
                "alice",
            ]
            await app.store.lockouts.forget("user:alice")


async def test_the_code_that_confirmed_is_used(app: App, clock: Clock) -> None:
    secret, _ = await app.factors.begin(await actor(app), PASSWORD)
    code = pyotp.TOTP(secret.reveal()).at(clock())
    await app.factors.confirm(await actor(app), code)
    assert await code_of(log_in(app, code)) == "auth.totp"


async def test_recovery_codes(app: App, clock: Clock) -> None:
    _, codes = await enrolled(app, clock)
    assert await log_in(app, codes[3].upper().replace("-", " ")) == "alice"
    assert await code_of(log_in(app, codes[3])) == "auth.totp"
    found = await app.factors.of((await actor(app)).user_id)
    assert found is not None
    assert found.codes_left == 9
    assert await code_of(app.factors.renew_codes(await actor(app), "wrong")) == "request.invalid"
    fresh = await app.factors.renew_codes(await actor(app), PASSWORD)
    assert await code_of(log_in(app, codes[4])) == "auth.totp"
    assert await log_in(app, fresh[4]) == "alice"


async def test_wrong_codes_are_failures_and_half_logins_are_none(app: App, clock: Clock) -> None:
    phone, _ = await enrolled(app, clock)
    for _ in range(20):
        assert await code_of(log_in(app)) == "auth.totp"
    assert await app.store.lockouts.all() == []
    failures = app.settings.login.failures
    for _ in range(failures):
        assert await code_of(log_in(app, "not one")) == "auth.totp"
        await code_of(log_in(app))  # the right password alone forgets nothing
    assert await code_of(log_in(app, phone.at(clock()))) == "auth.locked"


async def test_with_a_wrong_password_nothing_is_said_of_a_factor(app: App, clock: Clock) -> None:
    phone, _ = await enrolled(app, clock)
    assert await code_of(log_in(app, password="wrong")) == "auth.invalid"
    assert await code_of(log_in(app, phone.at(clock()), password="wrong")) == "auth.invalid"
    assert await log_in(app, phone.at(clock())) == "alice"  # and the code was not used up


async def test_the_second_half_alone(app: App, clock: Clock) -> None:
    """For a form that asks for the password first, and for the code then."""
    phone, codes = await enrolled(app, clock)
    assert await code_of(app.logins.finish("alice", "wrong", PEER)) == "auth.totp"
    code = phone.at(clock())
    token, _, user = await app.logins.finish("alice", code, PEER)
    assert user.name == "alice"
    assert (await app.logins.authenticate(token, PEER)).name == "alice"
    assert [each.subject for each in await app.store.lockouts.all()] == [f"address:{PEER}"]
    assert await code_of(app.logins.finish("alice", code, PEER)) == "auth.totp"
    for name in ("bob", "nobody"):
        assert await code_of(app.logins.finish(name, codes[0], PEER)) == "auth.invalid"
    await app.administrators.change(await actor(app), "bob", {"role": Role.ADMIN})
    await app.administrators.change(await actor(app), "alice", {"enabled": False})
    assert await code_of(app.logins.finish("alice", codes[0], PEER)) == "auth.invalid"


async def test_tokens_need_no_code(app: App, clock: Clock) -> None:
    await enrolled(app, clock)
    user = await app.administrators.find("alice")
    _, token = await app.administrators.add_token("t", user, author="test")
    assert (await app.logins.authenticate(token, PEER)).name == "alice"


async def test_taking_it_away(app: App, clock: Clock) -> None:
    await enrolled(app, clock)
    assert await code_of(app.factors.remove(await actor(app), "wrong")) == "request.invalid"
    await app.factors.remove(await actor(app), PASSWORD)
    assert await log_in(app) == "alice"
    assert await code_of(app.factors.remove(await actor(app), PASSWORD)) == "factor.not_found"
    assert await code_of(app.factors.renew_codes(await actor(app), PASSWORD)) == "factor.not_found"


async def test_an_administrator_resets_it(app: App, clock: Clock) -> None:
    await enrolled(app, clock, "bob")
    bob = await app.administrators.find("bob")
    assert await code_of(app.factors.reset(READER, bob)) == "auth.forbidden"
    assert await code_of(log_in(app, name="bob")) == "auth.totp"
    await app.factors.reset(await actor(app), bob)
    assert await log_in(app, name="bob") == "bob"
    assert await code_of(app.factors.reset(await actor(app), bob)) == "factor.not_found"
    assert await app.store.factors.confirmed() == frozenset()


async def test_it_goes_with_its_user(app: App, clock: Clock) -> None:
    await enrolled(app, clock, "bob")
    bob = await app.administrators.find("bob")
    await app.administrators.delete(await actor(app), "bob")
    assert await app.store.factors.get(bob.id) is None


async def test_events_and_what_the_database_holds(app: App, clock: Clock, tmp_path: Path) -> None:
    phone, codes = await enrolled(app, clock)
    await code_of(log_in(app, "wrong"))
    await log_in(app, codes[0])
    await app.factors.remove(await actor(app), PASSWORD)
    await enrolled(app, clock)
    found = [(event.action, event.target, dict(event.detail)) for event in await app.store.events.page()]
    for event in (
        ("totp.enable", "alice", {}),
        ("login.failed", "alice", {"factor": "totp"}),
        ("totp.disable", "alice", {}),
    ):
        assert event in found
    with closing(sqlite3.connect(tmp_path / "usp.db")) as database:
        everything = "\n".join(database.iterdump())
    assert "usp_factor" in everything
    for secret in (phone.secret, *codes, *(code.replace("-", "") for code in codes)):
        assert secret not in everything


@pytest.mark.parametrize(
    ("who", "needed"),
    [(SecondFactor.OPTIONAL, set()), (SecondFactor.ADMINS, {"alice"}), (SecondFactor.ALL, {"alice", "bob"})],
)
async def test_who_must_have_one_gets_in_with_it_only(
    app: App, clock: Clock, who: SecondFactor, needed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demand(app, who, monkeypatch)
    for name in ("alice", "bob"):
        if name in needed:
            assert await code_of(log_in(app, name=name)) == "auth.enrol"
            assert await code_of(log_in(app, name=name, password="wrong")) == "auth.invalid"
        else:
            await log_in(app, name=name)
        phone, codes = await enrolled(app, clock, name)
        await log_in(app, phone.at(clock()), name=name)
        removed = app.factors.remove(await actor(app, name), PASSWORD)
        if name in needed:
            assert await code_of(removed) == "factor.mandatory"
            await log_in(app, codes[0], name=name)
        else:
            await removed
    counted = sum(each.failures for each in await app.store.lockouts.all())
    assert counted == len(needed), "the wrong passwords against the address; half a login is no failure"


async def test_logins_that_were_there_before_end(app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    bearer, _, _ = await app.logins.login("alice", PASSWORD, PEER)
    _, codes = await enrolled(app, clock, "bob")
    with_code, _, _ = await app.logins.login("bob", PASSWORD, PEER, codes[0])
    user = await app.administrators.find("alice")
    provided, _, _ = await app.logins.begin(user, PEER, PROVIDED_PREFIX)
    demand(app, SecondFactor.ALL, monkeypatch)
    assert await code_of(app.logins.authenticate(bearer, "")) == "auth.enrol"
    assert await code_of(app.logins.authenticate(bearer, "")) == "auth.invalid", "it is gone"
    for each in (with_code, provided):
        await app.logins.authenticate(each, "")
    changed = provided.replace(PROVIDED_PREFIX, LOGIN_PREFIX)
    assert await code_of(app.logins.authenticate(changed, "")) == "auth.invalid"
    await app.factors.reset(await actor(app), await app.administrators.find("bob"))
    assert await code_of(app.logins.authenticate(with_code, "")) == "auth.enrol"


def demand(app: App, who: SecondFactor, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = app.settings.login.model_copy(update={"second_factor": who})
    monkeypatch.setattr(app.logins, "_settings", settings)
