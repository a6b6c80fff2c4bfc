"""What is under way while a connection works on what its socket gave: who has packets to send, and what passes.

One read event may set off others: a connection inside a tunnel link is fed by the link. They end together, and then
all that was to be sent is written, one system call for each connection.
"""

from __future__ import annotations

import asyncio
import os
from struct import Struct
from typing import Any, Final, Protocol

PADDING: Final = os.urandom(256)
"""RFC 4253, section 6, wants random padding because of ciphers whose blocks leak; an AEAD does not care."""

BLOCK: Final = 16
"""What is sealed in a packet is a multiple of it, for every cipher of the fast path."""

_CHANNEL: Final = Struct(">I")
_DATA: Final = 10  # where the data begins: after padding length, type, channel, data length


class Sender(Protocol):
    """A connection that has packets waiting."""

    def flush(self) -> None: ...


class Passing:
    """The data packet that is being handed to a session: who writes all of its `data` on can have it as it stands."""

    __slots__ = ("data", "length", "text")

    def __init__(self, text: memoryview, length: int, data: memoryview) -> None:
        self.text = text
        self.length = length
        self.data = data

    def body(self, channel: int) -> memoryview | None:
        """The packet's text, to be sealed for another channel; None: it has not the size that all ciphers take.

        Nothing of its sender's stays in it but the data.
        """
        text, length = self.text, self.length
        if length % BLOCK:
            return None
        _CHANNEL.pack_into(text, 2, channel)
        end = _DATA + len(self.data)
        text[end:length] = PADDING[: length - end]
        return text[:length]


class ReadEvent:
    """The state of one event loop. Outside of a read event (`depth` 0), what waits is sent at the tick's end."""

    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[Sender] = []
        self.passing: Passing | None = None
        self._due_on: Any = None

    def add(self, sender: Sender) -> None:
        self.waiting.append(sender)
        if self.depth:
            return
        loop = asyncio.get_running_loop()
        if self._due_on is not loop:
            self._due_on = loop
            loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._due_on = None
        self.flush()

    def flush(self) -> None:
        # A flush of a connection inside a link makes the link wait in its turn.
        while self.waiting:
            self.waiting.pop(0).flush()
