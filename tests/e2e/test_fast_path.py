"""The fast path under OpenSSH: all its ciphers, rekeys in the middle of transfers, a target that stands still."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.suite import FAST_PATH, Suite, random_file, sha256

CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"]


def test_it_is_on_or_off_as_this_run_asks_for(suite: Suite, tmp_path: Path) -> None:
    """asyncssh's own way sends an IGNORE packet before every other; the fast path does not."""
    (suite.files / "plain").write_bytes(bytes(3_200_000))
    done = suite.sftp(f"get plain {tmp_path}/down\nrm plain\n", "-vvv")
    assert done.returncode == 0, done.stderr
    assert (done.stderr.count("SSH2_MSG_IGNORE") > 100) is (FAST_PATH == "false")


@pytest.mark.parametrize("cipher", CIPHERS)
def test_rekeys_in_both_directions(suite: Suite, tmp_path: Path, cipher: str) -> None:
    digest = random_file(tmp_path / "up", 40_000_000)
    batch = f"put {tmp_path}/up rekeyed\nget rekeyed {tmp_path}/down\nrm rekeyed\n"
    done = suite.sftp(batch, "-o", "RekeyLimit=4M", "-c", cipher)
    assert done.returncode == 0, done.stderr
    assert sha256(tmp_path / "down") == digest


def test_rekeys_without_the_fast_path(suite: Suite, tmp_path: Path) -> None:
    """A cipher that it does not know."""
    found = suite.api("GET", "/items/inbound-nodes/partners")
    fields = {name: found[name] for name in ("name", "ip_filter", "host_keys", "rule")}
    suite.api("PUT", "/items/inbound-nodes/partners", {**fields, "algorithms": {"profile": "compatible"}})
    suite.api("POST", "/servers/usp-server-1/push?wait=10")
    try:
        test_rekeys_in_both_directions(suite, tmp_path, "aes128-ctr")
    finally:
        suite.api("PUT", "/items/inbound-nodes/partners", fields)
        suite.api("POST", "/servers/usp-server-1/push?wait=10")


def test_a_target_that_stands_still_for_a_while(own_suite: Suite, tmp_path: Path) -> None:
    suite = own_suite
    digest = random_file(tmp_path / "up", 60_000_000)
    transfer = suite.start_sftp(f"put {tmp_path}/up stalled\nget stalled {tmp_path}/down\n", "-l", "200000")
    time.sleep(1)
    stopped = [suite.ready["target"]["pid"], *_descendants(suite.ready["target"]["pid"])]
    workers = suite.ready["servers"][0]["worker_pids"]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    before = [_resident(pid) for pid in workers]
    time.sleep(4)
    grown = [after - was for was, after in zip(before, map(_resident, workers), strict=True)]
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert transfer.wait(60) == 0
    assert transfer.stdout
    transfer.stdout.close()
    assert sha256(tmp_path / "down") == digest
    assert max(grown) < 24 << 20, "a stalled transfer holds its windows, no more"


def _descendants(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [found for child in map(int, text.split()) for found in (child, *_descendants(child))]


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
