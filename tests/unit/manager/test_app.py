"""The use cases, over the real store and a real management port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, READER, configure, deploy, make, opened, server_item
from tests.unit.server.support import connected, free_port, hear
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Catalog, Change, Create, Delete, Delta, Update
from usp.manager.control import Endpoint
from usp.manager.kinds import item_of
from usp.manager.store.rows import RunState
from usp.model import Account


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with opened(tmp_path) as made:
        yield made


def filters(*names: str) -> list[Change]:
    return [Create("ip-filters", {"name": name}, (place,)) for place, name in enumerate(names)]


async def actions(app: App, prefix: str = "") -> list[tuple[str, str]]:
    return [(event.action, event.target) for event in await app.store.events.page(action=prefix)][::-1]


async def test_writes_are_all_or_nothing_and_leave_events(app: App) -> None:
    with pytest.raises(UspError) as caught:
        await app.write(ADMIN, [*filters("a", "b"), Delete("rules", "nobody", loc=(2,))])
    assert caught.value.code == "item.not_found"
    assert (await app.catalog()).of_kind("ip-filters") == ()
    assert await actions(app) == []
    await app.write(ADMIN, filters("a", "b"))
    await app.write(ADMIN, [Update("ip-filters", "a", {"name": "c"}), Delete("ip-filters", "b")])
    assert sorted(await actions(app)) == [
        ("item.create", "ip-filters/a"),
        ("item.create", "ip-filters/b"),
        ("item.delete", "ip-filters/b"),
        ("item.update", "ip-filters/c"),
    ]


async def test_writing_what_is_there_already_is_no_event(app: App) -> None:
    await make(app, "ip-filters", "a")
    revision = (await app.catalog()).revision
    assert not await app.write(ADMIN, [Update("ip-filters", "a", {"name": "a"})])
    assert (await app.catalog()).revision == revision
    assert len(await actions(app)) == 1


async def test_writers_at_the_same_moment_all_win(app: App) -> None:
    names = [f"f{number}" for number in range(8)]
    await asyncio.gather(*(app.write(ADMIN, filters(name)) for name in names))
    catalog = await app.catalog()
    assert [record.item.name for record in catalog.of_kind("ip-filters")] == names
    assert len({record.revision for record in catalog.records.values()}) == 8


async def test_who_always_loses_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(delta: Delta, **_: object) -> Catalog:
        raise UspError("catalog.conflict")

    monkeypatch.setattr(app.store.items, "write", lost)
    with pytest.raises(UspError) as caught:
        await app.write(ADMIN, filters("a"))
    assert caught.value.code == "catalog.conflict"


async def test_a_database_that_fails_is_not_asked_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def away(delta: Delta, **_: object) -> Catalog:
        nonlocal asked
        asked += 1
        raise UspError("database.unavailable")

    monkeypatch.setattr(app.store.items, "write", away)
    with pytest.raises(UspError) as caught:
        await app.write(ADMIN, filters("a"))
    assert (caught.value.code, asked) == ("database.unavailable", 1)


async def test_passwords_of_accounts_are_kept_as_hashes(app: App) -> None:
    await make(app, "account-repositories", "r")
    await make(app, "accounts", "a", account_repository="r", username="u", password="hush-hush")

    async def kept() -> str:
        password = item_of(Account, (await app.catalog()).get("accounts", "a")).password
        assert password
        return password.reveal()

    hashed = await kept()
    assert hashed.startswith("$argon2id$")
    fields = {"name": "a", "account_repository": "r", "username": "v"}
    for same in ({}, {"password": None}, {"password": "***"}):
        await app.write(ADMIN, [Update("accounts", "a", {**fields, **same})])
        assert await kept() == hashed
    await app.write(ADMIN, [Update("accounts", "a", {**fields, "password": "other"})])
    assert await kept() != hashed


async def test_readers_change_nothing(app: App) -> None:
    await configure(app)
    await deploy(app, "l", 2222)
    before = await actions(app)
    for asked in (
        app.write(READER, filters("a")),
        app.pushes.push(READER, "server"),
        app.set_run_state(READER, "deployments", "l", RunState.STOPPED),
        app.kill_session(READER, "x"),
    ):
        with pytest.raises(UspError) as caught:
            await asked
        assert caught.value.code == "auth.forbidden"
    assert await actions(app) == before


async def test_run_states(app: App) -> None:
    await configure(app)
    await deploy(app, "l", 2222)
    key = (await app.catalog()).get("deployments", "l").id
    bell = asyncio.gather(app.bell.wait(5))
    await asyncio.sleep(0)
    await app.set_run_state(ADMIN, "deployments", key, RunState.STOPPED)
    assert all(await bell)
    assert await app.store.servers.run_states() == {key: RunState.STOPPED}
    await app.set_run_state(ADMIN, "proxy-servers", "server", RunState.DRAINED)
    assert await app.drained() == {"server"}
    await app.set_run_state(ADMIN, "proxy-servers", "server", RunState.STARTED)
    assert await app.drained() == set()
    assert (await actions(app, "run.")) == [
        ("run.stopped", "deployments/l"),
        ("run.drained", "proxy-servers/server"),
        ("run.started", "proxy-servers/server"),
    ]
    with pytest.raises(UspError, match="no Tunnel 'l'"):
        await app.set_run_state(ADMIN, "tunnels", "l", RunState.STARTED)


async def test_servers_are_those_that_are_configured(app: App) -> None:
    assert await app.servers() == []
    await configure(app)
    await make(app, "proxy-servers", "away", **{k: v for k, v in server_item("away", 1).items() if k != "name"})
    assert [server.name for server in await app.servers()] == ["away", "server"]
    assert (await app.server("away")).desired == 0
    with pytest.raises(UspError):
        await app.server("nobody")


async def test_sessions_of_a_real_server(app: App, tmp_path: Path) -> None:
    management, partners = free_port(), free_port()
    await configure(app, management)
    await deploy(app, "l", partners)
    await make(app, "proxy-servers", "away", **{k: v for k, v in server_item("away", 1).items() if k != "name"})
    disabled = {**server_item("off", 1), "enabled": False}
    await app.write(ADMIN, [Create("proxy-servers", disabled)])
    await app.pushes.push(ADMIN, "server")
    async with server(management, files(tmp_path / "tls")):
        catalog = await app.catalog()
        endpoint = Endpoint.of(catalog, catalog.get("proxy-servers", "server"))
        ack = await app.controls.put(endpoint, (await app.store.versions.open("server", 1)).snapshot)
        assert ack.version == 1, ack
        async with connected(partners) as (reader, _):
            assert await hear(reader)
            (live,), missing = await app.sessions()
            assert live.server == "server"
            assert missing.keys() == {"away"}
            assert missing["away"]
            with pytest.raises(UspError, match="no session 'nobody'"):
                await app.kill_session(ADMIN, "nobody")
            await app.kill_session(ADMIN, live.session.id)
            assert await reader.read() == b""
        assert await actions(app, "session.") == [("session.kill", live.session.id)]


async def test_a_hash_is_kept_as_it_is_and_the_same_password_changes_nothing(app: App) -> None:
    phc = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
    await make(app, "account-repositories", "r")
    await make(app, "accounts", "a", account_repository="r", username="a", password=phc)
    await make(app, "accounts", "b", account_repository="r", username="b", password="hush-hush")
    kept = item_of(Account, (await app.catalog()).get("accounts", "a")).password
    assert kept is not None
    assert kept.reveal() == phc
    fields = {"name": "b", "account_repository": "r", "username": "b"}
    assert not await app.write(ADMIN, [Update("accounts", "b", {**fields, "password": "hush-hush"})])
    for wrong in (phc.replace("19456", "999999"), "x" * 1025):
        with pytest.raises(UspError) as caught:
            await app.write(ADMIN, [Update("accounts", "b", {**fields, "password": wrong}, loc=("accounts", 1))])
        assert [problem.loc for problem in caught.value.problems] == [("accounts", 1, "password")]
        assert wrong not in str(caught.value)
