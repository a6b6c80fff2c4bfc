"""What all tests share: the event loop, and a quiet log.

Tests of what talks to sockets, processes and signals run on uvloop and on stock asyncio; for all others it is enough to
run on uvloop, as the daemons do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog
import uvloop

from usp import log
from usp.settings import LogLevel

HERE = Path(__file__).parent
ON_BOTH_LOOPS = (
    "unit/client",
    "unit/server",
    "unit/ssh",
    "unit/test_health.py",
    "unit/test_tasks.py",
    "unit/test_tls.py",
    "unit/manager/test_bell.py",
    "unit/manager/test_control.py",
    "unit/manager/test_diagnose.py",
    "unit/manager/test_main.py",
    "unit/manager/test_pusher.py",
    "unit/manager/test_web.py",
)


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that pytest-asyncio runs an async test and its fixtures on."""
    both = any(item.path.is_relative_to(HERE / place) for place in ON_BOTH_LOOPS)
    return {"uvloop": uvloop.new_event_loop} | ({"asyncio": asyncio.new_event_loop} if both else {})


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """What a test does to the process-wide log ends with the test."""
    structlog.contextvars.clear_contextvars()
    yield
    log.shutdown()
    log.set_level(LogLevel.WARN)
