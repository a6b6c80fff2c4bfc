"""SQLite is for one manager: whoever serves from the file holds a lock beside it, which the kernel takes back when the
process ends, however it ends. Commands such as `usp-manager user add` need no lock: SQLite lets them wait their turn.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from usp.databases import DatabaseEngine, DatabaseSettings
from usp.errors import UspError


@contextmanager
def only_manager(at: DatabaseSettings, name: str) -> Iterator[None]:
    """UspError `database.in_use` when another usp-manager serves from this file; nothing to do on other engines."""
    if at.engine is not DatabaseEngine.SQLITE:
        yield
        return
    path = f"{at.path}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UspError("database.unavailable", f"the lock {path} cannot be made: {error.strerror}") from None
    try:
        _lock(descriptor, at)
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{name}, process {os.getpid()}".encode())
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, at: DatabaseSettings) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        hint = 'several managers need database.engine = "postgresql" or "oracle" (usp-manager db copy moves everything)'
        message = f"another usp-manager ({holder}) serves from the SQLite database {at.path}: {hint}"
        raise UspError("database.in_use", message) from None
