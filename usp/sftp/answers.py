"""What targets answer, held to version 3: a client gets nothing that a strict reader would choke on.

`clean` reads an answer to its end. Whatever is too short for what it claims to hold is a protocol error. What version 3
does not have (bytes after the last field, unknown flags of attributes) clients ignore or stumble over: it is left out.
A STATUS without its texts, as servers of version 2 send it, gets empty ones.

    answer            to                          what must be in it
    ---------------   -------------------------   ----------------------------------------------------------
    STATUS            anything                    code, text, language
    HANDLE            OPEN, OPENDIR               a handle of 256 bytes at most
    ATTRS             STAT and the like           attributes
    NAME              READDIR                     so many names, each without NUL, with a line and attributes
    NAME              REALPATH and the like       the same, one at least
    EXTENDED_REPLY    statvfs, limits, users      the fields that the table has for it
"""

from __future__ import annotations

from struct import error as StructError  # noqa: N812
from typing import Final

from usp.sftp import packets, wire
from usp.sftp.ops import OPS, Field, Op, Packet
from usp.sftp.wire import U32, Bytes, Reader, malformed

_READDIR: Final = OPS[12]
_V3_FLAGS: Final = 0x8000000F
_EXTENDED: Final = 0x80000000
_SIZES: Final = tuple(8 * (flags & 1) + 4 * (flags & 2) + (flags & 4) + (flags & 8) for flags in range(16))
"""Bytes of attributes by their flags: size 8, owner and group 8, permissions 4, times 8."""


def status(data: Bytes, at: int, length: int) -> bytes | None:
    """Of a STATUS that is all there, at `at`: the packet that may pass in its place; None: it may itself."""
    if length >= 17:
        text = 13 + int(U32.unpack_from(data, at + 9)[0])
        if text + 4 <= length:
            end = text + 4 + int(U32.unpack_from(data, at + text)[0])
            if end == length:
                return None
    reader = Reader(bytes(data[at : at + length]), 5)
    code = reader.u32()
    texts = [wire.string(reader.string() if reader.left else b"") for _ in range(2)]
    return wire.packet(Packet.STATUS, bytes(data[at + 1 : at + 5]), wire.u32(code), *texts)


def clean(op: Op, body: bytes) -> bytes:
    """What may pass of a good answer to `op` (without its length): often all of it."""
    kind = body[0]
    try:
        if kind == Packet.NAME:
            return _names(op, body)
        if kind == Packet.ATTRS:
            return _attrs(body)
        reader = Reader(body, 5)
        for field in (Field.TEXT,) if kind == Packet.HANDLE else op.reply:
            reader.string() if field is Field.TEXT else reader.u64()
        return body[: reader.position]
    except StructError:
        raise malformed("the packet is shorter than what it claims to hold") from None


def _attrs(body: bytes) -> bytes:
    end, known = _attrs_end(body, 5)
    if end > len(body):
        raise StructError
    return body[:end] if known else body[:5] + packets.read_attrs(Reader(body, 5))[0]


def _names(op: Op, body: bytes) -> bytes:
    total = int(U32.unpack_from(body, 5)[0])
    if not total and op is not _READDIR:
        raise malformed("NAME without a name")
    at, all_known = 9, True
    for _ in range(total):
        name = at + 4
        at = name + int(U32.unpack_from(body, at)[0])
        if op is _READDIR and 0 in body[name:at]:
            raise malformed("a name with a NUL byte")
        at += 4 + int(U32.unpack_from(body, at)[0])
        at, known = _attrs_end(body, at)
        all_known &= known
    if at > len(body):
        raise StructError
    return body[:at] if all_known else _only_known(body, total)


def _only_known(body: bytes, total: int) -> bytes:
    """With the flags of attributes that version 3 has."""
    reader = Reader(body, 9)
    entries = []
    for _ in range(total):
        entries += [wire.string(reader.string()), wire.string(reader.string()), packets.read_attrs(reader)[0]]
    return body[:9] + b"".join(entries)


def _attrs_end(body: bytes, at: int) -> tuple[int, bool]:
    """Where attributes end, and whether version 3 has all their flags."""
    flags = int(U32.unpack_from(body, at)[0])
    at += 4 + _SIZES[flags & 15]
    if flags & _EXTENDED:
        pairs = int(U32.unpack_from(body, at)[0])
        at += 4
        for _ in range(2 * pairs):
            at += 4 + int(U32.unpack_from(body, at)[0])
    return at, not flags & ~_V3_FLAGS
