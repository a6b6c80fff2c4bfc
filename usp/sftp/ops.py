"""THE table of SFTP version 3: every operation that may pass, what its packet holds, and what may answer it.

Packet types and fields: draft-ietf-secsh-filexfer-02, sections 3 to 8; extensions: OpenSSH's PROTOCOL section 4,
copy-data and home-directory: draft-ietf-secsh-filexfer-extensions-00. What is not in the table is answered
OP_UNSUPPORTED and never forwarded: one rule for unknown packet types and unknown extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from usp.policy import OpClass

VERSION: Final = 3


class Packet(IntEnum):
    """The types of packets that are no plain request."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """Codes of SSH_FXP_STATUS (section 7)."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8


class OpenFlag(IntFlag):
    """`pflags` of SSH_FXP_OPEN (section 6.3)."""

    READ = 0x01
    WRITE = 0x02
    APPEND = 0x04
    CREAT = 0x08
    TRUNC = 0x10
    EXCL = 0x20


class Field(Enum):
    """What a packet holds after its id, in wire order."""

    PATH = "path"
    TILDE_PATH = "path that may begin with ~"
    HANDLE = "handle"
    TEXT = "string"
    U32 = "uint32"
    U64 = "uint64"
    PFLAGS = "pflags"
    ATTRS = "attributes"


HARMLESS: Final = frozenset(
    {OpClass.READ, OpClass.READLINK, OpClass.LIST, OpClass.STAT, OpClass.OTHER},
)


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One row, equal to no other. `answer` is what a good answer is; None: STATUS OK. A bad answer is always STATUS.
    `reply`: what an EXTENDED_REPLY to it holds."""

    name: str
    kind: int
    fields: tuple[Field, ...]
    classes: frozenset[OpClass]
    answer: Packet | None = None
    reply: tuple[Field, ...] = ()

    @property
    def writes(self) -> bool:
        return not self.classes <= HARMLESS


def _op(name: str, kind: int, fields: tuple[Field, ...], *classes: OpClass, answer: Packet | None = None) -> Op:
    return Op(name, kind, fields, frozenset(classes), answer)


def _ext(
    name: str,
    fields: tuple[Field, ...],
    *classes: OpClass,
    answer: Packet | None = None,
    reply: tuple[Field, ...] = (),
) -> Op:
    return Op(name, Packet.EXTENDED, fields, frozenset(classes), Packet.EXTENDED_REPLY if reply else answer, reply)


_P, _H, _T, _A, _C = Field.PATH, Field.HANDLE, Field.TEXT, Field.ATTRS, OpClass
_32, _64 = Field.U32, Field.U64

# OPEN has no class of its own: `open_classes` finds them in its flags.
OPEN: Final = _op("open", Packet.OPEN, (_P, Field.PFLAGS, _A), answer=Packet.HANDLE)
CLOSE: Final = _op("close", Packet.CLOSE, (_H,), _C.OTHER)
READ: Final = _op("read", Packet.READ, (_H, _64, _32), _C.READ, answer=Packet.DATA)
WRITE: Final = _op("write", Packet.WRITE, (_H, _64, _T), _C.WRITE)
OPENDIR: Final = _op("opendir", 11, (_P,), _C.LIST, answer=Packet.HANDLE)
LIMITS: Final = _ext("limits@openssh.com", (), _C.OTHER, reply=(_64,) * 4)

OPS: Final[Mapping[int, Op]] = MappingProxyType(
    {
        op.kind: op
        for op in (
            OPEN,
            CLOSE,
            READ,
            WRITE,
            _op("lstat", 7, (_P,), _C.STAT, answer=Packet.ATTRS),
            _op("fstat", 8, (_H,), _C.STAT, answer=Packet.ATTRS),
            _op("setstat", 9, (_P, _A), _C.SETSTAT),
            _op("fsetstat", 10, (_H, _A), _C.SETSTAT),
            OPENDIR,
            _op("readdir", 12, (_H,), _C.LIST, answer=Packet.NAME),
            _op("remove", 13, (_P,), _C.DELETE),
            _op("mkdir", 14, (_P, _A), _C.MKDIR),
            _op("rmdir", 15, (_P,), _C.RMDIR),
            _op("realpath", 16, (_P,), _C.STAT, answer=Packet.NAME),
            _op("stat", 17, (_P,), _C.STAT, answer=Packet.ATTRS),
            _op("rename", 18, (_P, _P), _C.RENAME),
            _op("readlink", 19, (_P,), _C.READLINK, answer=Packet.NAME),
            # The draft has (link, target); OpenSSH, and so all the world, sends (target, link). Both are treated as
            # paths, so that both were checked whichever way the target reads them.
            _op("symlink", 20, (_P, _P), _C.LINK),
        )
    }
)
"""packet type -> operation."""

EXTENSIONS: Final[Mapping[bytes, Op]] = MappingProxyType(
    {
        op.name.encode("ascii"): op
        for op in (
            LIMITS,
            _ext("statvfs@openssh.com", (_P,), _C.STAT, reply=(_64,) * 11),
            _ext("fstatvfs@openssh.com", (_H,), _C.STAT, reply=(_64,) * 11),
            _ext("posix-rename@openssh.com", (_P, _P), _C.RENAME, _C.OVERWRITE),
            _ext("hardlink@openssh.com", (_P, _P), _C.LINK),
            _ext("fsync@openssh.com", (_H,), _C.OTHER),
            _ext("lsetstat@openssh.com", (_P, _A), _C.SETSTAT),
            _ext("expand-path@openssh.com", (Field.TILDE_PATH,), _C.STAT, answer=Packet.NAME),
            _ext("copy-data", (_H, _64, _64, _H, _64), _C.READ, _C.WRITE),
            _ext("home-directory", (_T,), _C.STAT, answer=Packet.NAME),
            _ext("users-groups-by-id@openssh.com", (_T, _T), _C.OTHER, reply=(_T, _T)),
        )
    }
)
"""name in SSH_FXP_EXTENDED -> operation; also what may be announced in SSH_FXP_VERSION."""


@lru_cache(maxsize=64)  # so many combinations are there
def open_classes(pflags: int) -> frozenset[OpClass]:
    """What opening with these flags may do."""
    classes = set()
    if pflags & OpenFlag.READ or not pflags & OpenFlag.WRITE:  # OpenSSH opens for reading what asks for neither
        classes.add(OpClass.READ)
    if pflags & (OpenFlag.WRITE | OpenFlag.APPEND):
        classes.add(OpClass.WRITE)
    if pflags & OpenFlag.CREAT:
        classes.add(OpClass.CREATE)
    exclusive = pflags & OpenFlag.CREAT and pflags & OpenFlag.EXCL
    if pflags & (OpenFlag.WRITE | OpenFlag.APPEND | OpenFlag.TRUNC) and not exclusive:
        classes.add(OpClass.OVERWRITE)
    return frozenset(classes)
