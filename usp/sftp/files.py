"""What is behind a handle: a file or a directory that the target has opened, and what was done with it so far."""

from __future__ import annotations

from dataclasses import dataclass

from usp.policy import OpClass
from usp.sftp.ops import OPENDIR
from usp.sftp.packets import Request
from usp.sftp.records import FileClosed, Opened


@dataclass(slots=True)
class File:
    path: bytes
    directory: bool
    reads: bool
    writes: bool
    bytes_read: int = 0
    bytes_written: int = 0
    failures: int = 0
    too_large: bool = False  # that was told already

    @classmethod
    def of(cls, opened: Opened) -> File:
        return cls(opened.path, opened.directory, opened.reads, opened.writes)

    def closed(self, status: int | None) -> FileClosed:
        """`status`: the target's answer to CLOSE; None if there was none."""
        counts = self.bytes_read, self.bytes_written, self.failures
        return FileClosed(self.path, self.reads, self.writes, *counts, status)


def opened(request: Request, status: int | None) -> Opened:
    """What is told of an OPEN or OPENDIR. `status`: the target's answer to it."""
    reads = OpClass.READ in request.classes
    writes = bool(request.classes & {OpClass.WRITE, OpClass.CREATE, OpClass.OVERWRITE})
    return Opened(request.paths[0], request.op is OPENDIR, reads, writes, status)
