"""What Status shows of a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.unit.manager.site import ADMIN, PUBLIC, configure, deploy
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.diff import Due
from usp.manager.store.rows import RunState, Server
from usp.manager.ui.overview import Row, row, totals
from usp.manager.ui.words import Tone
from usp.model import ListenerType
from usp.status import (
    Intake,
    LinkState,
    LinkStatus,
    ListenerState,
    ListenerStatus,
    Report,
    ServerState,
    SlotStatus,
    TunnelStatus,
)

SEEN = datetime(2026, 1, 1, tzinfo=UTC)
SLOTS = tuple(SlotStatus(slot=number, pid=1, ready=True, sessions=0, restarts=0) for number in range(2))


def report(**more: Any) -> Report:
    return Report(server="server", software="1.2", boot="b", started_at=0.0, version=3, slots=SLOTS, **more)


def listener(state: ListenerState, **more: Any) -> ListenerStatus:
    fields = {"id": "i", "name": "l", "type": ListenerType.SFTP, "address": "0.0.0.0", "port": 2222, **more}
    return ListenerStatus(state=state, **fields)


def link(client: str, state: LinkState = LinkState.UP) -> LinkStatus:
    return LinkStatus(id="x", client=client, slot=0, state=state, peer="192.0.2.9", version="1.2")


async def shown(app: App, server: Server, *, due: Due | None = None, run: RunState | None = None) -> Row:
    catalog = await app.catalog()
    record = catalog.get("proxy-servers", "server")
    return row(catalog, record, server, {record.id: run} if run else {}, due)


async def test_a_server_that_nobody_has_spoken_to(app: App) -> None:
    await configure(app)
    found = await shown(app, Server("server"))
    assert (found.chip.word, found.chip.tone, found.live, found.where) == (
        "unknown",
        Tone.BUSY,
        False,
        "127.0.0.1:8444",
    )
    assert found.reason == "No manager has spoken to it yet."
    assert found.mark == (await shown(app, Server("server"))).mark
    assert found.mark != (await shown(app, Server("server", desired=1))).mark
    assert (found.running, found.links, found.trouble, found.drained) == (0, 0, False, False)


async def test_a_disabled_server(app: App) -> None:
    await configure(app)
    catalog = await app.catalog()
    record = catalog.get("proxy-servers", "server")
    off = record.model_copy(update={"item": record.item.model_copy(update={"enabled": False})})
    found = row(catalog, off, Server("server"), {}, None)
    assert (found.chip.word, found.chip.tone) == ("disabled", Tone.OFF)


async def test_a_server_that_runs(app: App) -> None:
    await configure(app)
    listeners = (
        listener(ListenerState.RUNNING, name="b", sessions=4),
        listener(ListenerState.STOPPED, name="a", type=ListenerType.TCP, address="::"),
    )
    server = Server(
        "server",
        desired=4,
        state=ServerState.PENDING,
        reason="Version 4 is due.",
        report=report(listeners=listeners, sessions=4, intake=Intake.CLOSED),
        seen_at=SEEN,
        age=1.0,
    )
    found = await shown(app, server, due=Due(True), run=RunState.DRAINED)
    assert (found.version, found.desired, found.sessions, found.drained, found.live) == (3, 4, 4, True, True)
    assert found.seen_at is None, "how old it is does not change what is shown, while it is new"
    stopped, running = found.listeners
    assert (stopped.where, stopped.about, stopped.startable, stopped.stoppable) == (
        "[::]:2222",
        "TCP, passed through",
        True,
        False,
    )
    assert (running.startable, running.stoppable, running.sessions) == (False, True, 4)
    assert found.running == 1
    for word in ("server", "0.0.0.0:2222", "running", "stopped", "changes"):
        assert word in found.words
    assert not found.trouble


async def test_a_port_that_failed_is_trouble(app: App) -> None:
    await configure(app)
    listeners = (listener(ListenerState.FAILED, reason="address in use"),)
    server = Server("server", state=ServerState.RUNNING, report=report(listeners=listeners), seen_at=SEEN, age=1.0)
    found = await shown(app, server)
    assert found.trouble
    assert found.listeners[0].reason == "address in use"
    assert "failed" in found.words


async def test_what_is_old_is_told_as_past(app: App) -> None:
    await configure(app)
    tunnel = TunnelStatus(id="t", name="t", address="0.0.0.0", port=1, state=ListenerState.RUNNING, links=(link("c"),))
    listeners = (listener(ListenerState.RUNNING, sessions=9),)
    old = report(listeners=listeners, tunnels=(tunnel,), sessions=9)
    server = Server("server", state=ServerState.UNREACHABLE, report=old, seen_at=SEEN, age=1.0)
    found = await shown(app, server)
    assert (found.live, found.seen_at, found.sessions, found.trouble) == (False, SEEN, 0, True)
    assert found.listeners[0].chip.word == "was running"
    assert found.tunnels[0].clients[0].chip.word == "was connected"
    stale = Server("server", state=ServerState.RUNNING, report=old, seen_at=SEEN, age=60.0)
    assert not (await shown(app, stale)).live


async def test_clients_that_should_be_there(app: App) -> None:
    await configure(app)
    await app.write(
        ADMIN,
        [
            Create("tunnels", {"name": "t", "proxy_server": "server", "port": 1, "private_key": "host"}),
            Create("public-keys", {"name": "k", "public_key": PUBLIC}),
            Create("proxy-clients", {"name": "one", "tunnel": "t", "public_key": "k"}),
            Create("proxy-clients", {"name": "two", "tunnel": "t", "public_key": "k"}),
            Create("proxy-clients", {"name": "off", "tunnel": "t", "public_key": "k", "enabled": False}),
        ],
    )
    await deploy(app, "l", 2222)
    id = (await app.catalog()).get("tunnels", "t").id

    async def with_links(*links: LinkStatus, live: bool = True) -> Row:
        tunnel = TunnelStatus(id=id, name="t", address="0.0.0.0", port=1, state=ListenerState.RUNNING, links=links)
        age = 1.0 if live else 100.0
        return await shown(
            app, Server("server", state=ServerState.RUNNING, report=report(tunnels=(tunnel,)), seen_at=SEEN, age=age)
        )

    found = await with_links(link("one"), link("one"), link("two", LinkState.DOWN), link("stranger"))
    clients = {client.name: client for client in found.tunnels[0].clients}
    assert {name: client.chip.word for name, client in clients.items()} == {
        "one": "connected",
        "two": "not connected",
        "stranger": "1 of 2 links",
    }
    assert clients["one"].about == "192.0.2.9 1.2"
    assert (found.links, found.trouble) == (3, True)
    past = await with_links(live=False)
    assert {client.chip.word for client in past.tunnels[0].clients} == {"was not connected"}


async def test_totals(app: App) -> None:
    await configure(app)
    listeners = (listener(ListenerState.RUNNING), listener(ListenerState.FAILED))
    server = Server("server", state=ServerState.RUNNING, report=report(listeners=listeners, sessions=2), age=0.0)
    one = await shown(app, server, due=Due(True))
    two = await shown(app, Server("server"), due=Due(False))
    found = totals([one, two, await shown(app, Server("server"))])
    assert (found.servers, found.running, found.troubled, found.listeners, found.listening) == (3, 1, 1, 2, 1)
    assert (found.sessions, found.due) == (2, ("server",))
