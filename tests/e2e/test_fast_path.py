"""The fast path under OpenSSH: all its ciphers, rekeys in the middle of transfers, a peer that stands still.

USP_TEST_STOP=20 (seconds) and USP_TEST_REKEYED=4096 (MiB) ask for more than there is time for every day.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.suite import FAST_PATH, Suite, random_file, sha256, wait_until

STOP = float(os.environ.get("USP_TEST_STOP", "2"))
REKEYED = int(os.environ.get("USP_TEST_REKEYED", "64")) << 20
WINDOWS = 4 << 20
"""What a session may hold when both directions stand still: two channels' windows of 2 MiB each."""
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


def test_rekeys_of_both_peers(suite: Suite, tmp_path: Path) -> None:
    """OpenSSH's client and OpenSSH's server both ask for new keys, each on its own connection."""
    digest = random_file(tmp_path / "up", REKEYED)
    limit = "16M" if REKEYED > 1 << 28 else "4M"
    with _sshd_option(suite, f"RekeyLimit {limit}"):
        batch = f"put {tmp_path}/up rekeyed\nget rekeyed {tmp_path}/down\n"
        done = suite.sftp(batch, "-o", f"RekeyLimit={limit}", timeout=600)
    assert done.returncode == 0, done.stderr
    assert sha256(suite.files / "rekeyed") == digest
    assert sha256(tmp_path / "down") == digest
    (suite.files / "rekeyed").unlink()


@pytest.mark.parametrize("who", ["target", "partner"])
def test_one_that_stands_still_for_a_while(suite: Suite, tmp_path: Path, who: str) -> None:
    digest = random_file(tmp_path / "up", 60_000_000)
    transfer = suite.start_sftp(f"put {tmp_path}/up stalled\nget stalled {tmp_path}/down\n", "-l", "200000")
    for phase in ("up", "down"):
        there = suite.files / "stalled" if phase == "up" else tmp_path / "down"
        wait_until(lambda there=there: there.exists() and there.stat().st_size > 5_000_000, 30, f"{phase} is under way")  # type: ignore[misc]
        stopped = _tree(suite.ready["target"]["pid"] if who == "target" else transfer.pid)
        grown = _stand_still(stopped, suite.ready["servers"][0]["worker_pids"])
        print(f"{who} stopped for {STOP:g} s, {phase}: growth of the workers {grown} bytes")
        assert max(grown) < 2 * WINDOWS, "a stalled transfer holds its windows, no more"
    assert transfer.wait(120) == 0
    assert transfer.stdout
    transfer.stdout.close()
    assert sha256(suite.files / "stalled") == digest
    assert sha256(tmp_path / "down") == digest
    (suite.files / "stalled").unlink()


def _stand_still(stopped: list[int], workers: list[int]) -> list[int]:
    """By how much each of the workers is larger at the end of it than at its beginning."""
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    before = [_resident(pid) for pid in workers]
    time.sleep(STOP)
    grown = [_resident(pid) - was for pid, was in zip(workers, before, strict=True)]
    for pid in stopped:
        with suppress(ProcessLookupError):  # it had ended by then, and its parent is the first that goes on
            os.kill(pid, signal.SIGCONT)
    return grown


@contextmanager
def _sshd_option(suite: Suite, line: str) -> Iterator[None]:
    config = suite.dir / "etc" / "sshd_config"
    text = config.read_text()
    _reconfigure(suite, config, f"{line}\n{text}")
    try:
        yield
    finally:
        _reconfigure(suite, config, text)


def _reconfigure(suite: Suite, config: Path, text: str) -> None:
    log = Path(suite.dir / "log" / "target.log")
    ready = log.read_text().count("Server listening")
    config.write_text(text)
    os.kill(suite.ready["target"]["pid"], signal.SIGHUP)
    wait_until(lambda: log.read_text().count("Server listening") > ready, 10, "sshd reads its configuration anew")


def _tree(pid: int) -> list[int]:
    return [pid, *_descendants(pid)]


def _descendants(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [found for child in map(int, text.split()) for found in (child, *_descendants(child))]


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
