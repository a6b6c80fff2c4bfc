"""usp-demo with two managers on PostgreSQL: what one does the other one sees, and each takes over from the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.databases import postgres
from tests.e2e.suite import ENV, Suite, running, wait_until

pytestmark = pytest.mark.once

OLD_SECONDS = 3.0


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with postgres.running() as server:
        flags = ("--workers", "1", "--direct", "--managers", "2", "--database", server.argument())
        with running(*flags) as started:
            yield started


def of(suite: Suite, manager: int) -> Suite:
    """The same suite, asked through another manager."""
    order = suite.ready["managers"]
    return Suite(suite.popen, {**suite.ready, "managers": [order[manager], *order]})


def age(server: dict[str, Any]) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(server["checked_at"])).total_seconds()


def test_both_are_there_and_the_database_is_not_in_the_command_lines(suite: Suite) -> None:
    assert len(suite.ready["managers"]) == 2
    assert "/postgresql://" not in suite.logs()
    assert postgres.PASSWORD not in suite.logs()
    for manager in suite.ready["managers"]:
        assert postgres.PASSWORD not in Path(f"/proc/{manager['pid']}/cmdline").read_text()
    assert suite.sftp("pwd\n").returncode == 0


def test_status_is_young_on_both(suite: Suite) -> None:
    for manager in range(2):
        server = of(suite, manager).api("GET", "/servers/usp-server-1")
        assert server["state"] == "running"
        assert age(server) <= OLD_SECONDS


def test_a_push_through_either_arrives(suite: Suite) -> None:
    for manager in (1, 0):
        before = suite.api("GET", "/servers/usp-server-1/versions")["items"][0]["version"]
        of(suite, manager).api("POST", "/servers/usp-server-1/push?wait=20", {"force": True})
        after = of(suite, 1 - manager).api("GET", "/servers/usp-server-1/versions")["items"][0]
        assert (after["version"], after["state"]) == (before + 1, "applied")


def test_the_other_goes_on_when_one_is_killed(suite: Suite) -> None:
    os.kill(suite.ready["managers"][0]["pid"], signal.SIGKILL)
    left = of(suite, 1)
    left.api("POST", "/servers/usp-server-1/push?wait=20", {"force": True})
    wait_until(lambda: age(left.api("GET", "/servers/usp-server-1")) <= OLD_SECONDS, 10, "its status is young")
    assert suite.sftp("pwd\n").returncode == 0


def test_several_managers_want_a_database_that_they_can_share(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "usp.demo.main", "--dir", str(tmp_path), "--managers", "2"]
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--database postgresql://" in done.stderr
