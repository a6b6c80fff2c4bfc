"""The content scanner, as one worker uses it: each file is one request to an ICAP server (`icap`), on a connection of
its own, directly or through the tunnel's link. The file is sent as it comes, and the answer is read meanwhile: it may
come before the end. Whatever goes wrong is a verdict, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import asyncssh

from usp.errors import UspError
from usp.scan import Finding, Scan, Service, Verdict
from usp.server import icap
from usp.server.icap import Head, Judge, Options, Replies
from usp.server.tunnels import Link
from usp.ssh import failures
from usp.tasks import spawn

PIECE: Final = 64 * 1024
"""Bytes that are read from a scanner at once."""
HIGH: Final = 1 << 20
"""Bytes of a file that wait for the scanner before its partner is read no more,"""
LOW: Final = 256 * 1024
"""and how few must be left before it is again."""


class Feed:
    """A file's content on its way to the scanner. `drained` is called when there is room again."""

    def __init__(self, drained: Callable[[], None]) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._news = asyncio.Event()
        self._drained = drained

    @property
    def full(self) -> bool:
        return self._waiting > HIGH

    def put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting += len(data)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def get(self) -> bytes:
        """The next piece; empty at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._pieces.popleft()
        self._waiting -= len(data)
        if self._waiting <= LOW:
            self._drained()
        return data


class Reader(Protocol):
    async def read(self, n: int = -1, /) -> bytes: ...


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """To which scanner, and how. `link`: finds the link to dial through; None: directly."""

    scan: Scan
    link: Callable[[], Link | None] | None

    @property
    def service(self) -> Service:
        return self.scan.service


class Scanner:
    """`options` of the services are asked for once in a while."""

    def __init__(self) -> None:
        self._options: dict[tuple[Service, bool], tuple[Options, float]] = {}

    async def scan(self, way: Way, client: str, path: bytes, feed: Feed) -> Verdict:
        """The verdict on one file. `client`: the partner's address."""
        try:
            options = await self._options_of(way)
            async with asyncio.timeout(None) as patience, _connected(way) as (reader, writer):
                return await _Request(way, options, path, client, feed, reader, writer, patience).run()
        except UspError as error:
            return Verdict(Finding.FAILED, error.message)
        except TimeoutError:
            return Verdict(Finding.FAILED, f"the scanner did not go on within {way.scan.timeout} seconds")
        except (OSError, asyncssh.Error) as error:
            return Verdict(Finding.FAILED, f"no connection to the scanner: {failures.said(error)}")

    async def _options_of(self, way: Way) -> Options:
        now = asyncio.get_running_loop().time()
        key = way.service, way.link is None
        known = self._options.get(key)
        if known is not None and now < known[1]:
            return known[0]
        async with asyncio.timeout(way.scan.timeout), _connected(way) as (reader, writer):
            writer.write(icap.options_request(way.service))
            await writer.drain()
            replies = Replies()
            while data := await reader.read(PIECE):
                for event in replies.feed(data):
                    if isinstance(event, Head):
                        options = icap.read_options(event)
                        self._options[key] = options, now + options.ttl
                        return options
        raise icap.failed("the scanner closed the connection")


@asynccontextmanager
async def _connected(way: Way) -> AsyncIterator[tuple[Reader, Writer]]:
    """To the scanner, within the time for one step."""
    async with asyncio.timeout(way.scan.timeout):
        reader, writer = await _connect(way)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _connect(way: Way) -> tuple[Reader, Writer]:
    host, port, _ = way.service
    if way.link is None:
        return await asyncio.open_connection(host, port, limit=PIECE)
    link = way.link()
    if link is None:
        raise UspError("tunnel.down")
    return await link.connection.open_connection(host, port, encoding=None)


class _Request:
    """One file's. `patience`: the time that the scanner has, which runs while it is its turn."""

    def __init__(
        self,
        way: Way,
        options: Options,
        path: bytes,
        client: str,
        feed: Feed,
        reader: Reader,
        writer: Writer,
        patience: asyncio.Timeout,
    ) -> None:
        self._head = icap.request(way.service, options, path, client)
        self._preview = options.preview
        self._timeout = way.scan.timeout
        self._feed = feed
        self._reader, self._writer = reader, writer
        self._patience = patience
        self._judge = Judge()
        self._replies = Replies()
        self._go_on = asyncio.Event()

    async def run(self) -> Verdict:
        sending = spawn(self._send(), "content for the scanner")
        try:
            return await self._verdict()
        finally:
            sending.cancel()

    async def _verdict(self) -> Verdict:
        while data := await self._reader.read(PIECE):
            for event in self._replies.feed(data):
                if isinstance(event, Head) and event.status == 100:
                    self._go_on.set()
                elif verdict := self._judge.heard(event):
                    return verdict
        raise icap.failed("the scanner closed the connection without a verdict")

    async def _send(self) -> None:
        """What goes wrong with it shows by the answer that does not come."""
        try:
            self._writer.write(self._head)
            if self._preview is None or await self._previewed(self._preview):
                while data := await self._feed.get():
                    self._write(data)
                    await self._its_turn(self._writer.drain())
                self._end(icap.END)
        except (OSError, asyncssh.Error):
            pass
        self._hurry()

    async def _previewed(self, size: int) -> bool:
        """Send as much as the scanner wants to see first; whether it wants the rest, if there is more."""
        first = b""
        while len(first) <= size and (data := await self._feed.get()):
            first += data
        self._write(first[:size])
        if len(first) <= size:
            self._end(icap.END_IN_PREVIEW)
            return False
        self._writer.write(icap.END)
        await self._its_turn(self._go_on.wait())
        self._write(first[size:])
        return True

    def _write(self, data: bytes) -> None:
        self._judge.sent(data)
        self._writer.write(icap.chunk(data))

    def _end(self, mark: bytes) -> None:
        self._judge.sent_all()
        self._writer.write(mark)

    async def _its_turn(self, step: Awaitable[object]) -> None:
        """The scanner has so much time for it; the partner, who is waited for otherwise, has what it needs."""
        self._hurry()
        await step
        self._patience.reschedule(None)

    def _hurry(self) -> None:
        self._patience.reschedule(asyncio.get_running_loop().time() + self._timeout)
