"""Explain, probe and scan over a real store and a real management port; the worker there is a stand-in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, PRIVATE, READER, configure, deploy, make, opened
from tests.unit.server.support import free_port
from usp.diagnosis import Diagnosis, Login
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Update
from usp.manager.control import Endpoint
from usp.manager.diagnose import Through
from usp.manager.explain import Explanation, Question
from usp.model import FilterAction
from usp.secret import Secret
from usp.status import ServerState

QUESTION = Question("server", "one", "192.0.2.7", "alice")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """With a configuration and a server that runs it."""
    management = free_port()
    async with opened(tmp_path) as made, server(management, files(tmp_path / "tls")) as supervisor:
        await configure(made, management)
        await deploy(made, "one", free_port())
        version = (await made.pushes.push(ADMIN, "server")).version
        pushable = await made.store.versions.open("server", version.number)
        catalog = await made.catalog()
        endpoint = Endpoint.of(catalog, catalog.get("proxy-servers", "server"))
        await made.controls.put(endpoint, pushable.snapshot)
        report = supervisor.report()
        await made.store.servers.observed("server", ServerState.RUNNING, "", at=made.clock(), report=report)
        yield made


async def change(app: App, kind: str, name: str, **fields: Any) -> None:
    item = (await app.catalog()).get(kind, name).item.model_dump(mode="json")
    await app.write(ADMIN, [Update(kind, name, {**item, **fields})])


async def explained(app: App, **other: str) -> Explanation:
    return await app.diagnostics.explain(replace(QUESTION, **other))


def told(found: Diagnosis) -> dict[str, Any]:
    """The task as the worker got it, with its secrets."""
    assert [hop.name for hop in found.hops] == ["server", "connect"], found
    made: dict[str, Any] = json.loads(found.hops[1].detail.partition(" ")[2])
    return made


async def test_explained_as_it_is_and_as_it_will_be(app: App) -> None:
    found = await explained(app)
    assert (found.ok, found.warnings, found.inbound_node, found.target) == (True, (), "in", "out")
    await change(app, "outbound-nodes", "out", port=2022)
    (warning,) = (await explained(app)).warnings
    assert warning.startswith("not pushed yet: the server runs version 1")
    await change(app, "ip-filters", "all", enabled=False)
    (warning,) = (await explained(app)).warnings
    assert warning.startswith("nothing can be pushed to 'server'")


async def test_the_way_is_tested_as_the_server_has_it(app: App) -> None:
    found = await app.diagnostics.probe(ADMIN, "server", await explained(app))
    assert found.ok
    task = told(found)
    assert (task["host"], task["port"], task["target"]["name"], task["login"]) == ("127.0.0.1", 22, "out", None)
    login = Login(username="alice", password=Secret("crosses"))
    task = told(await app.diagnostics.probe(ADMIN, "server", await explained(app), login))
    assert task["login"] == {"username": "alice", "password": "crosses", "private_key": None}
    (event, *_) = await app.store.events.page(limit=1)
    assert (event.action, event.target, event.detail["login"]) == ("probe", "server", "alice")
    assert "crosses" not in repr(event)


async def test_the_rules_own_credentials(app: App) -> None:
    with pytest.raises(UspError) as refused:
        await app.diagnostics.probe(ADMIN, "server", await explained(app), "dedicated")
    assert refused.value.problems[0].loc == ("login",)
    await make(app, "account-repositories", "partners")
    await make(app, "accounts", "alice", account_repository="partners", username="alice", password="a long password")
    rule = {
        "inbound_method": "password",
        "inbound_source": "account_repository",
        "account_repository": "partners",
        "outbound_credentials": "dedicated",
        "username": "gateway",
        "password": "at the target",
        "private_key": "host",
    }
    await make(app, "rules", "own", **rule)
    await change(app, "inbound-nodes", "in", rule="own")
    task = told(await app.diagnostics.probe(ADMIN, "server", await explained(app), "dedicated"))
    assert task["login"]["username"] == "gateway"
    assert task["login"]["password"] == "at the target"
    assert task["login"]["private_key"] == PRIVATE.reveal()
    await change(app, "rules", "own", private_key=None, password="at the target")
    task = told(await app.diagnostics.probe(ADMIN, "server", await explained(app), "dedicated"))
    assert task["login"]["private_key"] is None


async def test_what_cannot_be_probed_says_so(app: App) -> None:
    await deploy(app, "two", free_port())
    found = await app.diagnostics.probe(ADMIN, "server", await explained(app, listener="two"))
    assert [(hop.name, hop.code) for hop in found.hops] == [("server", "deployment.unknown")]  # not pushed
    listener = {"address": "127.0.0.1", "port": 1, "route": "r", "default_outbound_node": "out"}
    await make(app, "listeners", "nowhere", **listener)
    found = await app.diagnostics.probe(ADMIN, "server", await explained(app, listener="nowhere"))
    assert "not deployed" in found.hops[0].detail
    await change(app, "proxy-servers", "server", port=free_port())
    found = await app.diagnostics.probe(ADMIN, "server", await explained(app))
    assert [(hop.name, hop.code) for hop in found.hops] == [("server", "server.unreachable")]


async def test_host_keys_are_read_directly_or_through_a_client(app: App) -> None:
    task = told(await app.diagnostics.scan(ADMIN, "out", "server", None))
    assert (task["host"], task["port"], task["path"]) == ("127.0.0.1", 22, None)
    await make(app, "tunnels", "t", proxy_server="server", port=2200, private_key="host")
    await make(app, "proxy-clients", "c", tunnel="t", public_key="target")
    task = told(await app.diagnostics.scan(ADMIN, "out", "server", Through("t", "c")))
    assert task["path"] == {"tunnel": (await app.catalog()).get("tunnels", "t").id, "client": "c"}
    await make(app, "tunnels", "t2", proxy_server="server", port=2201, private_key="host")
    with pytest.raises(UspError) as refused:
        await app.diagnostics.scan(ADMIN, "out", "server", Through("t2", "c"))
    assert refused.value.problems[0].loc == ("proxy_client",)
    fields = {"host": "127.0.0.1", "port": 1, "ca_certificate": "ca", "tls_certificate": "m"}
    await make(app, "proxy-servers", "other", **fields)
    with pytest.raises(UspError) as refused:
        await app.diagnostics.scan(ADMIN, "out", "other", Through("t", "c"))
    assert refused.value.problems[0].loc == ("tunnel",)


async def test_only_administrators_make_servers_connect(app: App) -> None:
    with pytest.raises(UspError) as refused:
        await app.diagnostics.probe(READER, "server", await explained(app))
    assert refused.value.code == "auth.forbidden"
    with pytest.raises(UspError) as refused:
        await app.diagnostics.scan(READER, "out", "server", None)
    assert refused.value.code == "auth.forbidden"


async def test_an_address_against_a_filter(app: App) -> None:
    await make(app, "ip-filters", "some", block=["192.0.2.0/24"])
    found = await app.diagnostics.test_address("some", "192.0.2.7")
    assert (found.action, found.rule, found.network) == (FilterAction.BLOCK, "block", "192.0.2.0/24")
    with pytest.raises(UspError) as refused:
        await app.diagnostics.test_address("some", "partner.example")
    assert refused.value.problems[0].loc == ("address",)
