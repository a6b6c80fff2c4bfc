"""A storm of connections, one in ten of them a valid login: these succeed, penalties reach only the guilty, strangers
are turned away only while so many wait as `unauthenticated` allows, and the server's memory and descriptors are back to
what they were. USP_STORM=5000 makes it bigger."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.storm import GUILTY, SHARES, SOURCES, Kind, Storm
from tests.e2e.suite import Suite, running, wait_until

pytestmark = pytest.mark.once

COUNT = int(os.environ.get("USP_STORM", "600"))
WARM_UP = max(200, COUNT // 3)
LOGIN_TIMEOUT = 4.0
SERVER = "/servers/usp-server-1"


@pytest.fixture
def suite() -> Iterator[Suite]:
    env = {"USP_SERVER__LOGIN_TIMEOUT": str(LOGIN_TIMEOUT)}
    with running("--workers", "2", env=env) as suite:
        yield suite


def test_a_storm(suite: Suite) -> None:
    storm = Storm(
        suite.ready["partner"]["port"], suite.ready["partner"]["username"], suite.ready["partner"]["password"]
    )
    _warm_up(suite, storm)
    pids = _processes(suite)
    memory, descriptors = _memory(pids), _descriptors(pids)
    told_before = len(suite.audit("penalty"))

    began = time.monotonic()
    asyncio.run(storm.run(COUNT))
    took = time.monotonic() - began

    results: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}
    for (kind, result), times in storm.results.items():
        results[kind][result] += times
    assert {kind: found.total() for kind, found in results.items()} == {
        kind: COUNT * share // 100 for kind, share in SHARES.items()
    }
    refused = _counted(suite, "usp_refused_total", "reason")
    assert results[Kind.VALID].keys() == {"ok"}, f"{results[Kind.VALID]}; refused: {refused}"
    strangers = {kind: results[kind] for kind in (Kind.BANNER, Kind.CLOSE, Kind.HALF)}
    turned_away = sum(found.total() - found["ok"] for found in strangers.values())
    assert turned_away <= refused.get("unauthenticated", 0), f"{strangers}; refused: {refused}"
    assert "ok" not in results[Kind.WRONG]
    told = suite.audit("penalty")[told_before:]
    assert {fact["source"] for fact in told if "source" in fact} == set(GUILTY)
    names = {fact["username"] for fact in told if "username" in fact}
    assert names <= {suite.ready["partner"]["username"], *(f"nobody-{source}" for source in SOURCES[Kind.WRONG])}

    wait_until(lambda: _sessions(suite) == 0, 10, "all sessions have ended")
    wait_until(lambda: _descriptors(pids) == descriptors, 10, "all descriptors are closed")
    print(f"{COUNT} connections in {took:.1f} s; {turned_away} strangers turned away; refused: {refused}")
    print(f"PSS {memory} KiB before, {_memory(pids)} KiB after")
    wait_until(lambda: _memory(pids) <= 1.1 * memory, 10, "memory is back")


def _warm_up(suite: Suite, storm: Storm) -> None:
    """Each clean source logs in once: from then on it is known. And a small storm: after it, code is loaded, and memory
    for hashing passwords is there (two threads of each worker keep their 19 MiB)."""

    async def run() -> None:
        for source in SOURCES[Kind.VALID]:
            assert await storm.log_in(source) == "ok"
        await storm.run(WARM_UP)

    asyncio.run(run())
    wait_until(lambda: _sessions(suite) == 0, 10, "all sessions have ended")
    for penalty in suite.api("GET", f"{SERVER}/penalties")["items"]:
        suite.api("DELETE", f"{SERVER}/penalties/{penalty['key']}")
    storm.results.clear()


def _processes(suite: Suite) -> list[int]:
    """usp-server's supervisor and workers."""
    supervisor: int = suite.ready["servers"][0]["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    assert len(children) == 2
    return [supervisor, *map(int, children)]


def _memory(pids: list[int]) -> int:
    """KiB that are theirs (PSS: what they share counts once)."""
    found = [re.search(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE) for pid in pids]
    return sum(int(match[1]) for match in found if match)


def _descriptors(pids: list[int]) -> list[int]:
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]


def _sessions(suite: Suite) -> float:
    return sum(_counted(suite, "usp_sessions", "listener").values())


def _counted(suite: Suite, metric: str, label: str) -> dict[str, float]:
    """The samples of a metric, by its only label."""
    with urllib.request.urlopen(suite.ready["servers"][0]["metrics"]) as response:
        text = response.read().decode()
    samples = re.findall(rf'^{metric}{{{label}="(.*)"}} (\S+)', text, re.MULTILINE)
    return {of: float(value) for of, value in samples}
