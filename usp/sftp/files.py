"""What is behind a handle: a file or a directory that the target has opened, and what was done with it so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from usp.policy import OpClass
from usp.sftp.ops import OPENDIR, Status
from usp.sftp.packets import Request
from usp.sftp.records import NOTHING, FileClosed, Opened, Spent
from usp.sftp.wire import Bytes


@dataclass(slots=True)
class Range:
    """Bytes that were transferred in one direction: how many, and from where to where."""

    count: int = 0
    first: int = 0
    end: int = 0

    def add(self, offset: int, amount: int) -> None:
        if offset == self.end:  # as nearly always
            self.end += amount
        else:
            self.first = min(offset, self.first) if self.count else offset
            self.end = max(offset + amount, self.end)
        self.count += amount

    @property
    def complete(self) -> bool:
        """From the beginning, without a hole, and nothing twice."""
        return self.first == 0 and self.count == self.end


class Digest:
    """SHA-256 of what passes, as long as it passes from the beginning on, one piece after the other."""

    __slots__ = ("_hash", "_next", "why_not")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._next = 0
        self.why_not = ""

    def take(self, offset: int, amount: int, data: Bytes, at: int, end: int) -> Callable[[memoryview], object] | None:
        """`amount` bytes of the file, of which `data` has those from `at` to `end`; what takes the rest, if any do."""
        if offset != self._next:
            self.why_not = "not sequential"
        if self.why_not:
            return None
        self._next += amount
        here = min(end - at, amount)
        self._hash.update(memoryview(data)[at : at + here])
        return self._hash.update if here < amount else None

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass(slots=True)
class File:
    path: bytes
    directory: bool
    reads: bool
    writes: bool
    read: Range = field(default_factory=Range)
    written: Range = field(default_factory=Range)
    failures: int = 0
    eof: bool = False  # the target said so
    too_large: bool = False  # that was told already
    digest: Digest | None = None
    since: Spent = NOTHING

    @classmethod
    def of(cls, opened: Opened, since: Spent = NOTHING, *, hashed: bool = False) -> File:
        digest = Digest() if hashed and not opened.directory else None
        return cls(opened.path, opened.directory, opened.reads, opened.writes, digest=digest, since=since)

    def answered(self, status: int, offset: int, amount: int, *, write: bool) -> None:
        """READ or WRITE, by STATUS."""
        if write and not status:
            self.written.add(offset, amount)
        elif not write and status == Status.EOF:
            self.eof = True
        else:
            self.failures += 1
            if write and self.digest:
                self.digest.why_not = "a WRITE failed"

    def closed(self, status: int | None, text: bytes = b"", now: Spent = NOTHING) -> FileClosed:
        """`status`: the target's answer to CLOSE; None if there was none."""
        moved = [each for each in (self.read, self.written) if each.count]
        digest = self.digest
        return FileClosed(
            self.path,
            self.reads,
            self.writes,
            self.read.count,
            self.written.count,
            self.failures,
            status,
            text,
            complete=all(each.complete for each in moved) if moved else None,
            eof=self.eof,
            sha256=digest.hexdigest() if digest and not digest.why_not else "",
            unhashed=digest.why_not if digest else "",
            spent=now.since(self.since),
        )


def latest(handles: dict[bytes, File]) -> File | None:
    """Of the files that are open, the one that was opened last."""
    return next((file for file in reversed(handles.values()) if not file.directory), None)


def opened(request: Request, status: int | None, text: bytes = b"") -> Opened:
    """What is told of an OPEN or OPENDIR. `status`: the target's answer to it."""
    reads = OpClass.READ in request.classes
    writes = bool(request.classes & {OpClass.WRITE, OpClass.CREATE, OpClass.OVERWRITE})
    return Opened(request.paths[0], request.op is OPENDIR, reads, writes, status, text)
