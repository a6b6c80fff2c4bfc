"""Who looks after a server: two managers over one database, and time that passes as fast as the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.catalogs import NOW
from tests.unit.manager.site import opened
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.holdings import LASTING, OLD, STANDING_BACK, Holdings
from usp.status import Report, ServerState
from usp.tasks import TaskSet

LOOK = 0.1
"""Seconds between looks."""


@asynccontextmanager
async def managers(folder: Path, *servers: str) -> AsyncIterator[tuple[App, Holdings, Holdings]]:
    """Two on one database, which have not begun."""
    async with opened(folder) as app, opened(folder) as other:
        both = Holdings(app.store, "one", LOOK), Holdings(other.store, "two", LOOK)
        for each in both:
            each.servers = frozenset(servers)
        yield app, *both


@asynccontextmanager
async def running(holdings: Holdings) -> AsyncIterator[TaskSet]:
    tasks = TaskSet()
    tasks.spawn(holdings.run(), "leases")
    try:
        yield tasks
    finally:
        await tasks.cancel()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def see(app: App, server: str, by: str) -> None:
    report = Report(server=server, software="1", boot="b", started_at=0.0)
    await app.store.servers.observed(server, ServerState.RUNNING, "fine", at=NOW, report=report, by=by)


async def test_one_holds_it_and_the_other_looks_only_when_nobody_has_for_a_while(tmp_path: Path) -> None:
    async with managers(tmp_path, "dmz", "dmz2") as (app, one, two), running(one):
        assert one.is_due("dmz"), "nothing is known yet"
        await until(lambda: one.lease("dmz") and one.lease("dmz2"))
        async with running(two):
            await asyncio.sleep(2 * LOOK)
            assert two.is_due("dmz"), "nobody ever saw it"
            await see(app, "dmz", "one")
            await until(lambda: not two.is_due("dmz"))
            assert one.is_due("dmz")
            assert two.lease("dmz") is None
            await asyncio.sleep(OLD * LOOK)
            assert two.is_due("dmz"), "what is known got old"
            assert two.lease("dmz") is None, "the lease is renewed all the same"


async def test_it_is_held_under_one_fence_for_as_long_as_it_is_renewed(tmp_path: Path) -> None:
    async with managers(tmp_path, "dmz") as (_, one, _), running(one):
        await until(lambda: one.lease("dmz"))
        held = one.lease("dmz")
        for _ in range(3 * LASTING):
            await asyncio.sleep(LOOK)
            assert one.lease("dmz") == held


async def test_another_has_it_when_the_first_is_gone_or_ends(tmp_path: Path) -> None:
    async with managers(tmp_path, "dmz") as (app, one, two), running(two):
        await until(lambda: two.lease("dmz"))
        fence = two.lease("dmz").fence  # type: ignore[union-attr]
        two.servers = frozenset()  # as if it were gone: nothing is renewed
        async with running(one):
            await until(lambda: one.lease("dmz"))
            assert one.lease("dmz").fence == fence + 1  # type: ignore[union-attr]
            assert two.lease("dmz") is None
        (standing,) = await app.store.leases.standing("server/")
        assert standing.left <= 0, "who ends lets go"
        assert one.lease("dmz") is None


async def test_who_gets_no_answer_leaves_it_to_the_others(tmp_path: Path) -> None:
    async with managers(tmp_path, "dmz") as (_, one, two), running(one):
        await until(lambda: one.lease("dmz"))
        async with running(two):
            await one.let_go("dmz")
            assert one.lease("dmz") is None
            await until(lambda: two.lease("dmz"), STANDING_BACK * LOOK * 5)
        await until(lambda: one.lease("dmz"))
        await one.let_go("dmz")
        await until(lambda: one.lease("dmz"))  # when nobody else wants it


async def test_without_the_database_it_is_lost_and_everybody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with managers(tmp_path, "dmz") as (app, one, two), running(one), running(two):
        await until(lambda: one.lease("dmz") or two.lease("dmz"))
        holder, other = (one, two) if one.lease("dmz") else (two, one)
        await see(app, "dmz", "one")
        await until(lambda: not other.is_due("dmz"))

        async def away(prefix: str) -> None:
            raise UspError("database.unavailable")

        for each in (one, two):
            monkeypatch.setattr(each._store.leases, "standing", away)
        await until(lambda: other.is_due("dmz") and holder.lease("dmz") is None)
        monkeypatch.undo()
        await until(lambda: one.lease("dmz") or two.lease("dmz"))
