"""The catalog in the database: round trips, compare-and-set, history, secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.catalogs import ITEMS, NOW, creates, delta, edit, sample
from tests.contract.conftest import KEK, OpenStore, new_id
from usp.errors import UspError
from usp.manager.catalog import EMPTY, Catalog, Change, Create, Delete, Update, apply
from usp.manager.store import Store, schema

MANAGERS, WRITES = 3, 8


async def write(store: Store, *changes: Change, author: str = "ann") -> Catalog:
    catalog = await store.items.read()
    made = apply(catalog, changes, now=NOW, new_id=new_id)
    return await store.items.write(made, author=author, at=NOW)


async def test_an_empty_database_holds_the_empty_catalog(store: Store) -> None:
    assert await store.items.read() == EMPTY


async def test_every_kind_comes_back_as_it_was(store: Store, opened: OpenStore) -> None:
    written = await store.items.write(delta(EMPTY, *creates()), author="ann", at=NOW)
    assert written == sample()
    assert await store.items.read() is written
    assert await (await opened()).items.read() == written


async def test_facts_and_words_that_are_not_ascii_come_back(store: Store, opened: OpenStore) -> None:
    new = Create("account-repositories", {"name": "r", "description": "Zürich 東京 \U0001f680 '\" \\ \n"})
    made = apply(EMPTY, [new], now=NOW, new_id=new_id, facts=lambda item: {"type": "x", "bits": 256})
    written = await store.items.write(made, author="ann", at=NOW)
    assert await (await opened()).items.read() == written
    assert written.get("account-repositories", "r").facts == {"type": "x", "bits": 256}


async def test_another_manager_sees_what_changed(store: Store, opened: OpenStore) -> None:
    other = await opened()
    await write(store, *creates())
    await other.items.read()
    await write(
        store,
        edit(await store.items.read(), "outbound-nodes", "spare", host="elsewhere"),
        Delete("deployments", "sftp-dmz"),
        Create("ip-filters", {"name": "new"}),
    )
    assert await other.items.read() == await store.items.read() == await (await opened()).items.read()


async def test_names_may_be_swapped(store: Store) -> None:
    catalog = await write(store, *creates())
    low, high = catalog.get("inbound-nodes", "low").id, catalog.get("inbound-nodes", "high").id
    swap = [edit(catalog, "inbound-nodes", low, name="high"), edit(catalog, "inbound-nodes", high, name="low")]
    after = await write(store, *swap)
    assert (after.get("inbound-nodes", "low").id, after.get("inbound-nodes", "high").id) == (high, low)


async def test_nothing_to_write_is_nothing_written(store: Store) -> None:
    catalog = await write(store, *creates())
    assert await write(store, edit(catalog, "rules", "passthrough")) is catalog


async def test_of_two_writers_on_the_same_revision_one_loses(store: Store, opened: OpenStore) -> None:
    other = await opened()
    base = await store.items.read()
    first = apply(base, [Create("ip-filters", {"name": "one"})], now=NOW, new_id=new_id)
    second = apply(base, [Create("ip-filters", {"name": "two"})], now=NOW, new_id=new_id)
    await store.items.write(first, author="ann", at=NOW)
    with pytest.raises(UspError) as caught:
        await other.items.write(second, author="bob", at=NOW)
    assert caught.value.code == "catalog.conflict"
    assert [record.item.name for record in (await other.items.read()).of_kind("ip-filters")] == ["one"]
    assert await store.items.history(second.creates[0].id) == []


async def test_many_managers_writing_at_once_lose_nothing(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(MANAGERS)]
    conflicts = 0

    async def one(store: Store, name: str) -> None:
        nonlocal conflicts
        while True:
            try:
                await write(store, Create("ip-filters", {"name": name}))
                return
            except UspError as error:
                if error.code != "catalog.conflict":
                    raise
                conflicts += 1

    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(stores):
            for turn in range(WRITES):
                group.create_task(one(store, f"{number}-{turn}"))
    catalogs = [await store.items.read() for store in stores]
    assert catalogs[0].revision == len(catalogs[0].records) == MANAGERS * WRITES
    assert catalogs[0] == catalogs[1] == catalogs[2]
    assert {record.revision for record in catalogs[0].records.values()} == set(range(1, MANAGERS * WRITES + 1))
    assert conflicts


async def test_a_write_that_fails_leaves_nothing(store: Store) -> None:
    """A failure half-way: the second half of this delta cannot be written, because its id is taken."""
    catalog = await write(store, *creates())
    taken = catalog.get("rules", "passthrough").id
    ids = iter([new_id(), taken])
    changes = [Create("ip-filters", {"name": "a"}), Create("ip-filters", {"name": "b"})]
    made = apply(catalog, changes, now=NOW, new_id=lambda: next(ids))
    with pytest.raises(Exception, match=r"(?i)unique|constraint"):
        await store.items.write(made, author="ann", at=NOW)
    assert await store.items.read() is catalog
    assert (await write(store, Create("ip-filters", {"name": "a"}))).revision == catalog.revision + 1


async def test_history(store: Store) -> None:
    catalog = await write(store, *creates())
    id = catalog.get("accounts", "acme").id
    catalog = await write(store, edit(catalog, "accounts", "acme", description="new"), author="bob")
    catalog = await write(store, edit(catalog, "accounts", "acme", password="SECRET-2"), author="cat")
    await write(store, Delete("accounts", "acme"), author="dan")
    entries = await store.items.history(id)
    assert [(entry.revision, entry.action, entry.author, entry.secrets) for entry in entries] == [
        (4, "delete", "dan", ()),
        (3, "update", "cat", ("password",)),
        (2, "update", "bob", ()),
        (1, "create", "ann", ("password",)),
    ]
    assert entries[0].document is None
    assert entries[1].document is not None
    assert entries[1].document["description"] == "new"
    assert "password" not in entries[1].document
    assert entries[3].at == NOW


async def test_no_secret_is_in_the_database(store: Store, dump: Callable[[], bytes]) -> None:
    catalog = await write(store, *creates())
    await write(store, edit(catalog, "accounts", "acme", password="SECRET-changed"))
    await store.close()
    assert b"acme@example.org" in dump()
    assert b"SECRET" not in dump()
    assert KEK not in dump()


async def test_a_sealed_value_opens_in_its_own_row_only(store: Store, opened: OpenStore) -> None:
    catalog = await write(store, *creates())
    one, two = (catalog.get("private-keys", name).id for name in ("host-key", "host-key-2"))
    item = schema.item
    async with store._database.writing() as connection:
        sealed = (await connection.execute(item.select().where(item.c.id == one))).one().sealed
        await connection.execute(update(item).where(item.c.id == two).values(sealed=sealed))
    with pytest.raises(UspError) as caught:
        await (await opened()).items.read()
    assert caught.value.code == "vault.damaged"


async def test_an_item_of_a_newer_release_is_refused_clearly(store: Store, opened: OpenStore) -> None:
    await write(store, Create("ip-filters", {"name": "f"}))
    async with store._database.writing() as connection:
        await connection.execute(update(schema.item).values(document={"name": "f", "colour": "blue"}))
    with pytest.raises(UspError, match="'f' of the ip-filters does not fit") as caught:
        await (await opened()).items.read()
    assert caught.value.code == "database.schema"


async def test_an_older_database_put_in_place_is_read_anew(store: Store) -> None:
    catalog = await write(store, Create("ip-filters", {"name": "f"}))
    await write(store, Create("ip-filters", {"name": "g"}))
    async with store._database.writing() as connection:
        await connection.execute(schema.item.delete().where(schema.item.c.name == "g"))
        await connection.execute(update(schema.catalog).values(revision=1))
    assert await store.items.read() == catalog


async def test_times_keep_their_microseconds(store: Store, opened: OpenStore) -> None:
    odd = NOW + timedelta(microseconds=123457)
    made = apply(EMPTY, [Create("ip-filters", {"name": "f"})], now=odd, new_id=new_id)
    await store.items.write(made, author="ann", at=odd)
    assert (await (await opened()).items.read()).get("ip-filters", "f").created_at == odd


async def test_the_whole_sample_can_go_again(store: Store) -> None:
    await write(store, *creates())
    after = await write(store, *[Delete(kind, item["name"]) for kind, item in ITEMS])
    assert after.records == {}
    again = await write(store, *creates())
    assert isinstance(edit(again, "rules", "passthrough"), Update)
    assert again.revision == 3
