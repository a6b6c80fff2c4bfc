"""Facts for the audit log: what the partner did, told once the target's answer is known.

Values only: no clock, no session name (the session adds both). Paths are the bytes that were forwarded to the target;
`printable` makes text of them. `status` is the code of the target's SSH_FXP_STATUS (0 = ok, and also for any other
positive answer); None means that the session ended before the target answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import sub
from typing import Final, NamedTuple, TypeAlias

from usp.scan import Finding
from usp.sftp.packets import Attrs


class Spent(NamedTuple):
    """Seconds that have passed, and how many of them were waiting: for the partner, the target, the tunnel, and in the
    gateway itself, which a limit held up."""

    total: float = 0.0
    partner: float = 0.0
    target: float = 0.0
    tunnel: float = 0.0
    gateway: float = 0.0

    def since(self, earlier: Spent) -> Spent:
        return Spent(*map(sub, self, earlier))


NOTHING: Final = Spent()


@dataclass(frozen=True, slots=True)
class Opened:
    """A file or a directory was opened, or could not be."""

    path: bytes
    directory: bool
    reads: bool
    writes: bool
    status: int | None
    text: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class FileClosed:
    """A file's handle is gone. Exactly one for each file opened with success.

    `complete`: what was transferred is one piece from the beginning on; None: nothing was. `eof`: the target said that
    it has been read to its end. `unhashed`: why there is no `sha256`, if there should be one."""

    path: bytes
    reads: bool
    writes: bool
    bytes_read: int
    bytes_written: int
    failures: int  # READ and WRITE requests that failed (end of file is no failure)
    status: int | None  # of CLOSE; None: never closed (the transfer was aborted)
    text: bytes = field(default=b"", repr=False)
    complete: bool | None = field(default=None, repr=False)
    eof: bool = field(default=False, repr=False)
    sha256: str = field(default="", repr=False)
    unhashed: str = field(default="", repr=False)
    spent: Spent = field(default=NOTHING, repr=False)

    @property
    def ok(self) -> bool:
        return self.status == 0 and self.failures == 0


@dataclass(frozen=True, slots=True)
class Changed:
    """An operation that changes something by name: remove, rename, mkdir, rmdir, setstat, symlink and the like.

    `op` is the name in the table of operations; `paths` are in wire order (rename: old, new; symlink: target, link).
    """

    op: str
    paths: tuple[bytes, ...]
    status: int | None
    attrs: Attrs | None = None
    text: bytes = field(default=b"", repr=False)

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Denied:
    """A request that was answered here and never reached the target."""

    op: str
    paths: tuple[bytes, ...]
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Observed:
    """A request that a policy which enforces would have denied. It passed, and has its own record besides."""

    op: str
    paths: tuple[bytes, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A verdict on an upload, of which `size` bytes are at the target. `passed`: it gets its name there."""

    path: bytes
    finding: Finding
    text: str
    size: int
    passed: bool


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """An upload that does not appear could not be removed: it is there under its temporary name.

    `status` as above: None if the target did not say.
    """

    path: bytes
    real: bytes
    status: int | None


Record: TypeAlias = Opened | FileClosed | Changed | Denied | Observed | Scanned | LeftBehind


def printable(path: bytes) -> str:
    r"""`path` as text: UTF-8, with `\` doubled, and what is no UTF-8 or not printable as \xNN, \n and the like."""
    text = path.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_printable, text))


def _printable(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isprintable() and char != "\\":
        return char
    return char.encode("unicode_escape").decode("ascii")
