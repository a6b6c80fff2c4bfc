"""What all tests share: the event loop (USP_TEST_LOOP=uvloop|asyncio; the suite is run on both) and a quiet log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping

import pytest
import structlog
import uvloop

from usp import log


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that pytest-asyncio runs async tests and fixtures on."""
    name = os.environ.get("USP_TEST_LOOP", "uvloop")
    return {name: {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}[name]}


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """What a test does to the process-wide log ends with the test."""
    structlog.contextvars.clear_contextvars()
    yield
    log.shutdown()
