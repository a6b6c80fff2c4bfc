"""Four processes at once on one database: leases and fences, the catalog, the chain of versions. (Processes, so that
nothing but the database can keep them apart.)"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.catalogs import NOW
from tests.contract.conftest import KEK, OpenStore, new_id
from usp.databases import DatabaseEngine, DatabaseSettings
from usp.manager.store import Store, database, schema
from usp.manager.store.leases import Lease, still_held
from usp.manager.store.upgrade import upgrade
from usp.secret import REVEAL

ROOT = Path(__file__).parents[2]
PROCESSES = 4
EACH = 6
LONG = timedelta(minutes=5)

CHILD = """
import asyncio, json, sys
import oracledb
from datetime import timedelta
from tests.catalogs import NOW
from tests.contract.conftest import KEK, new_id
from usp.databases import DatabaseSettings
from usp.errors import UspError
from usp.manager.catalog import Create, apply
from usp.manager.store import Store
from usp.manager.store.leases import still_held
from usp.manager.store.rows import Event
from usp.snapshot import Content

oracledb.defaults.stmtcachesize = 0  # tests/databases/oracle_net.py says why
who, each = sys.argv[2], int(sys.argv[3])

async def write(store, name):
    while True:
        try:
            made = apply(await store.items.read(), [Create("ip-filters", {"name": name})], now=NOW, new_id=new_id)
            return (await store.items.write(made, author=who, at=NOW, events=[Event(NOW, who, name)])).revision
        except UspError as error:
            if error.code != "catalog.conflict":
                raise

async def fenced(store):
    "Take the lease for a moment; what was written under which fence."
    while (lease := await store.leases.take("job", who, timedelta(milliseconds=200))) is None:
        await asyncio.sleep(0.01)
    async with store._database.writing() as connection:
        if not await still_held(connection, lease):
            return []
        await store.events.add(Event(NOW, who, "held", str(lease.fence)))
    await store.leases.release(lease)
    return [lease.fence]

async def main():
    store = await Store.open(DatabaseSettings.model_validate_json(sys.argv[1]), KEK, now=NOW, new_id=new_id)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    told = {"revisions": [], "versions": [], "fences": []}
    for n in range(each):
        told["revisions"].append(await write(store, f"{who}-{n}"))
        version = await store.versions.add("dmz", Content(), catalog_revision=n, author=who, at=NOW)
        told["versions"].append(version.number)
        told["fences"] += await fenced(store)
    await store.close()
    print(json.dumps(told), flush=True)

asyncio.run(main())
"""


def race(at: DatabaseSettings) -> list[dict[str, list[int]]]:
    """What each of the processes was told."""
    argv = [sys.executable, "-c", CHILD, at.model_dump_json(context=REVEAL)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [
        subprocess.Popen([*argv, f"p{n}", str(EACH)], stdin=-1, stdout=-1, env=env, text=True) for n in range(PROCESSES)
    ]
    try:
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        told = []
        for child in children:
            assert child.stdin
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            output, _ = child.communicate(timeout=120)
            assert child.returncode == 0
            told.append(json.loads(output))
        return told
    finally:
        for child in children:
            child.kill()
            child.wait()


async def test_four_processes(at: DatabaseSettings) -> None:
    await upgrade(at)
    told = await asyncio.to_thread(race, at)
    everything = list(range(1, PROCESSES * EACH + 1))
    assert sorted(number for each in told for number in each["revisions"]) == everything, "one write to a revision"
    assert sorted(number for each in told for number in each["versions"]) == everything, "one chain without gaps"
    store = await Store.open(at, KEK, now=NOW, new_id=new_id)
    assert sorted(record.revision for record in (await store.items.read()).records.values()) == everything
    assert (await store.servers.get("dmz")).desired == everything[-1]
    events = await store.events.page(limit=1000)
    numbers = [event.number for event in events]
    assert numbers == sorted(numbers, reverse=True)
    fences = [int(event.target) for event in reversed(events) if event.action == "held"]
    assert fences == sorted(fences), "what was written under an older fence came before"
    assert len({*fences}) == len(fences), "one holder to a fence"
    assert sorted(fences) == sorted(number for each in told for number in each["fences"])
    assert fences
    await store.close()


async def test_a_lease(opened: OpenStore) -> None:
    one, two = await opened(), await opened()
    first = await one.leases.take("job", "one", LONG)
    assert first == Lease("job", "one", 1)
    assert await two.leases.take("job", "two", LONG) is None
    assert await one.leases.take("job", "one", LONG) == first, "held for longer, under the same fence"
    assert await two.leases.take("other", "two", LONG) == Lease("other", "two", 1)
    await one.leases.release(first)
    second = await two.leases.take("job", "two", LONG)
    assert second == Lease("job", "two", 2)
    async with one._database.writing() as connection:
        assert not await still_held(connection, first)
        assert await still_held(connection, second)
    await one.leases.release(first)  # by one who was late: nothing
    assert await one.leases.take("job", "one", LONG) is None
    await two.leases.forget("job")
    assert await one.leases.take("job", "one", LONG) == Lease("job", "one", 1)


async def test_several_leases_at_once(opened: OpenStore) -> None:
    one, two = await opened(), await opened()
    assert await one.leases.standing("server/") == []
    first = await one.leases.take_each(["server/b", "server/a"], "one", LONG)
    assert first == [Lease("server/a", "one", 1), Lease("server/b", "one", 1)]
    assert await two.leases.take("rollout/1", "two", LONG) is not None
    assert await two.leases.take_each(["server/a", "server/c"], "two", LONG) == [Lease("server/c", "two", 1)]
    standing = await two.leases.standing("server/")
    assert [(each.name, each.holder) for each in standing] == [
        ("server/a", "one"),
        ("server/b", "one"),
        ("server/c", "two"),
    ]
    assert all(200 < each.left <= LONG.total_seconds() for each in standing)
    await one.leases.release(*first)
    assert [each.left > 0 for each in await two.leases.standing("server/")] == [False, False, True]
    taken = await two.leases.take_each(["server/a", "server/b", "server/c"], "two", LONG)
    assert [lease.fence for lease in taken] == [2, 2, 1], "held for longer, under the same fence"


async def test_two_that_take_the_same_leases_do_not_wait_for_each_other(opened: OpenStore) -> None:
    stores = [await opened(), await opened()]
    names = [f"server/{n}" for n in range(6)]
    for _ in range(3):
        got = await asyncio.gather(
            *(each.leases.take_each(names[:: 1 - 2 * n], f"m{n}", LONG) for n, each in enumerate(stores))
        )
        assert sorted(lease.name for leases in got for lease in leases) == names, "each is held by one"
        for each, leases in zip(stores, got, strict=True):
            await each.leases.release(*leases)


async def test_a_lease_runs_out_by_the_databases_clock(opened: OpenStore) -> None:
    one, two = await opened(), await opened()
    assert await one.leases.take("job", "one", timedelta(seconds=0.4)) is not None
    assert await two.leases.take("job", "two", LONG) is None
    await asyncio.sleep(0.5)
    assert await two.leases.take("job", "two", LONG) == Lease("job", "two", 2)
    assert await one.leases.take("job", "one", LONG) is None


async def test_receipts_are_forgotten(store: Store, at: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def receipts() -> int:
        async with store._database.reading() as connection:
            return len((await connection.execute(schema.receipt.select())).all())

    await store.preferences.put("x", 1, author="ann", at=NOW)
    kept = await receipts()
    assert bool(kept) is (at.engine is not DatabaseEngine.SQLITE)
    await store.tidy()
    assert await receipts() >= kept
    monkeypatch.setattr(database, "RECEIPTS_KEPT", timedelta(seconds=-1))
    await store.tidy()
    assert await receipts() <= 1, "its own"
