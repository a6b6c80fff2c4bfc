"""The pusher, a real store, and real management ports."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import ADMIN, configure, deploy, make, opened, server_item
from tests.unit.server.support import free_port, greeting
from usp import log
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.catalog import Delete, Update
from usp.manager.control import Endpoint
from usp.manager.pusher import Pusher
from usp.manager.store.rows import RunState, Server, Version
from usp.settings import LogLevel, ServerTls
from usp.snapshot import PROTOCOL, Snapshot
from usp.status import Ack, Intake, ListenerState, PushState, Report, ServerState
from usp.tasks import TaskSet


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return files(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def pushing(folder: Path, management: int) -> AsyncIterator[App]:
    """A configured application with its pusher at work."""
    async with opened(folder) as app:
        await configure(app, management)
        async with pusher(app):
            yield app


@asynccontextmanager
async def pusher(app: App) -> AsyncIterator[Pusher]:
    made = Pusher(app.store, app.controls, app.bell, app.settings.push, clock=app.clock, random=random.random)
    tasks = TaskSet()
    tasks.spawn(made.run(), "pusher")
    try:
        yield made
    finally:
        await tasks.cancel()


async def pushed(app: App, server: str = "server") -> Version:
    version = (await app.pushes.push(ADMIN, server, force=True)).version
    return await app.pushes.settled(version.server, version.number, 5.0)


async def until(
    condition: Callable[[Server], object], app: App, server: str = "server", seconds: float = 5.0
) -> Server:
    async def seen() -> bool:
        return bool(condition(await app.server(server)))

    await eventually(seen, seconds)
    return await app.server(server)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_push_arrives_and_is_seen_at_once(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with server(management, own), pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        assert (await until(lambda found: found.report, app)).state is ServerState.PENDING
        version = await pushed(app)
        assert (version.number, version.push, version.reason) == (1, PushState.APPLIED, "")
        found = await app.server("server")
        assert found.report is not None
        assert (found.state, found.report.version, found.desired) == (ServerState.RUNNING, 1, 1)
        assert await greeting(port)


async def test_a_refused_version_leaves_the_old_one(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with server(management, own), pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        await pushed(app)
        await deploy(app, "poison", free_port())
        version = await pushed(app)
        assert version.push is PushState.REJECTED
        assert [str(problem) for problem in version.problems] == ["listeners.0.nodes.0.host_keys.0: is poison"]
        found = await app.server("server")
        assert found.report is not None
        assert (found.state, found.report.version) == (ServerState.REJECTED, 1)
        assert await greeting(port)
        await app.write(ADMIN, [Delete("deployments", "poison")])
        assert (await pushed(app)).push is PushState.APPLIED


async def test_a_restarted_server_gets_its_version_again(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        async with server(management, own):
            await pushed(app)
        gone = await until(lambda found: found.state is ServerState.UNREACHABLE, app)
        assert gone.report is not None, "what was last seen stays"
        assert "connection refused" in gone.reason
        async with server(management, own):
            await until(lambda found: found.state is ServerState.RUNNING and found.report.boot != gone.report.boot, app)  # type: ignore[union-attr]
            assert await greeting(port)
            assert len(await app.store.versions.page("server")) == 1


async def test_run_states_outlast_the_server(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()

    async def state_is(state: ListenerState) -> bool:
        report = (await app.server("server")).report
        return report is not None and [each.state for each in report.listeners] == [state]

    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        async with server(management, own):
            await pushed(app)
            await app.set_run_state(ADMIN, "deployments", "l", RunState.STOPPED)
            await eventually(lambda: state_is(ListenerState.STOPPED))
        async with server(management, own):
            await until(lambda found: found.state is ServerState.RUNNING, app)
            await eventually(lambda: state_is(ListenerState.STOPPED))
            await app.set_run_state(ADMIN, "deployments", "l", RunState.STARTED)
            await eventually(lambda: state_is(ListenerState.RUNNING))
            assert await greeting(port)


async def test_a_stopped_listener_never_opens_in_a_restarted_server(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        await app.set_run_state(ADMIN, "deployments", "l", RunState.STOPPED)
        async with server(management, own) as there:
            await pushed(app)
            assert there.report().listeners[0].reason == "an administrator stopped it"
            assert there.report().listeners[0].state is ListenerState.STOPPED


async def test_drained_stays_drained_until_it_is_taken_back(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        async with server(management, own):
            await pushed(app)
            await app.set_run_state(ADMIN, "proxy-servers", "server", RunState.DRAINED)
            assert (await app.emptied("server", 5.0)).is_empty
            assert await greeting(port) == b""
            await pushed(app)
            assert await greeting(port) == b""
        async with server(management, own) as there:
            await until(lambda found: found.report.boot == there.report().boot and found.report.version, app)  # type: ignore[union-attr]
            assert there.report().intake is Intake.CLOSED
            assert await greeting(port) == b""
            found = await until(lambda found: found.is_empty, app)
            assert found.reason == "Version 2 is in force. An administrator drained the server."
            await app.set_run_state(ADMIN, "proxy-servers", "server", RunState.STARTED)
            await until(lambda found: found.report.intake is Intake.OPEN, app)  # type: ignore[union-attr]
            assert await greeting(port)


@pytest.mark.parametrize(("speaks", "state"), [(1, PushState.APPLIED), (2, PushState.APPLIED), (3, PushState.APPLIED)])
async def test_servers_of_the_release_before_and_after(
    tmp_path: Path, own: ServerTls, monkeypatch: pytest.MonkeyPatch, speaks: int, state: PushState
) -> None:
    """The server is of another release. One of the release before cannot be told that it is drained."""
    management = free_port()
    monkeypatch.setattr("usp.server.verdict.PROTOCOL", speaks)
    seen: list[Snapshot] = []
    async with server(management, own) as there, pushing(tmp_path, management) as app:
        tell, apply = there.report, there.apply

        async def applied(snapshot: Snapshot, boot: str) -> Ack:
            seen.append(snapshot)
            return await apply(snapshot, boot)

        monkeypatch.setattr(there, "report", lambda: tell().model_copy(update={"protocol": speaks}))
        monkeypatch.setattr(there, "apply", applied)
        await app.set_run_state(ADMIN, "proxy-servers", "server", RunState.DRAINED)
        assert (await pushed(app)).push is state
        assert (seen[0].protocol, seen[0].drained) == (min(speaks, PROTOCOL), speaks > 1)


async def test_a_release_too_far_away_is_left_alone(
    tmp_path: Path, own: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    management = free_port()
    async with server(management, own) as there, pushing(tmp_path, management) as app:
        tell = there.report
        monkeypatch.setattr(there, "report", lambda: tell().model_copy(update={"protocol": PROTOCOL + 2}))
        await app.pushes.push(ADMIN, "server")
        found = await until(lambda found: found.state is ServerState.REJECTED, app)
        assert "upgrade the older one" in found.reason
        assert tell().version == 0


async def test_a_start_that_failed_is_tried_again(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()

    async def state_is(state: ListenerState) -> bool:
        report = (await app.server("server")).report
        return report is not None and [each.state for each in report.listeners] == [state]

    async with server(management, own), pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        await app.set_run_state(ADMIN, "deployments", "l", RunState.STOPPED)
        await pushed(app)
        with socket.create_server(("127.0.0.1", port)):
            await app.set_run_state(ADMIN, "deployments", "l", RunState.STARTED)
            await eventually(lambda: state_is(ListenerState.FAILED))
            report = (await app.server("server")).report
            assert report is not None
            assert "in use" in report.listeners[0].reason
        await eventually(lambda: state_is(ListenerState.RUNNING))
        assert await greeting(port)


async def test_a_silent_server_delays_no_other(tmp_path: Path, own: ServerTls) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    management = free_port()
    black_hole = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with black_hole, server(management, own), pushing(tmp_path, management) as app:
        await make(app, "proxy-servers", **server_item("silent", black_hole.sockets[0].getsockname()[1]))
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert (await pushed(app)).push is PushState.APPLIED
        assert loop.time() - started < app.settings.push.timeout


async def test_a_push_for_a_server_that_is_away_waits_for_it(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        version = (await app.pushes.push(ADMIN, "server", "early")).version
        assert (await app.pushes.settled("server", version.number, 0.2)).push is PushState.PENDING
        async with server(management, own):
            assert (await app.pushes.settled("server", version.number, 5.0)).push is PushState.APPLIED


async def test_a_version_arrives_as_it_was_pushed_whatever_was_compiled_since(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with pushing(tmp_path, management) as app:
        await deploy(app, "l", port)
        version = (await app.pushes.push(ADMIN, "server")).version
        await deploy(app, "later", free_port())
        later = await app.pushes.compare("server", 1)
        assert later.after.digest != version.digest
        async with server(management, own) as there:
            assert (await app.pushes.settled("server", 1, 5.0)).push is PushState.APPLIED
            assert there.snapshot is not None
            assert there.snapshot.content == later.before.content
            assert there.report().digest == version.digest
            await pushed(app)
            assert there.snapshot.content == later.after.content


async def test_disabled_servers_are_left_alone(tmp_path: Path, own: ServerTls) -> None:
    management = free_port()
    async with server(management, own), pushing(tmp_path, management) as app:
        await until(lambda found: found.report, app)
        await app.write(
            ADMIN, [Update("proxy-servers", "server", {**server_item("server", management), "enabled": False})]
        )
        app.bell.ring()
        await asyncio.sleep(0.2)
        before = (await app.server("server")).checked_at
        await asyncio.sleep(0.2)
        assert (await app.server("server")).checked_at == before
        await app.write(ADMIN, [Update("proxy-servers", "server", server_item("server", management))])
        await until(lambda found: found.checked_at != before, app)


async def test_two_managers_do_not_disturb_each_other(tmp_path: Path, own: ServerTls) -> None:
    management, port = free_port(), free_port()
    async with server(management, own), pushing(tmp_path, management) as one, opened(tmp_path) as other, pusher(other):
        await deploy(one, "l", port)
        for number in range(1, 6):
            version = await pushed(one if number % 2 else other)
            assert (version.number, version.push) == (number, PushState.APPLIED)
        for each in (one, other):
            found = await until(lambda found: found.state is ServerState.RUNNING, each)
            assert found.age is not None
            assert found.age < 3, "on any manager, by the database's clock"
        told = [entry.change.state for entry in await other.store.servers.changes("server")]
        assert [told.count(f"version {number}") for number in range(1, 6)] == [1] * 5, "each change is told once"


async def test_one_of_two_managers_looks_and_both_do_what_is_ordered_there(
    tmp_path: Path, own: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    management, port = free_port(), free_port()
    asked = [0, 0]

    def counted(place: int, app: App) -> None:
        ask = app.controls.status

        async def status(endpoint: Endpoint) -> Report:
            asked[place] += 1
            return await ask(endpoint)

        monkeypatch.setattr(app.controls, "status", status)

    async with server(management, own), opened(tmp_path, interval=0.3) as one:
        await configure(one, management)
        async with opened(tmp_path, interval=0.3) as two, pusher(one) as first, pusher(two) as second:
            for place, app in enumerate((one, two)):
                counted(place, app)
            await deploy(one, "l", port)
            await pushed(one)
            holders = [first.holdings.lease, second.holdings.lease]
            await eventually(lambda: _true(any(lease("server") for lease in holders)))
            holder = 0 if holders[0]("server") else 1
            assert holders[1 - holder]("server") is None
            asked[:] = [0, 0]
            await asyncio.sleep(3.0)
            assert asked[holder] > 2 * asked[1 - holder], "the other one has nothing to do"
            for app in (one, two):
                assert (await pushed(app)).push is PushState.APPLIED


async def test_a_manager_that_is_cut_off_leaves_the_server_to_another(
    tmp_path: Path, own: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    management, port = free_port(), free_port()

    async def cut(endpoint: Endpoint) -> Report:
        raise UspError("server.unreachable", "no route")

    async with server(management, own), opened(tmp_path, interval=0.3) as one:
        await configure(one, management)
        await deploy(one, "l", port)
        async with opened(tmp_path, interval=0.3) as two, pusher(one) as first:
            await pushed(one)
            await eventually(lambda: _true(first.holdings.holds("server")))
            async with pusher(two) as second:
                monkeypatch.setattr(one.controls, "status", cut)
                await eventually(lambda: _true(second.holdings.holds("server")))
                await asyncio.sleep(1.5)
                assert second.holdings.holds("server"), "and keeps it"
                found = await one.server("server")
                assert found.state is ServerState.RUNNING
                told = [entry.change.state for entry in await one.store.servers.changes("server")]
                assert "unreachable" not in told, "nobody was told what is not so"
                version = (await one.pushes.push(ADMIN, "server", force=True)).version
                assert (await one.pushes.settled("server", version.number, 5.0)).push is PushState.APPLIED


async def _true(condition: bool) -> bool:
    return condition


async def test_each_decision_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log._state, "rank", log.RANK[LogLevel.INFO])
    management = free_port()
    async with opened(tmp_path) as app:
        await configure(app, management)
        async with pusher(app):
            await until(lambda found: found.state is ServerState.UNREACHABLE, app)
            await asyncio.sleep(0.3)
    assert capsys.readouterr().err.count("does not answer") == 1
