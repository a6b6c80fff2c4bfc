"""Appending lines to a file or to standard output without ever blocking the caller: one queue, one thread per `Writer`.

Whole lines are written, to a descriptor opened with O_APPEND, so several processes may share a file. A process that was
given `max_size` rotates the file (renames it to PATH.20261123T120000.000000Z and prunes old ones); every process looks
once a second whether PATH still is the file that it has open, so outside tools may rotate, too.
"""

from __future__ import annotations

import os
import queue
import re
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from usp.errors import UspError

QUEUE_LIMIT: Final = 10_000
LOOK_INTERVAL: Final = 1.0
REST: Final = 0.05
"""Seconds from one write to the next. A line that comes alone is written at once; those that come in between wait for
each other: to wake the thread for each of them costs more than what it writes, and holds up who put it."""
DAY: Final = 86_400
STDOUT: Final = 1


class Writer:
    """Takes lines from anywhere; writes them in its own thread. `path` "" is standard output."""

    def __init__(
        self,
        path: str,
        *,
        max_size: int = 0,
        max_backups: int = 0,
        max_age: int = 0,
        on_dropped: Callable[[int], bytes] | None = None,
        summaries: Callable[[], Iterable[bytes]] | None = None,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        self.dropped = 0
        self._reported = 0
        self._on_dropped = on_dropped
        self._summaries = summaries  # lines that are due by themselves: asked for once a second
        self._next_summary = 0.0
        self._limit = limit
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._output = LogFile(path, max_size, max_backups, max_age) if path else _Stdout()
        self._thread = threading.Thread(target=self._work, name=f"log {path or 'stdout'}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        return self._queue.qsize()

    def put(self, line: bytes) -> bool:
        """Queue a line (with its newline); False if it was dropped because the output does not keep up."""
        if self._queue.qsize() >= self._limit:
            self.dropped += 1
            return False
        self._queue.put(line)
        return True

    def reopen(self) -> None:
        self._output.stale = True

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued; give up after `timeout` seconds (the output may be blocked for good)."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        going = True
        while going:
            waiting = [self._next()]
            while waiting[-1] is not None and not self._queue.empty():
                waiting.append(self._queue.get())
            going = waiting[-1] is not None
            for lines in packed([line for line in waiting if line]):
                self._write(lines)
            self._sum_up()
            if going and self._queue.empty():
                self._report()
                time.sleep(REST)
        self._report()
        self._output.close()

    def _next(self) -> bytes | None:
        """A line, None for the end; "" when it is time to see what is due."""
        try:
            return self._queue.get(timeout=None if self._summaries is None else LOOK_INTERVAL)
        except queue.Empty:
            return b""

    def _sum_up(self) -> None:
        if self._summaries is not None and time.monotonic() >= self._next_summary:
            self._next_summary = time.monotonic() + LOOK_INTERVAL
            for line in self._summaries():
                self._write([line])

    def _report(self) -> None:
        """Say in the log itself that lines are missing, as soon as there is room."""
        if self.dropped > self._reported and self._on_dropped is not None:
            lost, self._reported = self.dropped - self._reported, self.dropped
            self._write([self._on_dropped(lost)])

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            self._output.write(b"".join(lines))
        except OSError:  # disk full, read-only, closed pipe: service goes on, the counter tells
            self.dropped += len(lines)


def packed(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """As many together as go into a pipe in one piece, whoever else writes to it (pipe(7), PIPE_BUF); or one."""
    together: list[bytes] = []
    room = select.PIPE_BUF
    for line in lines:
        if together and len(line) > room:
            yield together
            together, room = [], select.PIPE_BUF
        together.append(line)
        room -= len(line)
    if together:
        yield together


class _Stdout:
    stale = False

    def write(self, line: bytes) -> None:
        _write_all(STDOUT, line)

    def close(self) -> None:
        """Standard output is not ours to close."""


class LogFile:
    """One file that is appended to, watched and, if `max_size` > 0 (bytes), rotated. Not thread-safe."""

    def __init__(self, path: str, max_size: int, max_backups: int, max_age: int) -> None:
        self.stale = False
        self._path = Path(path)
        self._max_size = max_size
        self._max_backups = max_backups
        self._max_age = max_age
        self._fd = -1
        self._next_look = 0.0
        self._torn = False  # a full disk may have cut the last line off: the next one begins on a line of its own
        try:
            self._open()
        except OSError as error:
            raise UspError("settings.unreadable", f"cannot write {path}: {error.strerror}", path=path) from None

    def write(self, line: bytes) -> None:
        now = time.monotonic()
        if self.stale or now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._look()
        if self._max_size and os.fstat(self._fd).st_size + len(line) > self._max_size:
            self._rotate()
        begun, self._torn = self._torn, True
        _write_all(self._fd, b"\n" + line if begun else line)
        self._torn = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.close()
        self._fd = fd
        self.stale = False

    def _look(self) -> None:
        """Is PATH still the file that is open?"""
        try:
            there = os.stat(self._path)
            same = os.path.samestat(there, os.fstat(self._fd))
        except FileNotFoundError:
            same = False
        if self.stale or not same:
            self._open()

    def _rotate(self) -> None:
        if os.fstat(self._fd).st_size == 0:
            return
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            self._path.rename(f"{self._path}.{stamp}")
        except OSError:  # of a directory that cannot be written: better a file that grows than lines that are lost
            return
        self._open()
        for old in self._superfluous():
            old.unlink(missing_ok=True)

    def _superfluous(self) -> list[Path]:
        pattern = re.compile(re.escape(self._path.name) + r"\.\d{8}T\d{6}\.\d{6}Z")
        backups = sorted(file for file in self._path.parent.iterdir() if pattern.fullmatch(file.name))
        too_many = backups[: -self._max_backups] if self._max_backups else []
        oldest = time.time() - self._max_age * DAY
        too_old = [file for file in backups if self._max_age and file.stat().st_mtime < oldest]
        return [*too_many, *too_old]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody made our standard output non-blocking
            select.select([], [fd], [], 1.0)
