"""The trail: every line in its chain, over restarts; readers that do not keep up lose lines, and it is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.server.support import Lines, until
from tests.unit.server.support import trail as made
from usp.chain import Checker, Link
from usp.logfile import Writer
from usp.server import trail as module
from usp.server.spool import Spool
from usp.server.trail import Before, Trail, before

FULL = 1 << 20


def new_id() -> str:
    return "00000000000000bb"


def checked(path: Path) -> Checker:
    checker = Checker()
    assert [wrong for line in path.read_bytes().splitlines() if (wrong := checker.check(line))] == []
    return checker


def events(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["event"] for line in lines]


async def lived(path: Path, *facts: str, size: int = FULL) -> Trail:
    """A server's life over that file."""
    writer = Writer(str(path))
    trail = Trail(writer, Spool(size), before(str(path), "dmz-1", new_id))
    for fact in facts:
        trail.put(f'{{"event":"{fact}"}}')
    await trail.stop()
    writer.close()
    return trail


async def test_the_chain_goes_on_over_restarts_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    await lived(path, "a", "b")
    await lived(path, "c")
    assert events(path.read_bytes().splitlines()) == [
        "audit.started", "a", "b", "audit.stopped", "audit.started", "c", "audit.stopped",
    ]  # fmt: skip
    assert checked(path).notes == ["chain 00000000000000bb begins"]
    assert [json.loads(line)["resumed"] for line in path.read_bytes().splitlines() if b"started" in line] == [
        False,
        True,
    ]
    writer = Writer(str(path))
    trail = Trail(writer, Spool(FULL), before(str(path), "dmz-1", new_id))
    trail.put('{"event":"d"}')
    await until(lambda: b'"d"' in path.read_bytes())
    path.rename(tmp_path / "audit.1")
    writer.reopen()
    trail.put('{"event":"e"}')
    await trail.stop()
    writer.close()
    checker = Checker()
    both = (tmp_path / "audit.1").read_bytes() + path.read_bytes()
    assert [wrong for line in both.splitlines() if (wrong := checker.check(line))] == []
    assert checker.last["00000000000000bb"].seq == 11


async def test_managers_get_after_a_restart_what_they_had_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    await lived(path, "a", "b", "c")
    trail = await lived(path)
    chain = "00000000000000bb"
    assert events(await trail.fetch(Link("", chain, 3), FULL, 0)) == [
        "c", "audit.stopped", "audit.started", "audit.stopped",
    ]  # fmt: skip
    assert len(await trail.fetch(Link("", "", 0), FULL, 0)) == 4, "who knows another chain gets all that is there"


def test_a_file_that_is_none_of_ours_begins_a_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    fresh = Before(Link("dmz-1", new_id()))
    assert before("", "dmz-1", new_id) == before(str(path), "dmz-1", new_id) == fresh
    path.write_bytes(b'{"event":"old"}\n')
    assert before(str(path), "dmz-1", new_id) == fresh
    path.write_bytes(b"")
    assert before(str(path), "dmz-1", new_id) == fresh


async def test_a_line_without_an_end_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    await lived(path, "a")
    path.write_bytes(path.read_bytes()[:-20])
    await lived(path, "b")
    lines = path.read_bytes().splitlines()
    checker = Checker()
    wrong = [(number, bool(checker.check(line))) for number, line in enumerate(lines)]
    assert [number for number, bad in wrong if bad] == [2]
    assert events(lines[3:]) == ["audit.started", "b", "audit.stopped"]


async def test_another_servers_file_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    await lived(path, "a")
    assert before(str(path), "dmz-2", lambda: "0" * 16).last == Link("dmz-2", "0" * 16)


async def test_what_waits_for_news_gets_them() -> None:
    trail = made()
    chain = "00000000000000aa"
    asked = asyncio.get_running_loop().create_task(trail.fetch(Link("", chain, 1), FULL, 5.0))
    await asyncio.sleep(0.01)
    assert not asked.done()
    trail.put('{"event":"a"}')
    assert events(await asked) == ["a"]
    assert await trail.fetch(Link("", chain, 2), FULL, 0.01) == []


async def test_who_waits_gets_the_next_lines_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE", 60.0)
    monkeypatch.setattr(module, "BEHIND", 3)
    trail = made()
    chain = "00000000000000aa"
    assert len(await trail.fetch(Link("", chain, 0), FULL, 5.0)) == 1
    trail.put('{"event":"a"}')
    assert events(await trail.fetch(Link("", chain, 1), FULL, 0)) == ["a"], "who does not wait gets what is there"
    assert events(await trail.fetch(Link("", chain, 1), FULL, 0.01)) == ["a"], "nobody waits longer than he will"
    asked = asyncio.get_running_loop().create_task(trail.fetch(Link("", chain, 1), FULL, 50.0))
    await asyncio.sleep(0.01)
    trail.put('{"event":"b"}')
    trail.put('{"event":"c"}')
    await asyncio.sleep(0.01)
    assert not asked.done()
    assert events(await trail.fetch(Link("", chain, 1), FULL, 50.0)) == ["a", "b", "c"], "who is behind is not held up"
    stopping = asyncio.get_running_loop().create_task(trail.stop())
    assert events(await asyncio.wait_for(asked, 5.0)) == ["a", "b", "c", "audit.stopped"]
    await trail.fetch(Link("", chain, 5), FULL, 0)
    await stopping


async def test_managers_do_not_get_what_the_file_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED", 0.1)
    file = Lines()
    trail = made(file)
    file.queued = 1
    asked = asyncio.get_running_loop().create_task(trail.fetch(Link("", "", 0), FULL, 0))
    await asyncio.sleep(0.01)
    trail.put('{"event":"later"}')
    assert not asked.done()
    assert events(await asked) == ["audit.started"]
    file.queued = 0
    assert events(await trail.fetch(Link("", "", 0), FULL, 0)) == ["audit.started", "later"]


async def test_the_end_waits_for_a_manager_that_is_there() -> None:
    trail = made()
    chain = "00000000000000aa"
    assert len(await trail.fetch(Link("", chain, 0), FULL, 0)) == 1
    stopping = asyncio.get_running_loop().create_task(trail.stop())
    await asyncio.sleep(0.01)
    assert not stopping.done()
    assert events(await trail.fetch(Link("", chain, 1), FULL, 0)) == ["audit.stopped"]
    asked = asyncio.get_running_loop().create_task(trail.fetch(Link("", chain, 2), FULL, 5.0))
    await asyncio.wait_for(stopping, 1.0)
    assert await asyncio.wait_for(asked, 1.0) == []


async def test_what_is_dropped_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    file = Lines()
    trail = made(file, size=600)
    for number in range(20):
        trail.put(f'{{"event":"e{number}"}}')
    left = len(await trail.fetch(Link("", "", 0), FULL, 0))
    await until(lambda: b"audit.dropped" in file[-1])
    told = json.loads(file[-1])
    assert (told["sink"], told["count"]) == ("managers", 21 - left)
    count = len(file)
    await asyncio.sleep(0.05)
    assert len(file) == count, "what it costs to tell it is not told"
    file.dropped = 3
    trail.put('{"event":"x"}')
    await until(lambda: b'"sink":"file","count":3' in b"".join(file))
    checker = Checker()
    assert [wrong for line in file if (wrong := checker.check(line.rstrip(b"\n")))] == []
