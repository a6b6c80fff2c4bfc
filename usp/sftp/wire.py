"""SSH's data types on bytes: uint32, uint64, string (RFC 4251 section 5), read within bounds.

Whatever is too short for what it claims to hold is a `UspError("sftp.protocol")`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

from usp.errors import UspError

Bytes: TypeAlias = bytes | bytearray | memoryview

_SHORT: Final = "the packet is shorter than what it claims to hold"

U8, U32, U64 = Struct(">B"), Struct(">I"), Struct(">Q")


def malformed(reason: str) -> UspError:
    """The error to raise where a peer's bytes are not what the protocol has there."""
    return UspError("sftp.protocol", reason)


class Reader:
    """Takes one value after the other from `data`."""

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def _value(self, kind: Struct) -> int:
        """One of these integers."""
        start = self.position
        self.position = start + kind.size
        if self.position > len(self._data):
            raise malformed(_SHORT)
        value: int = kind.unpack_from(self._data, start)[0]
        return value

    def u8(self) -> int:
        return self._value(U8)

    def u32(self) -> int:
        return self._value(U32)

    def u64(self) -> int:
        return self._value(U64)

    def string(self) -> bytes:
        start = self.position + 4
        if start > len(self._data):
            raise malformed(_SHORT)
        self.position = end = start + int(U32.unpack_from(self._data, start - 4)[0])
        if end > len(self._data):
            raise malformed(_SHORT)
        return self._data[start:end]

    def since(self, start: int) -> bytes:
        """What was read from `start` on."""
        return self._data[start : self.position]

    @property
    def left(self) -> int:
        return len(self._data) - self.position


def u32(value: int) -> bytes:
    return U32.pack(value)


def u64(value: int) -> bytes:
    return U64.pack(value)


def string(value: bytes) -> bytes:
    return U32.pack(len(value)) + value


def packet(kind: int, *parts: bytes) -> bytes:
    """An SFTP packet (section 3): length, type, and the rest."""
    body = b"".join(parts)
    return U32.pack(1 + len(body)) + U8.pack(kind) + body
