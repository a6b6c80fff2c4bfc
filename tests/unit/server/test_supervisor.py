"""The supervisor with real processes: stand-in workers that speak messages.py (stand_in_worker.py)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator

import pytest

from tests.unit.server.support import (
    connected,
    free_port,
    greeting,
    hear,
    listener,
    node,
    settings,
    snapshot,
    supervised,
    tunnel,
    until,
)
from usp.diagnosis import KeyScan, Probe
from usp.errors import UspError
from usp.metrics import render
from usp.model import FilterAction, Startup
from usp.server.supervisor import Supervisor
from usp.snapshot import ListenerSpec, PathSpec, Snapshot, TunnelSpec
from usp.status import AckResult, LinkState, ListenerState, ListenerStatus, TunnelStatus


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    """With one worker: that starts fast."""
    async with supervised(settings(workers=1)) as running:
        yield running


@pytest.fixture
async def two() -> AsyncIterator[Supervisor]:
    """With two workers."""
    async with supervised() as running:
        yield running


async def applied(supervisor: Supervisor, made: Snapshot) -> None:
    ack = await supervisor.apply(made)
    assert ack.result is AckResult.APPLIED, ack
    assert (ack.version, ack.digest) == (made.version, made.digest)


def states(supervisor: Supervisor) -> dict[str, ListenerState]:
    report = supervisor.report()
    ports: list[ListenerStatus | TunnelStatus] = [*report.listeners, *report.tunnels]
    return {port.id: port.state for port in ports}


def alive(pid: int | None) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def test_a_snapshot_comes_into_force(supervisor: Supervisor) -> None:
    port, other = free_port(), free_port()
    empty = supervisor.report()
    assert (empty.version, empty.digest, empty.listeners) == (0, "", ())
    assert supervisor.unready() == "no configuration yet"
    await applied(supervisor, snapshot(1, listener("one", port)))
    assert supervisor.unready() == ""
    assert (await greeting(port)).split()[1:] == [b"1", b"node"]
    async with connected(port) as (reader, writer):
        await hear(reader)
        await applied(supervisor, snapshot(2, listener("two", other)))
        assert states(supervisor) == {"two": ListenerState.RUNNING}
        assert (await greeting(other)).split()[1:] == [b"2", b"node"]
        with pytest.raises(ConnectionRefusedError):
            await greeting(port)
        await until(lambda: supervisor.report().sessions == 1)
        assert not reader.at_eof()
        writer.close()
    await until(lambda: supervisor.report().sessions == 0)


async def test_a_port_in_both_snapshots_keeps_its_socket(supervisor: Supervisor) -> None:
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    sock = next(iter(supervisor._acceptor._open.values()))
    await applied(supervisor, snapshot(2, listener("other", port)))
    assert next(iter(supervisor._acceptor._open.values())) is sock
    assert (await greeting(port)).split()[1] == b"2"


async def test_an_address_may_widen(supervisor: Supervisor) -> None:
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    await applied(supervisor, snapshot(2, listener("one", port, address="0.0.0.0")))
    assert (await greeting(port)).split()[1] == b"2"


async def test_partners_are_spread(two: Supervisor) -> None:
    supervisor = two
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    async with connected(port) as (first, _), connected(port) as (second, _):
        slots = {(await hear(reader)).split()[0] for reader in (first, second)}
        assert slots == {b"0", b"1"}
        assert [status.sessions for status in supervisor.report().slots] == [1, 1]
        assert supervisor.report().listeners[0].sessions == 2
        found = await supervisor.sessions()
        assert sorted(session.slot for session in found) == [0, 1]
        assert supervisor.kill_session(found[0].id)
        assert not supervisor.kill_session("nobody")
        await until(lambda: supervisor.report().sessions == 1)


async def test_no_node_for_the_address_means_no_banner(supervisor: Supervisor) -> None:
    port = free_port()
    closed = node("inner", allow=("192.0.2.0/24",), default=FilterAction.BLOCK)
    await applied(supervisor, snapshot(1, listener("one", port, nodes=(closed,))))
    assert await greeting(port) == b""


async def test_too_many_sessions() -> None:
    port = free_port()
    async with supervised(settings(workers=1, max_sessions=1)) as supervisor:
        await applied(supervisor, snapshot(1, listener("one", port)))
        async with connected(port) as (reader, _):
            assert await hear(reader)
            assert await greeting(port) == b""


async def test_a_path_needs_a_link_and_links_spread_over_the_slots(two: Supervisor) -> None:
    supervisor = two
    port, door = free_port(), free_port()
    path = PathSpec(tunnel="tun", client="client")
    await applied(supervisor, snapshot(1, listener("one", port, path=path), tunnel("tun", door)))
    assert await greeting(port) == b""
    async with connected(door) as (first, one), connected(door) as (second, other):
        await until(lambda: len(supervisor.report().tunnels[0].links) == 2)
        assert {link.state for link in supervisor.report().tunnels[0].links} == {LinkState.HANDSHAKING}
        one.write(b"client\n")
        slot = (await hear(first)).strip()
        for _ in range(3):  # only the slot with the link that is up
            assert (await greeting(port)).split()[0] == slot
        other.write(b"stranger\n")
        assert await hear(second)
        links = supervisor.report().tunnels[0].links
        assert {(link.client, link.state) for link in links} == {
            ("client", LinkState.UP),
            ("stranger", LinkState.UP),
        }
        assert {link.slot for link in links} == {0, 1}
        await supervisor.stop_component(TunnelSpec, "tun")
        assert await hear(first) == b""
        await until(lambda: supervisor.report().tunnels[0].links == ())
    assert await greeting(port) == b""
    assert states(supervisor) == {"one": ListenerState.RUNNING, "tun": ListenerState.STOPPED}


async def test_a_path_is_tested_by_a_worker_that_holds_a_link(two: Supervisor) -> None:
    supervisor = two
    path = PathSpec(tunnel="tun", client="client")
    door = free_port()
    spec = listener("one", free_port(), path=path)
    await applied(supervisor, snapshot(1, spec, tunnel("tun", door)))
    assert (await supervisor.probe(Probe(listener="one"))).ok  # without a link: by any, which says so
    async with connected(door) as (reader, writer):
        writer.write(b"client\n")
        slot = (await hear(reader)).decode().strip()
        for _ in range(3):
            (hop,) = (await supervisor.probe(Probe(listener="one"))).hops
            assert hop.detail.split()[0] == slot
            (hop,) = (await supervisor.scan(KeyScan(host="elsewhere", path=path))).hops
            assert hop.detail.split()[0] == slot
    with pytest.raises(UspError) as refused:
        await supervisor.probe(Probe(listener="tun"))
    assert refused.value.code == "deployment.unknown"


async def test_a_worker_that_dies_of_a_probe_is_told(supervisor: Supervisor) -> None:
    with pytest.raises(UspError, match="did not answer") as refused:
        await supervisor.scan(KeyScan(host="lethal"))
    assert refused.value.code == "server.unreachable"
    with pytest.raises(UspError, match="no worker process is ready"):
        await supervisor.scan(KeyScan(host="elsewhere"))


async def test_versions_only_grow(supervisor: Supervisor) -> None:
    port = free_port()
    made = snapshot(2, listener("one", port))
    await applied(supervisor, made)
    again = await supervisor.apply(made)
    assert (again.result, again.version) == (AckResult.ALREADY, 2)
    for late in (snapshot(1, listener("one", port)), snapshot(2)):
        ack = await supervisor.apply(late)
        assert (ack.result, ack.code, ack.version) == (AckResult.REJECTED, "push.older", 2)
    await applied(supervisor, snapshot(3, listener("one", port)))


async def test_a_push_that_was_meant_for_an_earlier_life_is_not_taken(supervisor: Supervisor) -> None:
    made = snapshot(1)
    with pytest.raises(UspError) as refused:
        await supervisor.apply(made, "another boot")
    assert refused.value.code == "server.restarted"
    assert (await supervisor.apply(made, supervisor.report().boot)).result is AckResult.APPLIED


async def test_what_is_refused_untried(supervisor: Supervisor) -> None:
    good = snapshot(1, listener("one", free_port()))
    for wrong, code, loc in (
        (snapshot(1, server="other"), "push.wrong_server", "server"),
        (good.model_copy(update={"digest": "0" * 64}), "push.rejected", "digest"),
        (good.model_copy(update={"protocol": 9}), "push.rejected", "protocol"),
    ):
        ack = await supervisor.apply(wrong)
        assert (ack.result, ack.code) == (AckResult.REJECTED, code)
        assert ack.problems[0].loc == (loc,)
    ack = await supervisor.apply(snapshot(1, listener("one", 1), listener("two", 1)))
    assert "which 'one' has" in ack.problems[0].msg
    assert supervisor.report().version == 0


async def test_an_unbindable_port_is_rejected_and_the_old_snapshot_serves_on(supervisor: Supervisor) -> None:
    port, free = free_port(), free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        ack = await supervisor.apply(snapshot(2, listener("two", free), listener("bad", busy), tunnel("tun", busy + 1)))
        assert (ack.result, ack.code, ack.version) == (AckResult.REJECTED, "push.rejected", 1)
        assert [(problem.loc, problem.msg) for problem in ack.problems] == [
            (
                ("listeners", 1, "port"),
                f"listener 'bad' cannot listen on 127.0.0.1:{busy}: Address already in use",
            )
        ]
    assert (await greeting(port)).split()[1] == b"1"
    with pytest.raises(ConnectionRefusedError):
        await greeting(free)
    await applied(supervisor, snapshot(2, listener("two", free)))


async def test_what_the_workers_cannot_use_is_rejected(supervisor: Supervisor) -> None:
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    ack = await supervisor.apply(snapshot(2, listener("poison", free_port())))
    assert [problem.msg for problem in ack.problems] == ["is poison"]
    assert (await greeting(port)).split()[1] == b"1"


async def test_a_snapshot_that_kills_workers_is_rejected(supervisor: Supervisor) -> None:
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    ack = await supervisor.apply(snapshot(2, listener("lethal", free_port())))
    assert ack.result is AckResult.REJECTED
    assert "ended while it prepared" in ack.problems[0].msg
    await until(lambda: all(slot.ready for slot in supervisor.slots))
    assert (await greeting(port)).split()[1] == b"1"
    assert [status.restarts for status in supervisor.report().slots] == [1]


async def test_a_killed_worker_is_replaced_and_serves_the_same_snapshot() -> None:
    lines: list[str] = []
    port = free_port()
    name = f"mortal-{port}"  # metrics are counted for the whole run of tests
    async with supervised(audit=lines.append) as supervisor:
        await applied(supervisor, snapshot(1, listener(name, port)))
        async with connected(port) as (first, _), connected(port) as (second, _):
            await hear(first)
            slot = int((await hear(second)).split()[0])
            pid = supervisor.report().slots[slot].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            assert await hear(second) == b""
            await until(lambda: supervisor.report().slots[slot].restarts == 1)
            assert not first.at_eof()
            (lost,) = [json.loads(line) for line in lines]
            assert (lost["event"], lost["outcome"], lost["listener"]) == ("session.ended", "internal", name)
            assert (await greeting(port)).split()[0] != str(slot).encode()
            await until(lambda: supervisor.slots[slot].ready)
            assert (await greeting(port)).split() == [str(slot).encode(), b"1", b"node"]
            text = render(supervisor.counted).decode()
            assert f'usp_sessions_total{{listener="{name}",outcome="internal"}} 1.0' in text
            assert 'usp_sessions_total{listener="one",outcome="completed"} 3.0' in text  # the dead one's stays
            assert "usp_workers_ready 2.0" in text


async def test_a_worker_that_comes_up_during_a_push_catches_up(two: Supervisor) -> None:
    supervisor = two
    port = free_port()
    await applied(supervisor, snapshot(1, listener("one", port)))
    pid = supervisor.report().slots[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not supervisor.slots[0].ready)
    await applied(supervisor, snapshot(2, listener("one", port)))
    await until(lambda: supervisor.slots[0].ready)
    assert supervisor.slots[0].worker is not None
    assert supervisor.slots[0].worker.version == 2


async def test_manual_listeners_wait_for_an_order_which_outlives_pushes(supervisor: Supervisor) -> None:
    port, auto = free_port(), free_port()
    specs = (listener("manual", port, startup=Startup.MANUAL), listener("auto", auto))
    await applied(supervisor, snapshot(1, *specs))
    assert states(supervisor) == {"manual": ListenerState.STOPPED, "auto": ListenerState.RUNNING}
    await supervisor.start_component(ListenerSpec, "manual")
    await supervisor.start_component(ListenerSpec, "manual")
    assert await greeting(port)
    await supervisor.stop_component(ListenerSpec, "auto")
    await supervisor.stop_component(ListenerSpec, "auto")
    await applied(supervisor, snapshot(2, *specs))
    assert states(supervisor) == {"manual": ListenerState.RUNNING, "auto": ListenerState.STOPPED}
    assert await greeting(port)
    with pytest.raises(ConnectionRefusedError):
        await greeting(auto)
    await supervisor.start_component(ListenerSpec, "auto")
    assert await greeting(auto)


async def test_what_was_stopped_stays_so_in_a_server_that_restarted(supervisor: Supervisor) -> None:
    ports = free_port(), free_port()
    made = snapshot(1, listener("one", ports[0]), tunnel("tun", ports[1])).model_copy(
        update={"stopped": ("one", "tun")}
    )
    await applied(supervisor, made)
    report = supervisor.report()
    assert [report.listeners[0].state, report.tunnels[0].state] == [ListenerState.STOPPED] * 2
    assert report.listeners[0].reason == "an administrator stopped it"
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await greeting(port)
    await supervisor.start_component(ListenerSpec, "one")
    assert await greeting(ports[0])


async def test_a_start_that_fails_says_why_and_may_be_repeated(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await applied(supervisor, snapshot(1, listener("one", port, startup=Startup.MANUAL)))
        with pytest.raises(UspError, match="in use"):
            await supervisor.start_component(ListenerSpec, "one")
        status = supervisor.report().listeners[0]
        assert status.state is ListenerState.FAILED
        assert "in use" in status.reason
    await supervisor.start_component(ListenerSpec, "one")
    assert supervisor.report().listeners[0].reason == ""
    for unknown in ("nobody", "one"):
        with pytest.raises(UspError) as refused:
            await supervisor.stop_component(TunnelSpec, unknown)
        assert refused.value.code == "deployment.unknown"


async def test_draining_lets_sessions_end_and_leaves_no_process() -> None:
    port = free_port()
    async with supervised() as supervisor:
        await applied(supervisor, snapshot(1, listener("one", port), tunnel("tun", free_port())))
        pids = [status.pid for status in supervisor.report().slots]
        async with connected(port) as (reader, writer):
            await hear(reader)
            draining = asyncio.ensure_future(supervisor.drain())
            await until(lambda: supervisor.draining)
            await asyncio.sleep(0.1)
            assert not draining.done()
            report = supervisor.report()
            assert report.draining
            assert report.listeners[0].state is ListenerState.DRAINING
            assert report.sessions == 1
            assert supervisor.unready() == "draining"
            with pytest.raises(ConnectionRefusedError):
                await greeting(port)
            with pytest.raises(UspError) as refused:
                await supervisor.apply(snapshot(2))
            assert refused.value.code == "server.draining"
            writer.close()
        await draining
        assert not any(alive(pid) for pid in pids)
        assert [status.pid for status in supervisor.report().slots] == [None, None]


async def test_who_does_not_drain_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.server.supervisor.KILL_MARGIN", 0.2)
    async with supervised(settings(workers=1, drain=0.1)) as supervisor:
        pid = supervisor.report().slots[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await supervisor.drain()
        assert not alive(pid)


async def test_workers_outlive_a_vanished_supervisor_only_to_drain(supervisor: Supervisor) -> None:
    worker = supervisor.slots[0].worker
    assert worker is not None
    worker.channel.close()  # what the worker sees when the supervisor is gone
    await asyncio.wait_for(asyncio.shield(worker.process.exited), 3)


async def test_without_workers_a_push_is_to_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.server.supervisor.START_TIMEOUT", 0.2)
    supervisor = Supervisor(settings(), lambda line: None, ("/bin/false",))
    await supervisor.start()
    assert supervisor.unready() == "no worker process is ready"
    with pytest.raises(UspError, match="no worker process is ready"):
        await supervisor.apply(snapshot(1))
    await supervisor.kill()
    missing = Supervisor(settings(), lambda line: None, ("/nonexistent",))
    await missing.start()
    assert [status.pid for status in missing.report().slots] == [None, None]
    await missing.kill()
