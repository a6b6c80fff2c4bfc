"""usp-demo itself: it starts from nothing, tells how to connect, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.suite import ENV, Suite, alive, running

pytestmark = pytest.mark.once


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | descendants(int(child))
    return found


def test_an_existing_target(suite: Suite) -> None:
    """The session's demo is the existing target's host; there is no password for it, so passthrough is not proven."""
    target, etc = suite.ready["target"], suite.dir / "etc"
    flags = (
        "--target", f"{target['host']}:{target['port']}", "--target-user", "partner",
        "--target-key", str(etc / "gateway_key"), "--target-host-key", str(etc / "target_host_key.pub"),
    )  # fmt: skip
    with running("--workers", "1", *flags) as other:
        assert other.ready["target"] == {"host": target["host"], "port": target["port"]}
        assert other.ready["listeners"]["passthrough"] == {"port": other.port(1)}
        assert other.sftp("pwd\n").returncode == 0


def test_flags_of_an_existing_target_go_together(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "usp.demo.main", "--dir", str(tmp_path), "--target", "127.0.0.1:22"]
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "go together" in done.stderr


def test_two_servers_that_tell_no_secret_and_leave_no_process_behind() -> None:
    with running("--workers", "1", "--servers", "2") as suite:
        assert suite.sftp("pwd\n", port=suite.port(10)).returncode == 0, "the second server serves too"
        secrets = [
            suite.ready["partner"]["password"],
            suite.ready["listeners"]["passthrough"]["password"],
            suite.ready["admin"]["password"],
            suite.ready["admin"]["token"],
        ]
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        for secret in secrets:
            assert secret not in lines
            assert secret not in suite.logs()

        pids = descendants(suite.popen.pid)
        assert len(pids) >= 8, "manager, two servers, their workers, two clients, target"
        suite.popen.send_signal(signal.SIGINT)
        assert suite.popen.wait(30) == 0
        assert [pid for pid in pids if alive(pid)] == []
