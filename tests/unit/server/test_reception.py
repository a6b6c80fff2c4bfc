"""Limits and penalties across processes, with stand-in workers. (Placement: test_supervisor.py.)"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

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
    until,
)
from usp.errors import UspError
from usp.limits import Limits
from usp.model import ProxyProtocol
from usp.server import reception
from usp.server.ledger import Kind
from usp.server.supervisor import Supervisor
from usp.snapshot import ListenerSpec
from usp.status import AckResult


async def serving(supervisor: Supervisor) -> int:
    port = free_port()
    assert (await supervisor.apply(snapshot(1, listener("one", port)))).result is AckResult.APPLIED
    return port


async def say(port: int, line: str) -> None:
    async with connected(port) as (reader, writer):
        await hear(reader)
        writer.write(line.encode() + b"\n")
        await writer.drain()


async def test_who_fails_too_often_is_refused_until_released() -> None:
    lines: list[str] = []
    strict = settings(workers=1, limits=Limits(failures=2, first_penalty=60))
    async with supervised(strict, lines.append) as supervisor:
        port = await serving(supervisor)
        for _ in range(2):
            await say(port, "wrong alice")
        await until(lambda: len(supervisor.reception.penalties()) == 2)
        assert await greeting(port) == b""
        source, username = supervisor.reception.penalties()
        assert (source.key, source.kind, source.failures, source.reason) == (
            "source:127.0.0.1", "source", 2, "failed logins",
        )  # fmt: skip
        assert 50 < source.seconds <= 60
        assert username.key == "username:alice"
        supervisor.reception.release("source:127.0.0.1")
        with pytest.raises(UspError, match="nothing is held"):
            supervisor.reception.release("source:127.0.0.1")
        assert await greeting(port)
        supervisor.reception.release("username:alice")
        told = [json.loads(line) for line in lines]
        assert [
            (fact["event"], fact.get("source", fact.get("username"))) for fact in told if "penalty" in fact["event"]
        ] == [
            ("penalty", "127.0.0.1"),
            ("penalty", "alice"),
            ("penalty.released", "127.0.0.1"),
            ("penalty.released", "alice"),
        ]
        await until(lambda: '{"event":"barred","username":"alice","on":0}' in lines)
        assert '{"event":"barred","username":"alice","on":1}' in lines


async def test_a_new_worker_hears_who_is_barred() -> None:
    lines: list[str] = []
    async with supervised(settings(workers=1, limits=Limits(failures=1)), lines.append) as supervisor:
        port = await serving(supervisor)
        await say(port, "wrong alice")
        barred = '{"event":"barred","username":"alice","on":1}'
        await until(lambda: barred in lines)
        worker = supervisor.slots[0].worker
        assert worker is not None
        worker.process.kill()
        await until(lambda: lines.count(barred) == 2)


async def test_sessions_per_account_are_exact_across_workers() -> None:
    async with supervised(settings(limits=Limits(sessions_per_account=1))) as supervisor:
        port = await serving(supervisor)
        async with connected(port) as (one, first), connected(port) as (two, second):
            assert (await hear(one)).split()[0] != (await hear(two)).split()[0]
            first.write(b"right alice\n")
            await until(lambda: supervisor.reception._ledger._accounts["alice"] == 1)
            second.write(b"right alice\n")
            assert await hear(two) == b""
            await until(lambda: supervisor.report().sessions == 1)


async def test_connections_per_source_are_given_back_also_by_a_worker_that_dies() -> None:
    async with supervised(settings(workers=1, limits=Limits(connections_per_source=1))) as supervisor:
        port = await serving(supervisor)
        async with connected(port) as (reader, _):
            assert await hear(reader)
            assert await greeting(port) == b""
            worker = supervisor.slots[0].worker
            assert worker is not None
            worker.process.kill()
            await until(lambda: not supervisor.reception._ledger._held)
            await until(lambda: supervisor.slots[0].ready)
        assert await greeting(port)


def balanced(port: int, *, trusted: str = "127.0.0.1/32", block: tuple[str, ...] = ()) -> ListenerSpec:
    proxied = {"proxy_protocol": ProxyProtocol.REQUIRED, "proxy_trusted": (trusted,)}
    return listener("one", port, nodes=(node(block=block),)).model_copy(update=proxied)


async def announce(port: int, header: bytes) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(header)
        return await hear(reader)


async def test_whom_a_balancer_speaks_for_is_the_partner() -> None:
    port = free_port()
    limits = Limits(failures=1, connections_per_source=1)
    async with supervised(settings(workers=1, limits=limits)) as supervisor:
        await supervisor.apply(snapshot(1, balanced(port, block=("192.0.2.66/32",))))
        async with connected(port) as (reader, writer):
            writer.write(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n")
            assert await hear(reader)
            (held,) = supervisor._sessions()
            assert (held.ticket.peer_host, held.ticket.peer_port) == ("192.0.2.7", 4711)
            assert await announce(port, b"PROXY TCP4 192.0.2.7 198.51.100.1 4712 22\r\n") == b""
            assert await announce(port, b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 22\r\n")
            assert await announce(port, b"PROXY TCP4 192.0.2.66 198.51.100.1 4711 22\r\n") == b""
            writer.write(b"wrong alice\n")
            await until(supervisor.reception.penalties)
        assert supervisor.reception.penalties()[0].name == "192.0.2.7"
        assert await announce(port, b"PROXY UNKNOWN\r\n"), "a health check of the balancer"


async def test_no_header_no_entry(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    async with supervised(settings(workers=1)) as supervisor:
        await supervisor.apply(snapshot(1, balanced(port)))
        assert await announce(port, b"SSH-2.0-partner\r\n") == b""
        assert "code=proxy.header listener=one peer=127.0.0.1 reason=it sent no PROXY header but SSH" in _log(capsys)
        await supervisor.apply(snapshot(2, balanced(port, trusted="192.0.2.0/24")))
        assert await announce(port, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n") == b""
        assert "code=proxy.untrusted" in _log(capsys)


async def test_a_listener_that_closes_while_the_header_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    async with supervised(settings(workers=1)) as supervisor:
        await supervisor.apply(snapshot(1, balanced(port)))
        async with connected(port) as (reader, writer):
            await until(lambda: len(supervisor.reception._waiting))
            monkeypatch.setattr(reception, "MAX_WAITING", 1)
            assert await greeting(port) == b""
            await supervisor.apply(snapshot(2))
            writer.write(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n")
            assert await hear(reader) == b""


def _log(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.replace('"', "")


async def test_a_listener_whose_target_is_down_says_nothing() -> None:
    async with supervised(settings(workers=2)) as supervisor:
        ports = free_port(), free_port(), free_port()
        open_ = listener("open", ports[2]).model_copy(update={"withhold_banner": False})
        await supervisor.apply(snapshot(1, listener("one", ports[0]), listener("other", ports[1]), open_))
        await say(ports[0], "down one")
        await until(lambda: any(slot.view().down for slot in supervisor.slots))
        assert await greeting(ports[0]), "the other worker does not know that"
        await say(ports[0], "down one")
        await until(lambda: all(slot.view().down for slot in supervisor.slots))
        assert await greeting(ports[0]) == b""
        assert await greeting(ports[1])
        for slot in supervisor.slots:
            assert slot.worker
            slot.worker.down = frozenset({"open"})
        assert await greeting(ports[2]), "it is not to be withheld"
        assert await greeting(ports[0]), "its target is back"


async def test_the_budget_of_a_target_is_exact_across_workers(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    limits = Limits(target_failures=2, target_forgive=3600)
    async with supervised(settings(workers=2, limits=limits), lines.append) as supervisor:
        port = await serving(supervisor)
        async with AsyncExitStack() as stack:
            partners = [await stack.enter_async_context(connected(port)) for _ in range(4)]
            slots = {(await hear(reader)).split()[0] for reader, _ in partners}
            assert len(slots) == 2
            for number, (reader, writer) in enumerate(partners[:2]):
                writer.write(f"try user-{number}\n".encode())
                assert await hear(reader) == b"granted\n"
            late = {}
            for number, (reader, writer) in enumerate(partners[2:]):
                writer.write(f"try late-{number}\n".encode())
                late[asyncio.ensure_future(hear(reader))] = writer
            await until(lambda: len(supervisor.reception._guard._waiting) == 2)
            partners[0][1].write(b"accepted user-0\n")
            (served,), (waiting,) = await asyncio.wait(late, return_when="FIRST_COMPLETED")
            assert served.result() == b"granted\n"
            assert not supervisor.reception.penalties()
            for writer in (partners[1][1], late[served]):
                writer.write(b"denied somebody\n")
            assert await waiting == b"denied\n"
            (shown,) = supervisor.reception.penalties()
            assert (shown.key, shown.failures, shown.reason) == (
                "target:target", 2, "failed logins: strangers are not passed on",
            )  # fmt: skip
            reader, writer = partners[0]
            writer.write(b"try user-0\n")
            assert await hear(reader) == b"granted\n", "known there"
            writer.write(b"accepted user-0\nwrong user-0\n")
            await until(lambda: supervisor.reception._ledger._entries[Kind.SOURCE])
            reader, writer = partners[1]
            for key, answer in (("target:target", b"denied\n"), ("source:127.0.0.1", b"granted\n")):
                supervisor.reception.release(key)
                writer.write(b"try user-9\n")
                assert await hear(reader) == answer
            assert not supervisor.reception.penalties()
        assert [json.loads(line)["event"] for line in lines if "target" in line] == [
            "target.guarded", "penalty.released",
        ]  # fmt: skip
    assert _log(capsys).count("target.guarded") == 1


async def test_the_attempts_of_a_worker_that_dies_count_as_denied() -> None:
    limits = Limits(target_failures=1, target_forgive=3600)
    async with supervised(settings(workers=1, limits=limits)) as supervisor:
        port = await serving(supervisor)
        async with connected(port) as (reader, writer):
            await hear(reader)
            writer.write(b"try alice\n")
            assert await hear(reader) == b"granted\n"
            worker = supervisor.slots[0].worker
            assert worker is not None
            worker.process.kill()
            await until(supervisor.reception.penalties)
