"""Audit lines to a syslog server: RFC 5424 messages, counted octets (RFC 5425 over TLS, RFC 6587 over TCP).

Syslog has no acknowledgement. What was handed to the connection when it broke may be lost or come twice; the numbers of
the chain in the lines tell which.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
from collections import deque
from itertools import islice
from typing import Final

from usp import backoff
from usp.errors import UspError
from usp.log import get_logger
from usp.settings import SyslogSettings
from usp.tasks import spawn

log = get_logger(__name__)

INFORMATIONAL: Final = 6
BATCH: Final = 200
TIMEOUT: Final = 10.0
"""Seconds to connect, and to take a batch."""
INITIAL: Final = 0.5
MAXIMUM: Final = 30.0
"""Seconds between attempts."""

_TIME: Final = re.compile(rb'^\{"time":"([0-9TZ:.+-]{1,40})"')
_EVENT: Final = re.compile(rb'"event":"([!-!#-\[\]-~]{1,32})"')


def message(line: bytes, priority: int, host: str, pid: int) -> bytes:
    """`line` as an RFC 5424 message: the event is its MSGID, the JSON its text."""
    time, event = _TIME.search(line), _EVENT.search(line)
    told = (time.group(1) if time else b"-", event.group(1) if event else b"-")
    return b"<%d>1 %s %s usp-server %d %s - %s" % (priority, told[0], host.encode(), pid, told[1], line)


def framed(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


class Syslog:
    """Takes lines at any time; sends them while it is connected. `run` until cancelled."""

    def __init__(self, settings: SyslogSettings, name: str) -> None:
        """UspError settings.unreadable when certificates cannot be read."""
        self.dropped = 0
        self._settings = settings
        self._context = _context(settings)
        self._name = name
        self._pid = os.getpid()
        self._priority = settings.facility.code * 8 + INFORMATIONAL
        self._lines: deque[bytes] = deque()
        self._room = settings.buffer << 20
        self._news = asyncio.Event()
        self._sent = asyncio.Event()

    def put(self, line: bytes) -> None:
        self._lines.append(line)
        self._room -= len(line)
        while self._room < 0:
            self._take()
            self.dropped += 1
        self._news.set()

    async def run(self) -> None:
        where = f"{self._settings.host}:{self._settings.port}"
        failures = 0
        while True:
            try:
                async with asyncio.timeout(TIMEOUT):
                    reader, writer = await asyncio.open_connection(
                        self._settings.host, self._settings.port, ssl=self._context
                    )
            except (OSError, TimeoutError) as error:
                if not failures:
                    log.warn("syslog.unreachable", address=where, reason=str(error) or "no answer in time")
            else:
                failures = 0
                log.info("syslog.connected", address=where)
                await self._send(reader, writer, where)
            await asyncio.sleep(backoff.delay(failures, random.random(), INITIAL, MAXIMUM))  # noqa: S311
            failures += 1

    async def flush(self, patience: float) -> None:
        """Wait until all was sent, for a while."""
        try:
            async with asyncio.timeout(patience):
                while self._lines:
                    self._sent.clear()
                    await self._sent.wait()
        except TimeoutError:
            return

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        """Until the connection ends. A batch stays until the connection has taken it."""
        ended = spawn(reader.read(1), "syslog end")
        try:
            while True:
                while not self._lines:
                    self._news.clear()
                    news = spawn(self._news.wait(), "syslog news")
                    await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
                    if ended.done():
                        raise ConnectionResetError("it closed the connection")
                if ended.done():
                    raise ConnectionResetError("it closed the connection")
                batch = list(islice(self._lines, BATCH))
                for line in batch:
                    writer.write(framed(message(line, self._priority, self._name, self._pid)))
                async with asyncio.timeout(TIMEOUT):
                    await writer.drain()
                for line in batch:
                    if self._lines and self._lines[0] is line:  # or it was dropped meanwhile
                        self._take()
                self._sent.set()
        except (OSError, TimeoutError) as error:
            log.warn("syslog.lost", address=where, reason=str(error) or "it takes nothing any more")
        finally:
            ended.cancel()
            writer.transport.abort() if self._lines else writer.close()

    def _take(self) -> None:
        self._room += len(self._lines.popleft())


def _context(settings: SyslogSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise UspError("settings.unreadable", f"audit.syslog: ca, cert or key cannot be used: {error}") from None
    return context
