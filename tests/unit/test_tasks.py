"""Tasks are kept, named, and their failures told."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator

import pytest
import uvloop

from usp import tasks


async def test_spawn_returns_the_result() -> None:
    async def three() -> int:
        return 3

    task = tasks.spawn(three(), "three")
    assert task.get_name() == "three"
    assert await task == 3


async def test_an_unexpected_exception_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("oops")

    task = tasks.spawn(broken(), "the broken one")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    line = capsys.readouterr().err
    assert "task.failed" in line
    assert '"the broken one"' in line
    assert "ZeroDivisionError" in line


async def test_a_set_cancels_and_awaits_its_own() -> None:
    ended = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    group = tasks.TaskSet()
    group.spawn(forever("a"), "a")
    group.spawn(forever("b"), "b")
    await asyncio.sleep(0)
    assert len(group) == 2
    assert not await group.wait(timeout=0.01)
    await group.cancel()
    assert sorted(ended) == ["a", "b"]
    assert len(group) == 0
    assert await group.wait()
    await group.cancel()


async def test_a_member_may_cancel_the_set_it_belongs_to() -> None:
    group = tasks.TaskSet()
    other = group.spawn(asyncio.sleep(60), "other")
    closer = group.spawn(group.cancel(), "closer")
    await closer
    assert other.cancelled()
    assert await group.wait(timeout=1)


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was."""
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", ["", "asyncio"])
def test_run_picks_the_loop(monkeypatch: pytest.MonkeyPatch, collector: None, name: str) -> None:
    monkeypatch.setitem(os.environ, "USP_LOOP", name)

    async def which() -> bool:
        return isinstance(asyncio.get_running_loop(), uvloop.Loop)

    assert tasks.run(which()) is (name != "asyncio")


def test_what_is_there_before_the_loop_is_never_looked_through(collector: None) -> None:
    async def frozen() -> int:
        return gc.get_freeze_count()

    assert tasks.run(frozen()) > 10_000
    assert gc.isenabled()
    assert gc.get_threshold()[0] == 10_000, "as `usp` sets it"
