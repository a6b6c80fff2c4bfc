"""usp-demo itself: it starts from nothing, tells how to connect, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.e2e.suite import alive, running


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | descendants(int(child))
    return found


def test_ctrl_c_leaves_no_process_behind() -> None:
    with running("--workers", "1", port_base=12422) as suite:
        pids = descendants(suite.popen.pid)
        assert len(pids) >= 5, "manager, server, worker, client, target"
        suite.popen.send_signal(signal.SIGINT)
        assert suite.popen.wait(30) == 0
        assert [pid for pid in pids if alive(pid)] == []


def test_direct_needs_no_client() -> None:
    with running("--workers", "1", "--direct", port_base=12522) as suite:
        assert suite.ready["clients"] == []
        assert suite.sftp("pwd\n").returncode == 0


def test_no_secret_on_any_command_line_or_in_any_log() -> None:
    with running("--workers", "1", "--servers", "2", port_base=12622) as suite:
        assert suite.sftp("pwd\n", port=12632).returncode == 0, "the second server serves too"
        secrets = [suite.ready["partner"]["password"], suite.ready["admin"]["password"], suite.ready["admin"]["token"]]
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        for secret in secrets:
            assert secret not in lines
            assert secret not in suite.logs()
