"""What every daemon gives up when it starts: core dumps, being looked into by other processes, new privileges.

A core dump would hold keys and passwords; with PR_SET_DUMPABLE off the kernel writes none, and /proc/PID/mem, ptrace
and the like are root's alone. Under PR_SET_NO_NEW_PRIVS no program that this process starts can gain more (setuid, file
capabilities). Workers inherit the last, and are told the others again.

Who speaks SSH with others also gives up the files of the host (`confine`). A worker keeps programs, to read them, and
the directory of the log: no key, no configuration, no data, whoever the daemon's user is. usp-client keeps its own
configuration and key, too.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from typing import Final

from usp import landlock
from usp.log import get_logger

log = get_logger(__name__)

PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39


def give_up() -> None:
    """For this process and its children. What the kernel refuses is told; the service goes on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, option, value in (("dumpable", PR_SET_DUMPABLE, 0), ("no_new_privs", PR_SET_NO_NEW_PRIVS, 1)):
        if error := prctl(option, value):
            log.warn("hardening.failed", what=name, reason=os.strerror(error))


def prctl(option: int, value: int) -> int:
    """prctl(2): 0, or the error's number."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.prctl(option, value, 0, 0, 0) < 0 else 0


SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc", "/dev/urandom", "/dev/null")
"""Where libraries, time zones, the resolver's files and public certificates are."""


def confine(log_path: str, *readable: str, alone: bool) -> str:
    """Give up the files that are not needed; what the kernel cannot do, as words. Before any other thread. `alone`: it
    binds no port and signals nobody."""
    writable = ["/dev/null", *([os.path.dirname(log_path) or "."] if log_path else [])]
    try:
        landlock.restrict([*_readable(), *filter(None, readable)], writable, alone=alone)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _readable() -> Iterator[str]:
    yield from SYSTEM
    yield from (sys.prefix, sys.base_prefix)
    yield from (path for path in sys.path if path not in ("", "/"))  # where it was started: for systemd, the root
    yield os.path.dirname(os.path.realpath("/etc/resolv.conf"))  # mostly below /run, and made anew now and then
