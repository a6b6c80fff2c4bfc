"""Direct Mode, with real sockets, directly and through a real tunnel link."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from tests.unit.server.joined import WAYS, front, read, read_all, reset, send
from tests.unit.server.support import free_port, until
from usp import metrics
from usp.server import proxy
from usp.server.direct import GREETING
from usp.server.session import Limits
from usp.status import Outcome

pytestmark = pytest.mark.parametrize("way", WAYS)


async def pieces(sock: socket.socket, data: bytes, source: random.Random) -> None:
    at = 0
    while at < len(data):
        size = source.choice((1, 7, 1000, 70_000, 300_000))
        await send(sock, data[at : at + size])
        at += size
        if size < 1000:
            await asyncio.sleep(0)
    sock.shutdown(socket.SHUT_WR)


async def test_bytes_of_any_size_cross_both_ways_at_once(way: str) -> None:
    source = random.Random(4)
    up, down = source.randbytes(9_000_000), source.randbytes(7_000_001)
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        _, _, at_target, at_partner = await asyncio.gather(
            pieces(partner, up, source), pieces(target, down, source), read_all(target), read_all(partner)
        )
        assert at_target == up
        assert at_partner == down
        assert await gateway.outcome() is Outcome.COMPLETED
        assert gateway.told() == ["session.started", "session.ended"]
        ended = gateway.facts[-1]
        assert (ended["bytes_in"], ended["bytes_out"], ended["outcome"]) == (len(up), len(down), "completed")
        assert ended["target"] == f"127.0.0.1:{targets.port}"


async def test_a_target_that_asks_for_it_is_told_the_partners_address_first(way: str) -> None:
    async with front(way, send_proxy_v2=True) as (gateway, targets), gateway.partner() as partner:
        expected = proxy.header(partner.getsockname(), ("127.0.0.1", gateway.port))
        await send(partner, b"question")
        target = await targets.next()
        partner.shutdown(socket.SHUT_WR)
        assert await read_all(target) == expected + b"question"
        target.shutdown(socket.SHUT_WR)
        assert await gateway.outcome() is Outcome.COMPLETED
        assert gateway.facts[-1]["bytes_in"] == len(b"question"), "what is ours is not the partner's"


async def test_half_close_by_the_partner(way: str) -> None:
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"question")
        partner.shutdown(socket.SHUT_WR)
        assert await read_all(target) == b"question"
        await asyncio.sleep(0.02)
        await send(target, b"answer")
        target.shutdown(socket.SHUT_WR)
        assert await read_all(partner) == b"answer"
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_half_close_by_the_target(way: str) -> None:
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(target, b"all that I say")
        target.shutdown(socket.SHUT_WR)
        assert await read_all(partner) == b"all that I say"
        await asyncio.sleep(0.02)
        await send(partner, b"x" * 200_000)
        partner.shutdown(socket.SHUT_WR)
        assert await read_all(target) == b"x" * 200_000
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_a_reset_of_the_partner_is_no_end_of_data(way: str) -> None:
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"half of")
        assert await read(target, 7) == b"half of"
        reset(partner)
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED
        if way == "directly":
            with pytest.raises(ConnectionResetError):
                await read_all(target)
        else:
            await read_all(target)


async def test_a_reset_of_the_target_is_no_end_of_data(way: str) -> None:
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"?")
        await send(target, b"half of")
        assert await read(target, 1) == b"?"
        assert await read(partner, 7) == b"half of"
        reset(target)
        assert await gateway.outcome() is Outcome.TARGET_CLOSED
        with pytest.raises(ConnectionResetError):
            await read_all(partner)


async def stalled(writer: socket.socket) -> int:
    """Write until nothing more goes in for a while; how much it was."""
    block, sent = b"z" * 65536, 0
    while True:
        try:
            async with asyncio.timeout(0.2):
                await asyncio.get_running_loop().sock_sendall(writer, block)
            sent += len(block)
        except TimeoutError:
            return sent


async def test_a_reader_who_stalls_stops_the_sender(way: str) -> None:
    """What is under way is in the kernel's buffers, a pipe, or the link's windows: bounded, and it goes on after."""
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        for reader, writer in ((target, partner), (partner, target)):
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sent = await stalled(writer)
            assert sent < 40 << 20
            writer.shutdown(socket.SHUT_WR)
            assert len(await read_all(reader)) in range(sent, sent + 65536)
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_the_target_does_not_answer(way: str) -> None:
    async with front(way, port=free_port()) as (gateway, _), gateway.partner() as partner:
        assert await gateway.outcome() is Outcome.TARGET_UNREACHABLE
        with pytest.raises(ConnectionResetError):
            await read_all(partner)
        assert gateway.told() == ["session.ended"]


async def test_a_banner_check_is_a_probe_and_no_audit_event(way: str) -> None:
    async with front(way) as (gateway, targets):
        for leave in (reset, socket.socket.close):
            async with gateway.partner() as partner:
                target = await targets.next()
                await send(target, b"SSH-2.0-target\r\n")
                assert await read(partner, 16) == b"SSH-2.0-target\r\n"
                leave(partner)
                if leave is socket.socket.close:
                    target.close()
                assert await gateway.outcome() is Outcome.PROBE
        async with gateway.partner() as partner:
            target = await targets.next()
            await send(target, b"x" * (GREETING + 1))
            target.close()
            assert len(await read_all(partner)) == GREETING + 1
            partner.close()
            assert await gateway.outcome() is Outcome.COMPLETED
        assert gateway.told() == ["session.ended"]


async def test_idle_killed_and_ended_while_dialling(way: str) -> None:
    async with front(way, Limits(5, 1, 0.2)) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"!")
        await read(target, 1)
        assert await gateway.outcome() is Outcome.IDLE
        with pytest.raises(ConnectionResetError):
            await read_all(partner)
    async with front(way, Limits(5, 1, 60, 0.1)) as (gateway, targets), gateway.partner():
        await targets.next()
        assert await gateway.outcome() is Outcome.LIMIT
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        await until(lambda: gateway.live)
        gateway.live[0].end(Outcome.KILLED)
        gateway.live[0].end(Outcome.IDLE)
        assert await gateway.outcome() is Outcome.KILLED
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"!")
        await read(target, 1)
        gateway.live[0].end(Outcome.DRAINED)
        assert await gateway.outcome() is Outcome.DRAINED


async def test_what_is_told_of_a_live_session(way: str) -> None:
    before = metrics.BYTES_TOTAL.labels("tcp", "in")._value.get()
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        target = await targets.next()
        await send(partner, b"12345")
        await read(target, 5)
        status = gateway.live[0].status(3)
        assert (status.bytes_in, status.bytes_out, status.slot, status.listener) == (5, 0, 3, "tcp")
        gateway.live[0].measure()
        assert metrics.BYTES_TOTAL.labels("tcp", "in")._value.get() == before + 5
        gateway.live[0].end(Outcome.KILLED)
        await gateway.outcome()


async def test_no_link(way: str) -> None:
    if way == "directly":
        return
    async with front("no_link") as (gateway, _), gateway.partner():
        assert await gateway.outcome() is Outcome.TUNNEL_DOWN


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_a_limit_of_bandwidth_slows_one_direction_down(way: str, direction: str) -> None:
    data = random.Random(5).randbytes(1_500_000)
    async with front(way) as (gateway, targets), gateway.partner() as partner:
        gateway.throttle.serve({f"listener/d1/{direction}": 1_000_000})
        target = await targets.next()

        async def carried(one: socket.socket, other: socket.socket) -> float:
            started = asyncio.get_running_loop().time()
            await send(one, data)
            one.shutdown(socket.SHUT_WR)
            assert await read_all(other) == data
            return asyncio.get_running_loop().time() - started

        up, down = await asyncio.gather(carried(partner, target), carried(target, partner))
        assert (up if direction == "upload" else down) >= 0.8  # a burst of 0.25 s, and a packet of a link
        assert await gateway.outcome() is Outcome.COMPLETED
    assert gateway.throttle.demands(1.0) == {}


async def test_who_waits_for_bandwidth_is_not_idle_and_a_push_lets_him_go(way: str) -> None:
    async with front(way, Limits(5, 1, 0.3)) as (gateway, targets), gateway.partner() as partner:
        gateway.throttle.serve({"listener/d1/upload": 10_000})
        target = await targets.next()
        sending = asyncio.create_task(send(partner, b"x" * 200_000))
        await asyncio.sleep(1.0)
        assert gateway.outcomes.empty()
        gateway.throttle.serve({})
        assert await read(target, 200_000) == b"x" * 200_000
        await sending
        assert await gateway.outcome() is Outcome.IDLE
