"""A worker without descriptors, without memory, a supervisor that can make no process: new sessions are refused, those
that are there go on, and new ones get in again when there is room."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import Suite, alive, running, wait_until
from tests.faults.places import SERVER, Outcomes
from tests.faults.transfers import Uploads, ended

pytestmark = [pytest.mark.once, pytest.mark.long]

PIDS = Path("/sys/fs/cgroup/pids")


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", "--direct") as suite:
        yield suite


@contextmanager
def limited(pid: int, what: int, soft: int) -> Iterator[None]:
    """A running process that may have only so much meanwhile."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (soft, before[1]))
    try:
        yield
    finally:
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


def test_no_memory(suite: Suite, tmp_path: Path) -> None:
    """The worker's address space may not grow: what fails is the session that asks for more, or the worker at worst."""
    suite.wait_for_login(within=20)
    (worker,) = suite.workers()
    uploads = Uploads(suite, tmp_path, 3, size=15_000_000, rate=12_000)
    uploads.under_way()
    with limited(worker, resource.RLIMIT_AS, address_space(worker) + (1 << 20)):
        tried = [suite.sftp("pwd\n", timeout=60).returncode == 0 for _ in range(6)]
        told = uploads.finish()  # what is acknowledged is whole
        survived = alive(worker)
    took = suite.wait_for_login(within=20)
    print(
        f"worker that may not grow by a MiB: {sum(tried)} of 6 new logins let in, {sum(told)} of 3 uploads whole; "
        f"the worker {'lives' if survived else 'was replaced'}; login after {took:.1f} s"
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
