"""The collector, a real store, and real management ports: each event of a server is stored once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, configure, opened
from tests.unit.server.support import free_port
from tests.unit.server.support import trail as made
from usp.chain import Chain, Checker, Link
from usp.errors import UspError
from usp.manager import collect
from usp.manager.app import App
from usp.manager.collect import Collector, chains, event, keep
from usp.manager.store.rows import Event, Source
from usp.server.trail import Trail
from usp.settings import EventSettings, ServerTls
from usp.tasks import TaskSet


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK", "INITIAL", "QUIET"):
        monkeypatch.setattr(collect, name, 0.05)
    monkeypatch.setattr(collect, "MAXIMUM", 0.1)
    monkeypatch.setattr(collect, "SLICE", 7)


@asynccontextmanager
async def collecting(*apps: App, holds: Callable[[str], bool] = lambda server: True) -> AsyncIterator[None]:
    tasks = TaskSet()
    for app in apps:
        collector = Collector(app.store, app.controls, holds, clock=app.clock, random=random.random)
        tasks.spawn(collector.run(), "collector")
    try:
        yield
    finally:
        await tasks.cancel()


def tell(trail: Trail, first: int, last: int) -> None:
    for number in range(first, last + 1):
        facts = {"time": "2026-11-27T10:00:00.000Z", "event": "file.closed", "path": f"/{number}", "username": "acme"}
        trail.put(orjson.dumps({**facts, "rate": number / 7, "outcome": "ok"}).decode())


async def stored(app: App, count: int) -> list[Event]:
    """All events of the server, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = await app.store.events.page(after=0, limit=1000, source=Source.SERVER)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_who_looks_after_the_server_collects(tmp_path: Path, own: ServerTls) -> None:
    port, trail = free_port(), made()
    held: set[str] = set()
    async with opened(tmp_path) as app, server(port, own, trail):
        await configure(app, port)
        async with collecting(app, holds=held.__contains__):
            tell(trail, 1, 5)
            await asyncio.sleep(0.3)
            assert await app.store.events.page(after=0, limit=10, source=Source.SERVER) == []
            held.add("server")
            await stored(app, 5)


async def test_each_event_is_stored_once_whatever_goes_away(tmp_path: Path, own: ServerTls) -> None:
    port, trail = free_port(), made()
    async with opened(tmp_path) as first, opened(tmp_path) as second:
        await configure(first, port)
        async with collecting(first, second):
            async with server(port, own, trail):
                tell(trail, 1, 50)
                await stored(first, 51)
            tell(trail, 51, 60)  # while its port is away
            async with server(port, own, trail):
                await stored(first, 61)
        tell(trail, 61, 100)  # while no manager is there
        async with collecting(second), server(port, own, trail):
            found = await stored(second, 101)
            assert [event.seq for event in found] == list(range(1, 102))
            assert [event.target for event in found[1:]] == [f"/{number}" for number in range(1, 101)]
            assert {event.author for event in found[1:]} == {"acme"}
            async with asyncio.timeout(5):
                while await trail.fetch(Link("", "", 0), 1 << 20, 0):  # noqa: ASYNC110 (until the server forgets it)
                    await asyncio.sleep(0.02)
        checker = Checker()
        assert [wrong for event in found if (wrong := checker.check(orjson.dumps(dict(event.detail))))] == []
        (known,) = await first.store.trails.all("server")
        assert known.last == checker.last["00000000000000aa"]


async def test_a_database_that_is_away_for_a_while_loses_nothing(
    tmp_path: Path, own: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, trail = free_port(), made()
    async with opened(tmp_path) as app, server(port, own, trail):
        await configure(app, port)
        take, failures = app.store.trails.take, iter(range(3))

        async def failing(*events: object) -> int:
            if next(failures, None) is not None:
                raise UspError("database.unavailable")
            return await take(*events)  # type: ignore[arg-type]

        monkeypatch.setattr(app.store.trails, "take", failing)
        tell(trail, 1, 20)
        async with collecting(app):
            assert [event.seq for event in await stored(app, 21)] == list(range(1, 22))


def line(**facts: object) -> bytes:
    chain = Chain(Link("dmz-1", "00000000000000aa"))
    return chain.link(orjson.dumps({"time": "2026-11-27T10:00:00.500Z", "event": "login", **facts}).decode())


def test_an_event_has_what_can_be_searched() -> None:
    found = event("dmz-1", line(username="a\0b", path="/" + "x" * 400, peer="192.0.2.1:5", session="s", listener=7))
    assert found is not None
    made, _ = found
    assert (made.author, made.target, made.listener) == ("ab", "/" + "x" * 299, "")
    assert made.at == datetime(2026, 11, 27, 10, 0, 0, 500_000, tzinfo=UTC)
    assert made.detail["path"] == "/" + "x" * 400


def test_damaged_lines_are_told_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    other = Chain(Link("dmz-1", "00000000000000bb")).link('{"time":"2026-11-27T10:00:00","event":"x"}')
    bad = [b"{}", line(time="yesterday"), Chain(Link("dmz-2", "0" * 16)).link('{"event":"x"}')]
    found = list(chains("dmz-1", [*bad, line(), line(), other]))
    assert [[event.chain[-2:] for event, _ in each] for each in found] == [["aa", "aa"], ["bb"]]
    assert list(chains("dmz-1", [])) == []


async def test_what_is_old_is_forgotten_by_one_manager(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        old = app.clock() - timedelta(days=11)
        told = Event(old, "acme", "login", server="dmz-1", chain="0" * 16, seq=1)
        await app.store.trails.take([(told, "a" * 64)], app.clock())
        await app.store.events.add(Event(old, "ann", "item.update"))
        settings = EventSettings(days=10, administration_days=12)
        lease = await app.store.leases.take(collect.KEEPING, "other", timedelta(minutes=1))
        assert lease is not None
        await keep(app.store, settings, "me", app.clock)
        assert len(await app.store.events.page(source=Source.SERVER)) == 1, "another manager does it"
        await app.store.leases.release(lease)
        await keep(app.store, EventSettings(days=0), "me", app.clock)
        assert len(await app.store.events.page(source=Source.SERVER)) == 1, "forever"
        await keep(app.store, settings, "me", app.clock)
        assert await app.store.events.page(source=Source.SERVER) == []
        assert [event.action for event in await app.store.events.page(source=Source.MANAGER)][-1:] == ["item.update"]
        await app.note(ADMIN, "later")
