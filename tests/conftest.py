"""What all tests share: the event loop, and a quiet log.

Tests of what talks to sockets, processes and signals itself run on uvloop and on stock asyncio; for all others it is
enough to run on uvloop, as the daemons do.
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
    "unit/ssh",
    "unit/server/test_acceptor.py",
    "unit/server/test_control.py",
    "unit/server/test_direct.py",
    "unit/server/test_door.py",
    "unit/server/test_exchange.py",
    "unit/server/test_forward.py",
    "unit/server/test_ipc.py",
    "unit/server/test_main.py",
    "unit/server/test_outbound.py",
    "unit/server/test_proxy.py",
    "unit/server/test_session.py",
    "unit/server/test_splice.py",
    "unit/server/test_supervisor.py",
    "unit/server/test_syslog.py",
    "unit/server/test_tunnels.py",
    "unit/server/test_worker.py",
    "unit/test_health.py",
    "unit/test_tasks.py",
    "unit/test_tls.py",
    "unit/manager/test_bell.py",
    "unit/manager/test_control.py",
    "unit/manager/test_main.py",
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
