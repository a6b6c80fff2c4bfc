"""Joins in the kernel: what they hold, and that they give it back. (How bytes cross: test_direct.)"""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from tests.unit.server.joined import read, send
from usp.server import splice
from usp.server.splice import Side, Splice


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_an_idle_join_holds_no_pipe_and_pipes_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_idle", [])
    joins, ends = [], []
    for _ in range(3):
        (partner, inside), (outside, target) = pair(), pair()
        joins.append(Splice(inside, outside, lambda side, error: None))
        joins[-1].start()
        ends += [partner, target]
    for partner, target in zip(ends[::2], ends[1::2], strict=True):
        await send(partner, b"x")
        assert await read(target, 1) == b"x"
    assert len(splice._idle) == 1
    for join in joins:
        join.close()
    for end in ends:
        end.close()
    for fd in splice._idle.pop():
        os.close(fd)


async def test_a_pipe_with_bytes_in_it_is_not_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_idle", [])
    before = open_files()
    (partner, inside), (outside, target) = pair(), pair()
    join = Splice(inside, outside, lambda side, error: None)
    join.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await send(partner, b"x" * 20_000_000)
    join.close(reset=True)
    partner.close()
    target.close()
    assert splice._idle == []
    assert open_files() == before


async def test_no_descriptor_left_for_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(splice, "_idle", [])
    monkeypatch.setattr(os, "pipe2", none)
    over: asyncio.Queue[tuple[Side | None, OSError | None]] = asyncio.Queue()
    (partner, inside), (outside, target) = pair(), pair()
    join = Splice(inside, outside, lambda *how: over.put_nowait(how))
    join.start()
    await send(partner, b"x")
    side, error = await over.get()
    assert side is None
    assert error is not None
    assert error.errno == 24
    join.close()
    partner.close()
    target.close()
