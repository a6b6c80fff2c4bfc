"""Versions, states of servers, run states."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.catalogs import NOW, sample
from tests.contract.conftest import OpenStore
from usp.errors import Problem, UspError
from usp.manager.changes import Change
from usp.manager.compile import compile as compiled
from usp.manager.store import Store
from usp.manager.store.rows import RunState, Server, Version
from usp.snapshot import Content, Snapshot
from usp.status import PushState, Report, ServerState

LATER = NOW + timedelta(minutes=1)


async def add(store: Store, content: Content | None = None, server: str = "dmz", comment: str = "") -> Version:
    return await store.versions.add(
        server, content or Content(), catalog_revision=7, author="ann", at=NOW, comment=comment
    )


def report(version: int, name: str = "dmz") -> Report:
    return Report(server=name, software="1", boot="b", started_at=1.5, version=version)


async def test_versions_count_from_one_on_each_server(store: Store) -> None:
    assert [(await add(store)).number for _ in range(3)] == [1, 2, 3]
    assert (await add(store, server="other")).number == 1
    assert (await store.servers.get("dmz")).desired == 3
    assert [version.number for version in await store.versions.page("dmz")] == [3, 2, 1]
    assert [version.number for version in await store.versions.page("dmz", before=3, limit=1)] == [2]


async def test_a_version_comes_back_whole(store: Store, opened: OpenStore) -> None:
    content = compiled(sample(), "dmz")
    added = await add(store, content, comment="why")
    assert added == Version("dmz", 1, content.digest, 7, "ann", NOW, "why", PushState.PENDING)
    other = await opened()
    assert await other.versions.get("dmz", 1) == added
    pushable = await other.versions.open("dmz", 1)
    assert (pushable.version, pushable.snapshot) == (added, Snapshot.of("dmz", 1, content))


async def test_content_is_sealed(store: Store, dump: Callable[[], bytes]) -> None:
    await add(store, compiled(sample(), "dmz"), comment="findable")
    await store.close()
    assert b"findable" in dump()
    assert b"SECRET" not in dump()
    assert b"sftp.internal" not in dump()


async def test_a_number_is_above_what_the_server_reported(store: Store) -> None:
    await store.servers.observed("dmz", ServerState.PENDING, "", at=NOW, report=report(41))
    assert (await add(store)).number == 42


async def test_managers_adding_at_once_make_one_chain(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(3)]
    added = await asyncio.gather(*[add(store) for store in stores for _ in range(4)])
    assert sorted(version.number for version in added) == list(range(1, 13))
    assert (await stores[0].servers.get("dmz")).desired == 12


async def test_what_became_of_a_push(store: Store) -> None:
    await add(store)
    problems = (Problem(("listeners", 0, "port"), "taken"),)
    await store.versions.pushed("dmz", 1, PushState.REJECTED, at=LATER, reason="no", problems=problems)
    version = await store.versions.get("dmz", 1)
    assert (version.push, version.reason, version.problems, version.pushed_at) == (
        PushState.REJECTED,
        "no",
        problems,
        LATER,
    )
    await store.versions.pushed("dmz", 1, PushState.APPLIED, at=LATER)
    version = await store.versions.get("dmz", 1)
    assert (version.push, version.reason, version.problems) == (PushState.APPLIED, "", ())


async def test_what_was_applied_stays_so(store: Store) -> None:
    """Managers that are late or cut off take nothing back; a refusal after that leaves its reason."""
    await add(store)
    assert await store.versions.pushed("dmz", 1, PushState.PUSHING, at=NOW)
    assert await store.versions.pushed("dmz", 1, PushState.APPLIED, at=NOW)
    for late in (PushState.PUSHING, PushState.UNREACHABLE, PushState.APPLIED):
        assert not await store.versions.pushed("dmz", 1, late, at=LATER, reason="late")
    assert (await store.versions.get("dmz", 1)).reason == ""
    assert not await store.versions.pushed("dmz", 1, PushState.REJECTED, at=LATER, reason="port 22 is in use")
    version = await store.versions.get("dmz", 1)
    assert (version.push, version.reason, version.pushed_at) == (PushState.APPLIED, "port 22 is in use", LATER)


async def test_the_latest_and_the_latest_in_a_state(store: Store) -> None:
    assert await store.versions.latest("dmz") is None
    for _ in range(3):
        await add(store)
    await store.versions.pushed("dmz", 2, PushState.APPLIED, at=LATER)
    latest = await store.versions.latest("dmz")
    applied = await store.versions.latest("dmz", PushState.APPLIED)
    assert latest is not None
    assert applied is not None
    assert (latest.number, applied.number) == (3, 2)
    assert await store.versions.latest("dmz", PushState.REJECTED) is None
    await store.versions.pushed("dmz", 1, PushState.UNREACHABLE, at=LATER)
    either = await store.versions.latest("dmz", PushState.REJECTED, PushState.UNREACHABLE, PushState.APPLIED)
    assert either is not None
    assert either.number == 2, "the newest in any of these states"


async def test_no_such_version(store: Store) -> None:
    for call in (
        store.versions.get("dmz", 1),
        store.versions.open("dmz", 1),
        store.versions.pushed("dmz", 1, PushState.APPLIED, at=NOW),
    ):
        with pytest.raises(UspError) as caught:
            await call
        assert caught.value.code == "version.not_found"


async def test_a_server_that_nobody_saw(store: Store) -> None:
    assert await store.servers.get("dmz") == Server("dmz")
    assert await store.servers.all() == {}


async def test_what_was_seen_of_a_server(store: Store) -> None:
    await store.servers.observed("dmz", ServerState.RUNNING, "fine", at=NOW, report=report(1))
    seen = Server("dmz", 0, ServerState.RUNNING, "fine", report(1), NOW, NOW)
    found = await store.servers.get("dmz")
    assert found.age is not None
    assert 0 <= found.age < 30, "by the database's clock, whatever the manager's says"
    assert replace(found, age=None) == seen
    await store.servers.observed("dmz", ServerState.UNREACHABLE, "x" * 5000, at=LATER)
    server = await store.servers.get("dmz")
    assert (server.state, server.report, server.seen_at, server.checked_at) == (
        ServerState.UNREACHABLE,
        report(1),
        NOW,
        LATER,
    )
    await store.servers.observed("a", ServerState.PENDING, "", at=LATER)
    assert list(await store.servers.all()) == ["a", "dmz"]
    ages = await store.servers.ages()
    assert list(ages) == ["dmz"], "the other was never seen"
    assert 0 <= ages["dmz"] < 30


async def test_who_is_cut_off_does_not_overrule_who_sees(opened: OpenStore) -> None:
    one, other = (await opened()).servers, (await opened()).servers
    await one.observed("dmz", ServerState.RUNNING, "fine", at=NOW, report=report(1), by="one")
    await other.observed("dmz", ServerState.UNREACHABLE, "no route", at=LATER, by="other")
    assert (await one.get("dmz")).state is ServerState.RUNNING
    await one.observed("dmz", ServerState.UNREACHABLE, "no answer", at=LATER, by="one")
    assert (await other.get("dmz")).state is ServerState.UNREACHABLE, "who saw it last sees it no more"
    await other.observed("dmz", ServerState.UNREACHABLE, "no route", at=LATER, by="other")
    assert (await other.get("dmz")).reason == "no route"


async def test_a_look_that_is_noted_late_takes_nothing_back(store: Store) -> None:
    for number in (2, 1):
        await store.servers.observed("dmz", ServerState.RUNNING, f"{number}", at=NOW, report=report(number))
    found = await store.servers.get("dmz")
    assert found.report is not None
    assert (found.report.version, found.reason) == (2, "2")
    again = report(1).model_copy(update={"boot": "another"})
    await store.servers.observed("dmz", ServerState.PENDING, "restarted", at=NOW, report=again)
    assert (await store.servers.get("dmz")).report == again


async def test_the_history_of_a_server_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.manager.store.servers.KEPT", 3)
    await store.servers.observed("other", ServerState.PENDING, "", at=NOW)
    for number in range(1, 6):
        await store.servers.observed("dmz", ServerState.RUNNING, "fine", at=NOW, report=report(number))
    found = await store.servers.changes("dmz")
    assert [change.change.state for change in found] == ["version 5", "version 4", "version 3"]
    assert [change.change.state for change in await store.servers.changes("dmz", before=found[0].number, limit=1)] == [
        "version 4"
    ]
    assert [change.change for change in await store.servers.changes("other")] == [Change("", "unknown", "pending")]


async def test_managers_that_look_at_once_tell_a_change_once(opened: OpenStore) -> None:
    stores = [await opened() for _ in range(4)]
    for number in (1, 2, 3):
        await asyncio.gather(
            *[
                store.servers.observed("dmz", ServerState.RUNNING, "fine", at=NOW, report=report(number), by=f"{place}")
                for place, store in enumerate(stores)
            ]
        )
    told = [change.change.state for change in await stores[0].servers.changes("dmz")]
    assert told == ["version 3", "version 2", "version 1", "running"]


async def test_run_states(store: Store, opened: OpenStore) -> None:
    assert await store.servers.run_states() == {}
    await store.servers.set_run_state("d1", RunState.STOPPED, author="ann", at=NOW)
    await store.servers.set_run_state("d2", RunState.STARTED, author="ann", at=NOW)
    await store.servers.set_run_state("d1", RunState.STARTED, author="bob", at=LATER)
    await store.servers.set_run_state("d2", None, author="bob", at=LATER)
    assert await (await opened()).servers.run_states() == {"d1": RunState.STARTED}
