"""SFTP v3 packets (draft-ietf-secsh-filexfer-02): requests by the table, replies of our own, the greetings.

Strict where OpenSSH's sftp-server is: a packet shorter than what it claims to hold is a protocol error. What follows
the last field, and flags that version 3 does not have, OpenSSH ignores; here they are dropped, so that the target gets
exactly what was understood. For the same reason a `Request` holds paths in normal form only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from usp.policy import OpClass
from usp.sftp import wire
from usp.sftp.ops import EXTENSIONS, OPEN, OPS, Field, Op, OpenFlag, Packet, open_classes
from usp.sftp.paths import normalise, normalise_tilde
from usp.sftp.wire import U32, Bytes, Reader, malformed

HANDLE_MAX: Final = 256  # section 6.3
STATUS_TEXT_MAX: Final = 200
"""Bytes of a target's message that are kept for the audit log."""
REMEMBERED: Final = 16
"""Greetings of targets, which say the same to every session."""
_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000
_ATTR_FLAGS: Final = _SIZE | _OWNER | _PERMISSIONS | _TIMES | _EXTENDED
_OPEN_FLAGS: Final = sum(OpenFlag)


@dataclass(frozen=True, slots=True)
class Attrs:
    """File attributes (section 5) as far as they are known; None: not given."""

    size: int | None = None
    owner: tuple[int, int] | None = None  # uid, gid
    permissions: int | None = None
    times: tuple[int, int] | None = None  # atime, mtime, Unix seconds


class Request(NamedTuple):
    """An understood request. `values` are its fields in wire order, attributes as raw bytes."""

    op: Op
    id: int
    values: tuple[int | bytes, ...]
    paths: tuple[bytes, ...] = ()
    handles: tuple[bytes, ...] = ()
    pflags: int = 0
    attrs: Attrs | None = None

    @property
    def classes(self) -> frozenset[OpClass]:
        if self.op is OPEN:
            return open_classes(self.pflags)
        if OpClass.SETSTAT in self.op.classes and self.attrs and self.attrs.size is not None:
            return self.op.classes | {OpClass.OVERWRITE}  # it cuts the file off, or makes it longer
        return self.op.classes

    def on(self, paths: tuple[bytes, ...]) -> Request:
        """The same with these paths in place of its own."""
        if paths == self.paths:
            return self
        left = iter(paths)
        fields = zip(self.op.fields, self.values, strict=True)
        values = (next(left) if field in (Field.PATH, Field.TILDE_PATH) else value for field, value in fields)
        return self._replace(paths=paths, values=tuple(values))

    def exclusive(self) -> Request:
        """An OPEN that may create a file, as one that must: it fails when the file is there."""
        pflags = self.pflags | OpenFlag.CREAT | OpenFlag.EXCL
        return self._replace(pflags=pflags, values=(self.values[0], pflags, *self.values[2:]))


def find_op(body: bytes) -> Op | str:
    """The operation of a packet (without its length), or the name of what the table does not have."""
    kind = body[0]
    if kind != Packet.EXTENDED:
        return OPS.get(kind) or f"packet type {kind}"
    name = Reader(body, 5).string()
    return EXTENSIONS.get(name) or "extended " + repr(name[:64])[2:-1]


def decode_request(op: Op, body: bytes) -> Request:
    """Read a packet (without its length) that `find_op` found to be an `op`."""
    return read_request(op, body)[0]


def read_request(op: Op, body: bytes) -> tuple[Request, bool]:
    """The same, and whether the packet is just what `encode_request` would make of it."""
    reader = Reader(body, 1)
    request_id = reader.u32()
    if op.kind == Packet.EXTENDED:
        reader.string()
    values: list[int | bytes] = []
    paths: list[bytes] = []
    handles: list[bytes] = []
    pflags, attrs, exact = 0, None, True
    for field in op.fields:
        value: int | bytes
        match field:
            case Field.PATH | Field.TILDE_PATH:
                raw = reader.string()
                value = normalise(raw) if field is Field.PATH else normalise_tilde(raw)
                paths.append(value)
                exact = exact and value == raw
            case Field.HANDLE:
                handles.append(value := reader.string())
            case Field.TEXT:
                value = reader.string()
            case Field.U32:
                value = reader.u32()
            case Field.U64:
                value = reader.u64()
            case Field.PFLAGS:
                flags = reader.u32()
                value = pflags = flags & _OPEN_FLAGS
                exact = exact and value == flags
            case _:  # ATTRS
                start = reader.position
                value, attrs = read_attrs(reader)
                exact = exact and value == reader.since(start)
        values.append(value)
    request = Request(op, request_id, tuple(values), tuple(paths), tuple(handles), pflags, attrs)
    return request, exact and reader.position == len(body)


def encode_request(request: Request) -> bytes:
    op = request.op
    parts = [wire.u32(request.id)]
    if op.kind == Packet.EXTENDED:
        parts.append(wire.string(op.name.encode("ascii")))
    for field, value in zip(op.fields, request.values, strict=True):
        if isinstance(value, int):
            parts.append(wire.u64(value) if field is Field.U64 else wire.u32(value))
        else:
            parts.append(value if field is Field.ATTRS else wire.string(value))
    return wire.packet(op.kind, *parts)


def read_attrs(reader: Reader) -> tuple[bytes, Attrs]:
    """Attributes, raw (with known flags only) and understood."""
    flags = reader.u32() & _ATTR_FLAGS
    start = reader.position
    size = reader.u64() if flags & _SIZE else None
    owner = (reader.u32(), reader.u32()) if flags & _OWNER else None
    permissions = reader.u32() if flags & _PERMISSIONS else None
    times = (reader.u32(), reader.u32()) if flags & _TIMES else None
    for _ in range(reader.u32() if flags & _EXTENDED else 0):
        reader.string(), reader.string()
    return wire.u32(flags) + reader.since(start), Attrs(size, owner, permissions, times)


def status(request_id: int, code: int, text: str) -> bytes:
    """SSH_FXP_STATUS (section 7)."""
    return wire.packet(
        Packet.STATUS, wire.u32(request_id), wire.u32(code), wire.string(text.encode("utf-8")), wire.string(b"en")
    )


def status_text(data: Bytes, at: int, end: int) -> bytes:
    """The message of a STATUS, from behind its code on; none if there is none, or it is not as it should be."""
    if end - at < 4:
        return b""
    start, length = at + 4, U32.unpack_from(data, at)[0]
    return bytes(data[start : start + min(length, STATUS_TEXT_MAX)]) if start + length <= end else b""


def init(version: int) -> bytes:
    """SSH_FXP_INIT (section 4), without extensions: no server has a use for a client's."""
    return wire.packet(Packet.INIT, wire.u32(version))


@lru_cache(maxsize=REMEMBERED)
def version(number: int, extensions: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """SSH_FXP_VERSION (section 4)."""
    pairs = (wire.string(name) + wire.string(data) for name, data in extensions)
    return wire.packet(Packet.VERSION, wire.u32(number), *pairs)


@lru_cache(maxsize=REMEMBERED)
def decode_version(body: bytes) -> tuple[int, tuple[tuple[bytes, bytes], ...]]:
    """The number and the extensions of SSH_FXP_VERSION (without its length), those of the table only."""
    reader = Reader(body, 1)
    number = reader.u32()
    extensions = []
    while reader.left:
        name, data = reader.string(), reader.string()
        if name in EXTENSIONS:
            extensions.append((name, data))
    return number, tuple(extensions)


def decode_handle(body: bytes) -> bytes:
    """The handle in SSH_FXP_HANDLE (without its length)."""
    handle = Reader(body, 5).string()
    if len(handle) > HANDLE_MAX:
        raise malformed(f"a handle of {len(handle)} bytes")
    return handle


def decode_name(body: bytes) -> bytes:
    """The first name in SSH_FXP_NAME (without its length)."""
    reader = Reader(body, 5)
    if reader.u32() < 1:
        raise malformed("NAME without a name")
    return reader.string()


def clamp_limits(body: bytes, packet_max: int, io_max: int, handles_max: int) -> bytes:
    """The answer to limits@openssh.com, with nothing in it that this relay would not let pass. 0 means: no limit."""
    reader = Reader(body, 1)
    parts = [wire.u32(reader.u32())]
    for ours in (packet_max, io_max, io_max, handles_max):
        parts.append(wire.u64(min(reader.u64() or ours, ours)))
    return wire.packet(Packet.EXTENDED_REPLY, *parts)
