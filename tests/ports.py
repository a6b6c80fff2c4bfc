"""Ports for tests that need to know theirs before they bind: no two tests that run at the same time get the same.

Each worker of pytest-xdist takes from ranges of its own, below those that the kernel gives to outgoing connections.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from typing import Final

LOOPBACK: Final = "127.0.0.1"
WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SINGLE: Final = range(10000, 12000)
SUITES: Final = range(12000, 20000)
WORKERS: Final = 8
SUITE_PORTS: Final = 100


def _own(ports: range) -> range:
    """This worker's part."""
    assert WORKER < WORKERS, f"more than {WORKERS} workers: tests/ports.py has no ports for them"
    size = len(ports) // WORKERS
    return ports[WORKER * size : (WORKER + 1) * size]


_single: Iterator[int] = itertools.cycle(_own(SINGLE))
_bases: Iterator[int] = itertools.cycle(_own(SUITES)[::SUITE_PORTS])


def free_port() -> int:
    return next(port for port in _single if _is_free(port))


def port_base() -> int:
    """The first of a hundred ports for a suite and what a test puts beside it."""
    return next(base for base in _bases if _is_free(base))


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
