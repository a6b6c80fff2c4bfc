"""A worker without descriptors, without memory, a supervisor that can make no process: new sessions are refused, those
that are there go on, and new ones get in again when there is room."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.storm import SIMPLE
from tests.e2e.suite import Suite, alive, running, wait_until
from tests.faults.places import SERVER, Outcomes
from tests.faults.transfers import Uploads, ended

pytestmark = [pytest.mark.once, pytest.mark.long]

PIDS = Path("/sys/fs/cgroup/pids")
MEMORY = Path("/sys/fs/cgroup/memory")
CROWD = 600
"""Partners at most: far more than a few MiB hold."""


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", "--direct") as suite:
        yield suite


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Suite]:
    with running("--workers", "2", "--direct") as suite:
        yield suite


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    """A running process that may have only so much meanwhile."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have died of it
            resource.prlimit(pid, what, before)


def lowest_free(pid: int) -> int:
    """The next descriptor's number: a limit there leaves no room for any."""
    held = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    return next(number for number in range(1 << 20) if number not in held)


def address_space(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def test_a_worker_without_descriptors(suite: Suite, tmp_path: Path) -> None:
    suite.wait_for_login(within=30)
    (worker,) = suite.workers()
    uploads, outcomes = Uploads(suite, tmp_path, 3, size=15_000_000, rate=12_000), Outcomes(suite)
    uploads.under_way()
    with limited(worker, resource.RLIMIT_NOFILE, lowest_free(worker)):
        tried = [suite.sftp("pwd\n", timeout=60).returncode for _ in range(4)]
        assert all(tried), "there is no room for any of them"
        assert uploads.finish() == [True] * 3, "those that are there go on, whole"
    took = suite.wait_for_login(within=20)
    assert suite.workers() == [worker], "nothing died of it"
    assert not outcomes.count()["internal"], outcomes.facts()
    print(f"worker without descriptors: 4 of 4 new ones refused, 3 uploads whole; room again: login after {took:.1f} s")


def test_a_supervisor_without_descriptors(suite: Suite, tmp_path: Path) -> None:
    """It cannot accept, so new ones wait in the kernel's queue."""
    suite.wait_for_login(within=30)
    supervisor, workers = suite.ready["servers"][0]["pid"], suite.workers()
    uploads = Uploads(suite, tmp_path, 3, size=15_000_000, rate=12_000)
    uploads.under_way()
    with limited(supervisor, resource.RLIMIT_NOFILE, lowest_free(supervisor)):
        waiting = [suite.start_sftp("pwd\n") for _ in range(4)]
        assert uploads.finish() == [True] * 3, "those that are there go on, whole"
        assert [each.poll() for each in waiting] == [None] * 4
    began = time.monotonic()
    assert [ended(each, 30) for each in waiting] == [True] * 4, "they get in as soon as there is room"
    took = time.monotonic() - began
    assert suite.workers() == workers
    print(f"supervisor without descriptors: 4 new ones wait, 3 uploads whole; room again: all in after {took:.1f} s")


@contextmanager
def held(suite: Suite, until: Callable[[Counter[str]], bool]) -> Iterator[Counter[str]]:
    """Partners who log in, two at a time, and stay, until it is enough; so many got in, and so many did not."""
    told, over = Counter[str](), threading.Event()
    login = {name: suite.ready["partner"][name] for name in ("username", "password")}

    async def hold() -> None:
        async with AsyncExitStack() as stack:

            async def one() -> None:
                try:
                    connection = await stack.enter_async_context(
                        asyncssh.connect(
                            "127.0.0.1", suite.port(), connect_timeout=10, login_timeout=10, **login, **SIMPLE
                        )
                    )
                    await stack.enter_async_context(connection.start_sftp_client())
                except (asyncssh.Error, OSError):
                    told["refused"] += 1
                else:
                    told["in"] += 1

            while not until(told) and told.total() < CROWD:
                await asyncio.gather(one(), one())
            enough.set()
            while not over.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    enough = threading.Event()
    crowd = threading.Thread(target=asyncio.run, args=(hold(),))
    crowd.start()
    try:
        assert enough.wait(180)
        yield told
    finally:
        over.set()
        crowd.join()


@contextmanager
def no_more_address_space(pid: int) -> Iterator[None]:
    """What it asks for beyond a MiB is not given: Python's MemoryError, or the end in a library that does not look."""
    with limited(pid, resource.RLIMIT_AS, address_space(pid) + (1 << 20)):
        yield


@contextmanager
def no_more_memory(pid: int) -> Iterator[None]:
    """A control group of its own, where it may take 4 MiB more than it has: when they are used up, the kernel kills
    it."""
    group = MEMORY / f"usp-tests-{pid}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(4 << 20))  # what it has stays on its old group's account
        (group / "cgroup.procs").write_text(str(pid))
        yield
        kills = (group / "memory.oom_control").read_text().splitlines()[-1]
        assert kills == "oom_kill 1", kills
    finally:
        for each in (group / "cgroup.procs").read_text().split():
            (MEMORY / "cgroup.procs").write_text(each)
        group.rmdir()


def slots(suite: Suite) -> dict[str, int]:
    """Which worker has which session."""
    return {session["id"]: session["slot"] for session in suite.api("GET", "/sessions")["items"]}


@pytest.mark.parametrize("limit", [no_more_address_space, no_more_memory])
def test_a_worker_without_memory(
    two_workers: Suite, tmp_path: Path, limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    """Partners come until one of two workers has none: only its sessions end, and the next login works."""
    if limit is no_more_memory and not os.access(MEMORY / "memory.limit_in_bytes", os.R_OK):
        pytest.skip("there are no control groups for memory here")
    suite = two_workers
    suite.wait_for_login(within=30)
    victim, other = suite.workers()
    outcomes = Outcomes(suite)
    uploads = Uploads(suite, tmp_path, 6, size=30_000_000, rate=8_000)  # thirty seconds
    uploads.under_way()
    there = slots(suite)
    assert len(there) == 6
    with limit(victim), held(suite, lambda told: told["refused"] >= 4 or not alive(victim)) as told:
        died = not alive(victim)
        assert died or told["refused"] >= 4, f"the limit was not reached: {told}"
        took = suite.wait_for_login(within=5)
        whole = uploads.finish()
    lost = {fact["session"] for fact in outcomes.facts() if fact["outcome"] == "internal"} & set(there)
    gone = {there[id] for id in lost}
    assert len(gone) <= 1, f"sessions of one worker only: {lost}"
    assert not died or lost == {id for id, slot in there.items() if {slot} == gone}, "all of a worker that died"
    assert sum(whole) == len(there) - len(lost), "all others go on, whole"
    wait_until(lambda: len(suite.workers()) == 2, 10, "there are two workers")
    assert other in suite.workers()
    assert [suite.sftp("pwd\n").returncode for _ in range(6)] == [0] * 6
    print(
        f"worker at its {'limit of address space' if limit is no_more_address_space else 'memory limit'}: "
        f"{told['in']} more partners, then it {'ends' if died else 'refuses'} with {len(lost)} of 6 uploads; "
        f"{sum(whole)} are acknowledged and whole; login after {took:.1f} s"
    )


@contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """A control group that is full: unlike RLIMIT_NPROC it binds root, too."""
    group, home = PIDS / f"usp-tests-{pid}", (PIDS / "cgroup.procs")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group for processes can be made here: {error}")
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        yield
    finally:
        (group / "pids.max").write_text("max")
        for each in (group / "cgroup.procs").read_text().split():
            home.write_text(each)
        group.rmdir()


def test_no_processes(suite: Suite) -> None:
    """A worker dies when no process can be made: it is tried again until one can."""
    suite.wait_for_login(within=20)
    supervisor = suite.ready["servers"][0]["pid"]
    (worker,) = suite.workers()
    with no_more_processes(supervisor):
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not alive(worker), 10, "the worker is dead")
        assert suite.sftp("pwd\n", timeout=30).returncode != 0
        assert alive(supervisor)
        assert suite.api("GET", f"/servers/{SERVER}")["state"] in ("running", "degraded")
    took = suite.wait_for_login(within=60)
    assert len(suite.workers()) == 1
    print(f"no process can be made: refused, the supervisor lives; room again: login after {took:.1f} s")
