"""Changing what secrets are sealed with: killed at every step and started again, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from tests.catalogs import NOW, creates, delta, sample
from tests.contract.conftest import KEK, OpenStore, new_id
from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager import vault
from usp.manager.catalog import EMPTY, Create, apply
from usp.manager.store import Store, schema
from usp.manager.store.keys import Rotated, rotate_data_key, rotate_kek
from usp.manager.store.upgrade import upgrade
from usp.secret import REVEAL

NEW = bytes(range(100, 132))
ROOT = Path(__file__).parents[2]


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Ends whoever is about to execute statement number `step`, or to commit after it. Tells what was reached."""
    reached: list[str] = []

    def reach(what: str) -> None:
        reached.append(what)
        if len(reached) == step:
            raise Killed(what)

    def before(connection: object, cursor: object, statement: str, *_: object) -> None:
        reach(statement.split()[0])

    def commit(connection: object) -> None:
        reach("COMMIT")

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "commit", commit)
    try:
        yield reached
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "commit", commit)


async def fill(at: DatabaseSettings, data_keys: int) -> None:
    """A database with a whole catalog, a part of it sealed with each of so many data keys."""
    await upgrade(at)
    parts = creates()
    for number in range(data_keys):
        if number:
            await rotate_data_key(at, KEK, None, now=NOW, new_id=new_id)
        store = await Store.open(at, KEK, now=NOW, new_id=new_id)
        catalog = await store.items.read()
        name = {"name": f"key-{number}", "private_key": f"SECRET-{number}"}
        changes = [*(parts if number == 0 else ()), Create("private-keys", name)]
        made = apply(catalog, changes, now=NOW, new_id=new_id) if number else delta(EMPTY, *parts)
        await store.items.write(made, author="ann", at=NOW)
        await store.close()


@pytest_asyncio.fixture
async def filled(at: DatabaseSettings) -> AsyncIterator[DatabaseSettings]:
    await fill(at, 4)
    yield at


async def secrets(at: DatabaseSettings, kek: bytes, previous: bytes | None = None) -> list[str]:
    """Every secret of the catalog, in clear."""
    store = await Store.open(at, kek, now=NOW, new_id=new_id, previous_kek=previous)
    try:
        catalog = await store.items.read()
        return sorted(record.item.model_dump_json(context={"reveal": True}) for record in catalog.records.values())
    finally:
        await store.close()


async def test_rotation(filled: DatabaseSettings) -> None:
    before = await secrets(filled, KEK)
    assert len({key async for key in _data_keys(filled)}) == 4
    with pytest.raises(UspError) as caught:
        await secrets(filled, NEW)
    assert caught.value.code == "vault.wrong_kek"
    assert await rotate_kek(filled, NEW, KEK) == Rotated(4, 0)
    assert await rotate_kek(filled, NEW, KEK) == Rotated(0, 4)
    assert await secrets(filled, NEW) == before
    with pytest.raises(UspError):
        await secrets(filled, KEK)


async def _data_keys(at: DatabaseSettings) -> AsyncIterator[str]:
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    async with store._database.reading() as connection:
        for row in await connection.execute(select(schema.data_key.c.id)):
            yield row.id
    await store.close()


async def test_killed_at_every_step(filled: DatabaseSettings) -> None:
    """At every statement and every commit, then at the next one of what is left, until it comes through."""
    before = await secrets(filled, KEK)
    step, done = 1, False
    while not done:
        with killed_at(step) as reached:
            try:
                await rotate_kek(filled, NEW, KEK)
                done = True
            except (Killed, UspError):
                pass
        assert await secrets(filled, NEW, KEK) == before, (step, reached)
        step += 1
    assert step > 10
    assert await secrets(filled, NEW) == before
    with pytest.raises(UspError):
        await secrets(filled, KEK)
    print(
        f"rotation of the KEK killed at {step - 2} statements and commits in turn: every secret can be read each time"
    )


async def test_each_step_alone_then_all_of_it(at: DatabaseSettings) -> None:
    """The same, but from the beginning for each step: half-way states of every length."""
    await fill(at, 2)
    before = await secrets(at, KEK)
    old, new = KEK, NEW
    step, done = 1, False
    while not done:
        with killed_at(step):
            try:
                await rotate_kek(at, new, old)
                done = True
            except (Killed, UspError):
                pass
        await rotate_kek(at, new, old)
        assert await secrets(at, new) == before, step
        old, new, step = new, old, step + 1
    assert step > 10


CHILD = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from usp.databases import DatabaseSettings
from usp.manager.store.keys import rotate_kek

at = DatabaseSettings.model_validate_json(sys.argv[1])
left = int(sys.argv[2])

def before(connection, cursor, statement, *_):
    global left
    if statement.startswith("UPDATE"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", before)
asyncio.run(rotate_kek(at, bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4])))
"""


async def test_killed_for_good(filled: DatabaseSettings) -> None:
    """A process of its own, and SIGKILL, while a row is written."""
    before = await secrets(filled, KEK)
    argv = [sys.executable, "-c", CHILD, filled.model_dump_json(context=REVEAL), "2", NEW.hex(), KEK.hex()]
    child = await asyncio.to_thread(
        subprocess.run, argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False
    )
    assert child.returncode == -signal.SIGKILL
    for kek in (KEK, NEW):
        with pytest.raises(UspError) as caught:
            await secrets(filled, kek)
        assert caught.value.code == "vault.wrong_kek", "half-way, neither key alone is enough, and that is said"
    assert await secrets(filled, NEW, KEK) == before
    assert await rotate_kek(filled, NEW, KEK) == Rotated(2, 2)
    assert await secrets(filled, NEW) == before


async def test_managers_go_on_while_the_key_is_rotated(filled: DatabaseSettings) -> None:
    store = await Store.open(filled, KEK, now=NOW, new_id=new_id)
    await asyncio.gather(rotate_kek(filled, NEW, KEK), rotate_kek(filled, NEW, KEK))
    catalog = await store.items.read()
    made = apply(catalog, [Create("private-keys", {"name": "later", "private_key": "SECRET"})], now=NOW, new_id=new_id)
    await store.items.write(made, author="ann", at=NOW)
    await store.close()
    assert any("later" in text for text in await secrets(filled, NEW))


async def test_a_wrong_key_changes_nothing(filled: DatabaseSettings, dump: Callable[[], bytes]) -> None:
    before = dump()
    for new, old in ((NEW, b"x" * 32), (b"x" * 32, NEW)):
        with pytest.raises(UspError) as caught:
            await rotate_kek(filled, new, old)
        assert caught.value.code == "vault.wrong_kek"
    assert dump() == before
    assert KEK not in before


async def test_a_new_data_key(opened: OpenStore, at: DatabaseSettings) -> None:
    """Other managers meet it when they read what was sealed with it."""
    first = await opened()
    written = await first.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    assert written == sample()
    assert await rotate_data_key(at, KEK, None, now=NOW, new_id=new_id) == 2
    second = await opened()
    assert second._keys.vault.active != first._keys.vault.active
    made = apply(written, [Create("private-keys", {"name": "n", "private_key": "SECRET"})], now=NOW, new_id=new_id)
    newer = await second.items.write(made, author="bob", at=NOW)
    assert await first.items.read() == newer
    assert first._keys.vault.active == second._keys.vault.active
    with pytest.raises(UspError):
        await rotate_data_key(at, NEW, None, now=NOW, new_id=new_id)


async def test_an_empty_database_has_nothing_to_rotate(at: DatabaseSettings) -> None:
    await upgrade(at)
    assert await rotate_kek(at, NEW, KEK) == Rotated(0, 0)
    assert await rotate_data_key(at, NEW, None, now=NOW, new_id=new_id) == 1
    assert vault.kek_id(NEW) != vault.kek_id(KEK)
