"""The only place that makes asyncio tasks (tests/unit/test_conventions.py sees to it).

A task made here is never lost: a reference is kept until it ends, and an exception that nobody awaited is logged as the
bug that it is. `run` starts the event loop of every process of the suite.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import uvloop

from usp.log import get_logger

log = get_logger(__name__)
T = TypeVar("T")

_running: Final[set[asyncio.Task[Any]]] = set()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a new event loop: uvloop, or stock asyncio where USP_LOOP=asyncio asks for it.

    What is there before, modules and classes, is never looked through for garbage again.
    """
    gc.collect()
    gc.freeze()
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    if os.environ.get("USP_LOOP") == "asyncio":
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def spawn(coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run `coro` beside the caller until it ends."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task.failed", task=task.get_name(), exc_info=error)


class TaskSet:
    """The tasks of one owner, who cancels and awaits them when it goes."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order in which they were made

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = spawn(coro, name)
        self._tasks[task] = None
        task.add_done_callback(lambda task: self._tasks.pop(task, None))
        return task

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended by themselves; False if some have not within `timeout` seconds."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(list(self._tasks), timeout=timeout)
        return not pending

    async def cancel(self) -> None:
        """Cancel all of them (but the caller) and wait until they have ended."""
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
