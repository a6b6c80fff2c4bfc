"""Read a PROXY header from an accepted connection, and not a byte more: what follows is the partner's SSH.

Everything is looked at first (MSG_PEEK, recv(2)). What has arrived is taken out of the socket once it is certain to be
of the header: all of it while the header is not complete, else up to its end.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from usp.server.proxy import MAX_LENGTH, Bad, Header, parse

DEADLINE: Final = 5.0
"""Seconds for the header to arrive. A balancer sends it with its first packet."""


async def header(sock: socket.socket) -> Header | Bad:
    """The header that comes first."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await _read(sock)
    except TimeoutError:
        return Bad(f"its PROXY header was not complete within {DEADLINE:.0f} s")
    except OSError:
        return Bad("it went away before its PROXY header was complete")


async def _read(sock: socket.socket) -> Header | Bad:
    taken = b""
    while True:
        await _readable(sock)
        try:
            seen = sock.recv(MAX_LENGTH - len(taken), socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not seen:
            return Bad("it went away before its PROXY header was complete")
        found = parse(taken + seen)
        if isinstance(found, Bad):
            return found
        end = len(seen) if found is None else found.length - len(taken)
        taken += sock.recv(end, socket.MSG_DONTWAIT)
        if found is not None:
            return found


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
