"""Events that servers tell: each stored once, in its chain, searched, and forgotten in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.catalogs import NOW
from tests.contract.conftest import OpenStore
from usp.manager.store import Store
from usp.manager.store.rows import Event, Source, Wanted

CHAIN = "00000000000000aa"
LATER = NOW + timedelta(hours=1)


def told(first: int, last: int, server: str = "dmz-1", chain: str = CHAIN) -> list[tuple[Event, str]]:
    return [
        (
            Event(
                NOW + timedelta(seconds=seq),
                f"acme{seq % 2}",
                "file.closed",
                f"/in/{seq}",
                "192.0.2.1:50000",
                {"event": "file.closed", "path": f"/in/{seq}", "rate": 0.1 * seq, "odd": "\x7f\u2028\U0001f600"},
                server=server,
                listener="partners",
                session=f"s{seq // 10}",
                outcome="ok" if seq % 3 else "failed",
                chain=chain,
                seq=seq,
            ),
            f"{seq:064x}",
        )
        for seq in range(first, last + 1)
    ]


async def stored(store: Store, **wanted: object) -> list[int]:
    return [event.seq for event in await store.events.page(after=0, limit=1000, source=Source.SERVER)]


async def test_each_event_is_stored_once(store: Store) -> None:
    assert await store.trails.take(told(1, 10), LATER) == 10
    assert await store.trails.take(told(1, 10), LATER) == 0
    assert await store.trails.take(told(8, 12), LATER) == 2
    assert await stored(store) == list(range(1, 13))
    (trail,) = await store.trails.all()
    assert (trail.last.server, trail.last.chain, trail.last.seq, trail.last.hash) == ("dmz-1", CHAIN, 12, f"{12:064x}")
    assert (trail.begun_at, trail.stored_at) == (told(1, 1)[0][0].at, LATER)
    (event,) = await store.events.page(limit=1)
    assert event == replace(told(12, 12)[0][0], number=event.number)


async def test_managers_that_bring_the_same_at_once(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(3)]
    for first in range(1, 60, 20):
        done = await asyncio.gather(*[store.trails.take(told(first, first + 19), NOW) for store in stores])
        assert sorted(done) == [0, 0, 20]
    assert await stored(stores[0]) == list(range(1, 61))


async def test_chains_do_not_mix(store: Store) -> None:
    other = "00000000000000bb"
    await store.trails.take(told(5, 6), NOW)
    await store.trails.take(told(1, 2, chain=other), NOW)
    await store.trails.take(told(1, 1, server="dmz-2"), NOW)
    found = [(trail.last.server, trail.last.chain, trail.last.seq) for trail in await store.trails.all()]
    assert found == [("dmz-1", CHAIN, 6), ("dmz-1", other, 2), ("dmz-2", CHAIN, 1)]
    assert [trail.last.server for trail in await store.trails.all("dmz-2")] == ["dmz-2"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(account="acme1", session="s0"), [1, 3, 5, 7, 9]),
        (Wanted(path="/in/2"), [2, *range(20, 30)]),
        (Wanted(path="/in/%"), []),
        (Wanted(outcome="failed", session="s1"), [12, 15, 18]),
        (Wanted(server="dmz-2"), []),
        (Wanted(listener="partners", since=NOW + timedelta(seconds=28)), [28, 29, 30]),
        (Wanted(until=NOW + timedelta(seconds=3), source=Source.SERVER), [1, 2]),
        (Wanted(source=Source.MANAGER), [0]),
        (Wanted(action="file."), list(range(1, 31))),
    ],
    ids=str,
)
async def test_searching(store: Store, wanted: Wanted, expected: list[int]) -> None:
    await store.events.add(Event(NOW, "ann", "item.update", "rules/x"))
    await store.trails.take(told(1, 30), NOW)
    assert [event.seq for event in await store.events.page(after=0, limit=100, **wanted)] == expected
    events, last = await store.events.since(0, 100, **wanted)
    assert [event.seq for event in events] == expected
    assert last == (await store.events.page(limit=1))[0].number


async def test_what_is_old_is_forgotten(store: Store) -> None:
    await store.events.add(Event(NOW, "ann", "item.update", "rules/x"))
    await store.trails.take(told(1, 30), NOW)
    before = NOW + timedelta(seconds=20)
    while await store.events.forget(Source.SERVER, before):
        pass
    assert await stored(store) == list(range(20, 31))
    assert [event.action for event in await store.events.page(source=Source.MANAGER)] == ["item.update"]
    assert await store.trails.take(told(1, 30), NOW) == 0, "what was forgotten does not come back"
    assert await store.events.forget(Source.MANAGER, before)
    assert not await store.events.forget(Source.MANAGER, before)
