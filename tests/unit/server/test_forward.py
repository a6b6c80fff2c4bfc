"""A partner joined to a link's channel. (How bytes cross, half-close, resets: test_direct, "through_link".)"""

from __future__ import annotations

import asyncio
import socket

from tests import tunnel_pair
from tests.unit.server.joined import Targets
from usp.server.forward import Forward


async def test_what_comes_too_late_is_given_back() -> None:
    """The join was given up while the link was still opening the connection."""
    async with tunnel_pair.gate() as gate, tunnel_pair.client(gate.port):
        await tunnel_pair.until(lambda: gate.workers[0].get("t1", "client-1"))
        targets = Targets()
        partner, inside = socket.socketpair()
        connection = gate.link().connection
        forward = Forward(inside, connection.congestion, lambda side, error: None)
        forward.close()
        await connection.create_connection(lambda: forward, "127.0.0.1", targets.port)
        target = await targets.next()
        async with asyncio.timeout(2):
            assert await asyncio.get_running_loop().sock_recv(target, 1) == b""
        targets.close()
        partner.close()


async def test_the_link_is_lost() -> None:
    async with tunnel_pair.gate() as gate, tunnel_pair.client(gate.port):
        await tunnel_pair.until(lambda: gate.workers[0].get("t1", "client-1"))
        targets = Targets()
        partner, inside = socket.socketpair()
        inside.setblocking(False)
        over: asyncio.Queue[object] = asyncio.Queue()
        connection = gate.link().connection
        forward = Forward(inside, connection.congestion, lambda side, error: over.put_nowait(side))
        await connection.create_connection(lambda: forward, "127.0.0.1", targets.port)
        forward.start()
        gate.link().end("for a test")
        async with asyncio.timeout(2):
            assert str(await over.get()) == "Side.TARGET"
        forward.close(reset=True)
        targets.close()
        partner.close()
