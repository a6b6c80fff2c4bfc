"""What is under way while a connection works on what its socket gave: who has packets to send, and what passes.

One read event may set off others: a connection inside a tunnel link is fed by the link. They end together, and then
all that was to be sent is written, one system call for each connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

DATA: Final = 94
HEAD: Final = 10
"""Padding length, type, channel, data length: what stands before a channel packet's data in its text."""
HEADROOM: Final = 4 + HEAD
"""The same in a packet, which its length begins."""
TAILROOM: Final = 48
"""Padding and tag: what stands behind it, in a packet of our own making."""

_BLOCK: Final = 16  # what is sealed in a packet is a multiple of it, for every cipher of the fast path
_HEAD: Final = Struct(">BBII")
_PADDING: Final = os.urandom(256)  # RFC 4253, section 6: for ciphers whose blocks leak; an AEAD does not care


def padded(count: int) -> int:
    """The length of a packet's text with so much data."""
    return HEAD + count + 4 + -(count + 14) % _BLOCK


class Sender(Protocol):
    """A connection that has packets waiting."""

    def flush(self) -> None: ...


def framed(buffer: memoryview, at: int, count: int, channel: int, length: int) -> memoryview:
    """The text of a CHANNEL_DATA packet with the `count` bytes of `buffer` from `at` on, where they stand; its `length`
    is `padded(count)`.

    What stands before them (`HEAD` bytes) and behind them (at most 19) is overwritten.
    """
    end = at + count
    start = at - HEAD
    stop = start + length
    _HEAD.pack_into(buffer, start, stop - end, DATA, channel, count)
    buffer[end:stop] = _PADDING[: stop - end]
    return buffer[start:stop]


class Passing:
    """Data with room for packets around it: who writes all of `data` on has it sealed where it stands.

    It is at `at` in `buffer`, with `HEADROOM` before it, or at least `HEAD`, and `TAILROOM` behind it.
    """

    __slots__ = ("at", "buffer", "data")

    def __init__(self, buffer: memoryview, at: int, count: int) -> None:
        self.buffer = buffer
        self.at = at
        self.data = buffer[at : at + count]


class ReadEvent:
    """The state of one event loop. Outside of a read event (`depth` 0), what waits is sent at the tick's end."""

    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[Sender] = []
        self.passing: Passing | None = None  # what is being handed to whom may write it on
        self._due_on: Any = None

    def add(self, sender: Sender) -> None:
        self.waiting.append(sender)
        if self.depth:
            return
        loop = asyncio.get_running_loop()
        if self._due_on is not loop:
            self._due_on = loop
            loop.call_soon(self._flush_due)

    def hand(self, passing: Passing, receive: Callable[..., object], *arguments: object) -> None:
        """Call somebody who may write `passing.data` on."""
        around, self.passing = self.passing, passing
        try:
            receive(*arguments)
        finally:
            self.passing = around

    def read(self, passing: Passing, receive: Callable[..., object], *arguments: object) -> None:
        """The same as a read event of its own: what comes of it is written at once."""
        self.depth += 1
        try:
            self.hand(passing, receive, *arguments)
        finally:
            self.depth -= 1
            if not self.depth:
                self.flush()

    def _flush_due(self) -> None:
        self._due_on = None
        self.flush()

    def flush(self) -> None:
        # A flush of a connection inside a link makes the link wait in its turn.
        while self.waiting:
            self.waiting.pop(0).flush()


EVENT: Final = ReadEvent()
