"""Landlock (landlock(7)): a process takes from itself, for good, the files that it will not need.

Three system calls, by ctypes: there is no binding that is kept up. What the running kernel knows is found out by its
ABI version; what a newer one could deny is then not denied. It holds for the calling thread and those that it starts,
so it has to come before the others.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION: Final = 1  # flag of CREATE_RULESET
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_FILES: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, 1 << 15))
"""From which ABI on which rights over files are known."""
_NET: Final = ((4, 1 << 0),)
"""To bind TCP ports; connecting stays free."""
_SCOPES: Final = ((6, (1 << 0) | (1 << 1)),)
"""Abstract sockets of others, signals to others."""

READ: Final = _READ_FILE | _READ_DIR
WRITE: Final = _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
_OF_A_FILE: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE


def abi() -> int:
    """What the kernel knows; 0: nothing, or it is switched off."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Iterable[str], *, alone: bool) -> None:
    """From now on only what is below `readable` can be read, and below `writable` files made, written and removed; no
    program can be executed. `alone`: nor a port bound, nor anybody outside signalled. Paths that do not exist are left
    out. OSError."""
    version = abi()
    files, net, scopes = (_known(table, version) for table in (_FILES, _NET if alone else (), _SCOPES if alone else ()))
    attributes = struct.pack("=QQQ", files, net, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, rights in ((readable, READ), (writable, WRITE)):
            for path in paths:
                _allow(rules, path, rights & files)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _known(table: Iterable[tuple[int, int]], version: int) -> int:
    return sum(rights for since, rights in table if version >= since)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if stat.S_ISDIR(os.fstat(there).st_mode) else rights & _OF_A_FILE
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", allowed, there), 0)
    finally:
        os.close(there)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer: int = libc.syscall(ctypes.c_long(number), *wide)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
