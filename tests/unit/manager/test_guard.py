"""The IP Filter that guards UI and API: whom it admits, and that nobody locks themselves out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.manager.site import ADMIN, READER, make, opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Delete, Update
from usp.manager.guard import Guard, is_loopback
from usp.manager.store.rows import Role
from usp.manager.users import Actor

LOCAL = Actor("root", Role.ADMIN, "127.0.0.1")
STRANGER = "203.0.113.5"


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as found:
        await make(found, "ip-filters", "office", allow=["192.0.2.0/24"], default="block")
        await make(found, "ip-filters", "elsewhere", allow=["198.51.100.0/24"], default="block")
        yield found


async def code(call: object) -> str:
    with pytest.raises(UspError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False),
     ("::ffff:192.0.2.1", False), ("", False), ("localhost", False)],
)  # fmt: skip
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


async def test_without_a_filter_everybody_is_admitted(app: App) -> None:
    assert await app.guard.admits(STRANGER)
    assert await app.guard.current() is None
    assert await app.guard.remove(LOCAL) == ""


async def test_a_filter_in_force(app: App) -> None:
    await app.guard.choose(ADMIN, "office")
    current = await app.guard.current()
    assert current is not None
    assert current.item.name == "office"
    addresses = {"192.0.2.77": True, "::ffff:192.0.2.7": True, STRANGER: False, "2001:db8::1": False, "": False,
                 "fe80::1%eth0": False, "127.0.0.1": True, "::1": True}  # fmt: skip
    assert {address: await app.guard.admits(address) for address in addresses} == addresses
    event = (await app.store.events.page())[0]
    assert (event.author, event.action, event.target) == ("admin", "settings.update", "settings/ip-filter")
    assert event.detail == {"ip_filter": "office"}
    await app.guard.choose(ADMIN, None)
    assert await app.guard.admits(STRANGER)


async def test_nobody_locks_themselves_out(app: App) -> None:
    await make(app, "ip-filters", "nobody", default="block")
    await make(app, "ip-filters", "all-blocked", block=["0.0.0.0/1", "128.0.0.0/1", "::/0"])
    await make(app, "ip-filters", "covered", allow=["192.0.2.0/25"], block=["192.0.2.0/24"], default="block")
    await make(app, "ip-filters", "only-v6", block=["0.0.0.0/0"])
    await make(app, "ip-filters", "off", enabled=False)
    assert await code(app.guard.choose(ADMIN, "elsewhere")) == "guard.lockout"
    assert await code(app.guard.choose(ADMIN, "nothing")) == "item.not_found"
    assert await code(app.guard.choose(READER, None)) == "auth.forbidden"
    for name in ("nobody", "all-blocked", "covered", "off"):
        assert await code(app.guard.choose(LOCAL, name)) == "guard.lockout", name
    for name in ("elsewhere", "only-v6"):
        await app.guard.choose(LOCAL, name)


async def test_the_filter_in_force_cannot_be_turned_against_who_asks(app: App) -> None:
    await app.guard.choose(ADMIN, "office")
    change = {"name": "office", "allow": ["198.51.100.0/24"], "default": "block"}
    assert await code(app.write(ADMIN, [Update("ip-filters", "office", change)])) == "guard.lockout"
    assert (
        await code(app.write(ADMIN, [Update("ip-filters", "office", {**change, "enabled": False})])) == "guard.lockout"
    )
    assert await code(app.write(ADMIN, [Delete("ip-filters", "office")])) == "guard.in_use"
    await app.write(ADMIN, [Update("ip-filters", "elsewhere", {"name": "elsewhere", "default": "block"})])
    await app.write(LOCAL, [Update("ip-filters", "office", change)])
    assert not await app.guard.admits("192.0.2.77")
    assert await app.guard.admits("198.51.100.1")


async def test_other_managers_follow_soon(app: App) -> None:
    time = Time()
    other = Guard(app.store, app.clock, time)
    assert await other.admits(STRANGER)
    await app.guard.choose(ADMIN, "office")
    time.now += 1.9
    assert await other.admits(STRANGER)
    time.now += 0.2
    assert not await other.admits(STRANGER)


async def test_a_database_that_is_away(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    known, fresh = Guard(app.store, app.clock, time), Guard(app.store, app.clock, time)
    await app.guard.choose(ADMIN, "office")
    assert not await known.admits(STRANGER)

    async def away(name: str) -> None:
        raise UspError("database.unavailable")

    monkeypatch.setattr(app.store.preferences, "get", away)
    time.now += 10
    assert not await known.admits(STRANGER)
    assert await known.admits("192.0.2.7")
    for _ in range(2):
        assert await code(fresh.admits(STRANGER)) == "database.unavailable"
    assert await fresh.admits("::1")


async def test_a_filter_that_is_gone_admits_loopback_only(app: App) -> None:
    await app.store.preferences.put("ip-filter", "no such id", author="test", at=app.clock())
    assert not await app.guard.admits("192.0.2.7")
    assert await app.guard.admits("127.0.0.1")
    assert await app.guard.current() is None
    assert await app.guard.remove(LOCAL) == "no such id"
    assert await app.guard.admits("192.0.2.7")
