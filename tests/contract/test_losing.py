"""Losing the connection to the database at every message of a write: never half done, never done twice, never
reported wrongly. (The engines across a network; SQLite has no connection to lose.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from tests.catalogs import NOW
from tests.contract.conftest import KEK, new_id
from tests.contract.test_users_and_events import BOB
from tests.databases.cutting import Lost, Proxy, proxy
from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.catalog import Create, apply
from usp.manager.store import Store, schema
from usp.manager.store.rows import Event
from usp.manager.store.upgrade import upgrade
from usp.snapshot import Content

pytestmark = pytest.mark.parametrize("engine", ["postgresql", "oracle_net", "oracle"], indirect=True)

STEPS = 80
"""More messages than any write has."""

Write = Callable[[Store, int], Awaitable[object]]


async def write_items(store: Store, number: int) -> None:
    new = [Create("ip-filters", {"name": f"{word}-{number}"}) for word in ("left", "right")]
    delta = apply(await store.items.read(), new, now=NOW, new_id=new_id)
    await store.items.write(delta, author="ann", at=NOW, events=[Event(NOW, "ann", "item.create", f"{number}")])


async def add_a_user(store: Store, number: int) -> None:
    async with store.transaction():
        await store.users.add(replace(BOB, id=f"u{number}", name=f"bob-{number}"))
        await store.events.add(Event(NOW, "ann", "user.create", f"bob-{number}"))


async def add_a_version(store: Store, number: int) -> None:
    async with store.transaction():
        await store.versions.add("dmz", Content(), catalog_revision=number, author="ann", at=NOW)
        await store.events.add(Event(NOW, "ann", "push", "dmz"))


async def count_a_failure(store: Store, number: int) -> None:
    await store.lockouts.count([f"user:{number}", f"address:{number}"], lambda subject, failures: None, now=NOW)


WRITES: dict[Write, dict[str, int]] = {
    write_items: {"usp_item": 2, "usp_item_revision": 2, "usp_event": 1},
    add_a_user: {"usp_user": 1, "usp_event": 1},
    add_a_version: {"usp_version": 1, "usp_version_content": 1, "usp_event": 1},
    count_a_failure: {"usp_lockout": 2},
}
"""A write, and how many rows it leaves where."""


@pytest_asyncio.fixture
async def line(at: DatabaseSettings) -> AsyncIterator[Proxy]:
    async with proxy(at.host, at.effective_port) as made:
        yield made


async def counts(store: Store, tables: dict[str, int]) -> dict[str, int]:
    queries = {name: select(func.count()).select_from(schema.metadata.tables[name]) for name in tables}
    async with store._database.reading() as connection:
        return {name: (await connection.execute(query)).scalar_one() for name, query in queries.items()}


async def failure(work: Awaitable[object]) -> str:
    """The code that it failed with; "" if it did not."""
    try:
        await work
    except UspError as error:
        return error.code
    return ""


@pytest.mark.parametrize("lost", Lost)
@pytest.mark.parametrize("write", WRITES)
async def test_a_connection_lost_at_every_message(at: DatabaseSettings, line: Proxy, write: Write, lost: Lost) -> None:
    await upgrade(at)
    watching = await Store.open(at, KEK, now=NOW, new_id=new_id)
    store = await Store.open(at.model_copy(update={"port": line.port}), KEK, now=NOW, new_id=new_id)
    outcomes = set()
    expected = dict.fromkeys(WRITES[write], 0)
    try:
        for step in range(1, STEPS):
            line.cut_at(step, lost)
            code = await failure(write(store, step))
            reached = line.has_cut
            line.heal()
            assert code in ("", "database.unavailable"), f"at message {step}"
            if not code:
                expected = {name: number + WRITES[write][name] for name, number in expected.items()}
            assert await counts(watching, WRITES[write]) == expected, f"at message {step}, told '{code}'"
            outcomes.add((reached, code))
            if not reached:
                break
        assert not reached, "more messages than thought"
        assert (True, "database.unavailable") in outcomes, "some were lost before the commit"
        if lost is Lost.ANSWER:
            assert (True, "") in outcomes, "a commit whose answer was lost was found"
    finally:
        await store.close()
        await watching.close()


async def test_a_database_that_stays_away(at: DatabaseSettings, line: Proxy) -> None:
    """Who cannot find out says so, in bounded time; and it works again as soon as the database is back."""
    await upgrade(at)
    through = at.model_copy(update={"port": line.port, "statement_timeout": 0.3})
    store = await Store.open(through, KEK, now=NOW, new_id=new_id)
    codes = set()
    for step in range(1, STEPS):
        line.cut_at(step, Lost.ANSWER, for_long=True)
        codes.add(await failure(add_a_user(store, step)))
        reached = line.has_cut
        line.heal()
        await store.ping()
        if not reached:
            break
    assert codes == {"", "database.unavailable", "database.outcome_unknown"}
    await store.close()
