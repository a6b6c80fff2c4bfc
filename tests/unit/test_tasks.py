"""Tasks are kept, named, and their failures told."""

from __future__ import annotations

import asyncio
import os

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


@pytest.mark.parametrize("name", ["", "asyncio"])
def test_run_picks_the_loop(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(os.environ, "USP_LOOP", name)

    async def which() -> bool:
        return isinstance(asyncio.get_running_loop(), uvloop.Loop)

    assert tasks.run(which()) is (name != "asyncio")
