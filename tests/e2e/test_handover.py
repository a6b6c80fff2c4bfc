"""An upgrade in place, during a transfer and a storm of connections: nothing is reset, no byte is lost.

USP_TEST_HANDOVER_MIB=2048: a large file.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import paramiko
import pytest

from tests.e2e.suite import Suite, alive, sha256, wait_until

pytestmark = pytest.mark.once

MIB = int(os.environ.get("USP_TEST_HANDOVER_MIB", "32"))


class Knocking(threading.Thread):
    """Connects again and again and wants to see an SSH banner."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.over = threading.Event()
        self.greeted = 0
        self.turned_away: list[str] = []
        self.slowest = 0.0

    def run(self) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), 30) as sock:
                    sock.settimeout(30)
                    said = sock.recv(255)
            except OSError as error:
                self.turned_away.append(repr(error))
            else:
                if said.startswith(b"SSH-2.0-"):
                    self.greeted += 1
                else:
                    self.turned_away.append(repr(said))
            self.slowest = max(self.slowest, time.monotonic() - began)


class Uploading(threading.Thread):
    """Writes blocks until it is told that it is enough, and `MIB` of them at the least."""

    def __init__(self, suite: Suite, path: str) -> None:
        super().__init__()
        partner = suite.ready["partner"]
        self.transport = paramiko.Transport((partner["host"], partner["port"]))
        self.transport.connect(username=partner["username"], password=partner["password"])
        self.path = path
        self.enough = threading.Event()
        self.written = 0
        self.digest = hashlib.sha256()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            sftp = paramiko.SFTPClient.from_transport(self.transport)
            assert sftp is not None
            with sftp.open(self.path, "wb") as file:
                file.set_pipelined(True)
                while self.written < MIB << 20 or not self.enough.is_set():
                    block = os.urandom(1 << 20)
                    file.write(block)
                    self.digest.update(block)
                    self.written += len(block)
        except Exception as error:
            self.failure = error
        finally:
            self.transport.close()


def handed_over(suite: Suite, knocking: list[Knocking]) -> None:
    """One upgrade, until new workers serve partners."""
    before = set(suite.workers())
    os.kill(suite.ready["servers"][0]["pid"], signal.SIGUSR2)
    wait_until(lambda: len(set(suite.workers()) - before) == 2, 30, "there are new workers")
    greeted = sum(each.greeted for each in knocking)
    wait_until(lambda: sum(each.greeted for each in knocking) > greeted + 20, 30, "partners are served")


def test_an_upgrade_in_place_resets_nobody(own_suite: Suite) -> None:
    suite = own_suite
    pid, old = suite.ready["servers"][0]["pid"], set(suite.workers())
    upload = Uploading(suite, "large")
    knocking = [Knocking(suite.port()) for _ in range(4)]
    for thread in (upload, *knocking):
        thread.start()
    try:
        handed_over(suite, knocking)
        handed_over(suite, knocking)  # while the first one's workers still have their sessions
        wait_until(lambda: suite.api("GET", "/sessions")["items"] != [], 10, "managers see sessions")
        users = [each["username"] for each in suite.api("GET", "/sessions")["items"]]
        assert "partner" in users, "the session on an old worker is seen"
        assert old & set(suite.workers()), "an old worker goes on with it"
        assert suite.sftp("pwd\n").returncode == 0
        assert upload.is_alive()
    finally:
        upload.enough.set()
        for each in knocking:
            each.over.set()
        for thread in (upload, *knocking):
            thread.join()
    assert [each.turned_away for each in knocking] == [[], [], [], []]
    assert upload.failure is None
    assert alive(pid)
    assert (suite.files / "large").stat().st_size == upload.written
    assert sha256(suite.files / "large") == upload.digest.hexdigest()
    wait_until(lambda: len(suite.workers()) == 2, 30, "the old workers end with their last session")
    ended = [entry for entry in suite.audit("session.ended") if entry.get("bytes_in", 0) >= upload.written]
    assert len(ended) == 1, "its last word came from the old worker, through the new supervisor"
    server = suite.ready["servers"][0]["name"]
    status = suite.api("GET", f"/servers/{server}")
    assert (status["state"], status["version"]) == ("running", status["desired"])
    slowest = max(each.slowest for each in knocking)
    print(f"{sum(each.greeted for each in knocking)} greeted, the slowest after {slowest:.1f} s")


def test_a_program_that_refuses_the_configuration_does_not_take_over(own_suite: Suite) -> None:
    suite = own_suite
    about = suite.ready["servers"][0]
    config = Path(Path(f"/proc/{about['pid']}/cmdline").read_text().split("\0")[4])
    sound, workers = config.read_text(), suite.workers()
    config.write_text(sound + "\nnonsense = 1\n")
    try:
        os.kill(about["pid"], signal.SIGUSR2)
        wait_until(lambda: "upgrade.refused" in Path(about["log"]).read_text(), 20, "it is refused")
        assert "nonsense" in Path(about["log"]).read_text().split("upgrade.refused")[1]
        assert suite.workers() == workers
        assert suite.sftp("pwd\n").returncode == 0
    finally:
        config.write_text(sound)
