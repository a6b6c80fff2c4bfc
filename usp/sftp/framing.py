"""A byte stream cut into SFTP packets (section 3: uint32 length, then that many bytes), without copying what passes.

`Framer.feed` shows each packet to a *look*, as soon and as often as there is more of it to see, until the look gives a
verdict; then the rest of the packet follows that verdict unseen. So a WRITE of 256 KiB is judged by its first 30 bytes.
What is forwarded unchanged leaves as the very buffers that came in: a chunk of nothing else as it is, others as views
of it. Only the beginning of a packet that a chunk ended in is kept, and no more of it than the look asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, TypeAlias

from usp.errors import UspError
from usp.sftp.wire import U32, Bytes, malformed


class Verdict(Enum):
    FORWARD = "forward"
    DROP = "drop"
    MORE = "more"  # not enough of it is here to say


FORWARD, DROP, MORE = Verdict.FORWARD, Verdict.DROP, Verdict.MORE

Look: TypeAlias = Callable[[Bytes, int, int, int], Verdict | bytes]
"""look(buffer, at, have, length): `have` of the packet's `length` bytes are in the buffer from `at` on, perhaps none.
Bytes as the verdict replace the packet. MORE must have no effect and is not allowed when all is there."""

HEAD: Final = 512
"""A packet cut off by the end of a chunk is completed to this size first: enough for a look to judge a large one."""


class Framer:
    """One direction of the stream. `look` may be exchanged between packets. A look that gives its verdict on a packet
    that is not whole yet may set `tap`, which then sees the rest of it as it comes. `inserted`: packets that wait for
    the end of the one that is being forwarded."""

    __slots__ = ("_forwarding", "_head", "_left", "_limit", "inserted", "look", "tap")

    def __init__(self, look: Look, limit: int) -> None:
        self.look = look
        self.tap: Callable[[memoryview], object] | None = None
        self._limit = limit
        self._head = bytearray()  # the beginning of a packet, of which nothing was passed on yet
        self._left = 0  # bytes to come of a packet with a verdict
        self._forwarding = False  # that verdict
        self.inserted: list[bytes] = []

    @property
    def inside(self) -> bool:
        """The stream has not come to the end of a packet."""
        return bool(self._left or self._head)

    def insert(self, packet: bytes) -> bool:
        """True: `packet` may be sent now. False: it is kept, and `feed` puts it where the current packet ends."""
        if self._left and self._forwarding:
            self.inserted.append(packet)
            return False
        return True

    def feed(self, data: Bytes, out: list[Bytes]) -> None:
        """Take the next bytes of the stream and append to `out` what leaves. Raises what the look raises, or
        `UspError` for a bad length, with all that leaves before that packet in `out`."""
        size = len(data)
        at = self._resume(data, out) if self._head else 0
        start = at  # from here to `at` all is forwarded, and is not in `out` yet
        if self._left:
            at += min(self._left, size - at)
            self._left -= at - start
            if self.tap is not None:
                self.tap(memoryview(data)[start:at])
                if not self._left:
                    self.tap = None
            if not self._forwarding:
                start = at
            if self.inserted and not self._left:
                _emit(data, start, at, out)
                start = at
                out += self.inserted
                self.inserted = []
        try:
            while size - at >= 4:
                length = U32.unpack_from(data, at)[0]
                if not 0 < length <= self._limit:
                    raise _bad_length(length)
                have = size - at - 4
                verdict = self.look(data, at + 4, have if have < length else length, length)
                if verdict is MORE:
                    break
                if verdict is FORWARD:
                    at += 4 + length
                else:
                    _emit(data, start, at, out)
                    if verdict is not DROP:
                        out.append(verdict)  # type: ignore[arg-type]  # mypy does not narrow by an alias
                    at = start = min(at + 4 + length, size)
                if have < length:
                    self._left, self._forwarding = length - have, verdict is FORWARD
                    at = size
        except UspError:
            _emit(data, start, at, out)
            raise
        _emit(data, start, at, out)
        if at < size:
            self._head += data[at:]

    def _resume(self, data: Bytes, out: list[Bytes]) -> int:
        """Complete the packet whose beginning was kept, as far as its look wants it; how much of `data` that took."""
        head = self._head
        at = self._fill(data, 0, 4)
        if len(head) < 4:
            return at
        length = U32.unpack_from(head, 0)[0]
        if not 0 < length <= self._limit:
            raise _bad_length(length)
        at = self._fill(data, at, min(HEAD, 4 + length))
        verdict = self.look(head, 4, len(head) - 4, length)
        if verdict is MORE and at < len(data):
            at = self._fill(data, at, 4 + length)
            verdict = self.look(head, 4, len(head) - 4, length)
        if verdict is MORE:
            assert len(head) < 4 + length, "the look has seen all of the packet"
            return at
        if verdict is not DROP:
            out.append(head if verdict is FORWARD else verdict)  # type: ignore[arg-type]
        self._left, self._forwarding = 4 + length - len(head), verdict is FORWARD
        self._head = bytearray()
        return at

    def _fill(self, data: Bytes, at: int, goal: int) -> int:
        end = min(len(data), at + max(goal - len(self._head), 0))
        self._head += data[at:end]
        return end


def _bad_length(length: int) -> UspError:
    return malformed(f"a packet of {length} bytes")


def _emit(data: Bytes, start: int, end: int, out: list[Bytes]) -> None:
    if start < end:
        out.append(data if end - start == len(data) else memoryview(data)[start:end])
