"""Shared connections to a real sshd: how many it sees, whose bytes arrive where, and who ends with whom."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import Suite, random_file, running, sha256, wait_until

LIMIT = 8
SIZE = 4_000_000
ROBOT = "robot"


class Held:
    """A partner's sftp that waits for the next command."""

    def __init__(self, suite: Suite, username: str) -> None:
        argv = suite.sftp_argv()
        argv[-1] = f"{username}@127.0.0.1"
        self.popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SSHPASS": suite.ready["partner"]["password"]},
            text=True,
            bufsize=1,
        )

    def say(self, *commands: str) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("".join(f"{command}\n" for command in [*commands, "pwd"]))

    def hear(self) -> None:
        """Until all that was said is done."""
        assert self.popen.stdout
        heard = ""
        for line in self.popen.stdout:
            if line.startswith("Remote working directory"):
                return
            heard += line
        raise AssertionError(f"the session ended: {heard}")

    def do(self, *commands: str) -> None:
        self.say(*commands)
        self.hear()

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


class Reuse:
    """A suite with one worker, so that all sessions could share; and what its target sees."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.target: int = suite.ready["target"]["pid"]
        self._log = suite.dir / "log" / "target.log"
        self._read = 0

    def configure(self, **fields: Any) -> None:
        """With other fields than before, nothing that was shared until now is shared any more."""
        node = self.suite.api("GET", "/items/outbound-nodes/target")
        fields = {"name": "target", **{each: node[each] for each in ("host", "port", "host_keys")}, **fields}
        self.suite.api("PUT", "/items/outbound-nodes/target", fields)
        self.suite.api("POST", "/servers/usp-server-1/push?wait=10")
        self._read = len(self._log.read_text())

    def logins(self) -> list[str]:
        """Who has logged in at the target since then."""
        lines = self._log.read_text()[self._read :].splitlines()
        return [line.split()[3] for line in lines if line.startswith("Accepted publickey for ")]

    def reused(self, count: int) -> list[bool | None]:
        """What was audited of the last logins."""
        return [entry.get("reused") for entry in self.suite.audit("login")[-count:]]

    def restart_target(self, **changes: str) -> None:
        """With other settings."""
        config = self.suite.dir / "etc" / "sshd_config"
        lines = [line.split(" ", 1) for line in config.read_text().splitlines()]
        config.write_text("".join(f"{key} {changes.get(key, value)}\n" for key, value in lines))
        listening = self._log.read_text().count("Server listening")
        os.kill(self.target, signal.SIGHUP)
        wait_until(lambda: self._log.read_text().count("Server listening") > listening, 5, "the target listens again")

    @contextmanager
    def held(self, count: int, username: str = "partner") -> Iterator[list[Held]]:
        """Logged in one after another."""
        with ExitStack() as stack:
            found = []
            for _ in range(count):
                found.append(Held(self.suite, username))
                stack.callback(found[-1].close)
                found[-1].do()
            yield found


@pytest.fixture(scope="module")
def reuse() -> Iterator[Reuse]:
    with running("--workers", "1") as suite:
        yield Reuse(suite)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_is_off_by_default(reuse: Reuse) -> None:
    reuse.configure()
    with reuse.held(2):
        assert len(reuse.logins()) == 2
    assert reuse.reused(2) == [None, None]


def test_partners_in_parallel_over_one_connection(reuse: Reuse, tmp_path: Path) -> None:
    reuse.configure(connection_reuse=True)
    digests = [random_file(tmp_path / f"up{n}", SIZE + n) for n in range(LIMIT)]
    with reuse.held(LIMIT) as partners:
        assert reuse.logins() == ["partner"]
        for n, partner in enumerate(partners):
            partner.say(f"put {tmp_path}/up{n} shared{n}", f"get shared{n} {tmp_path}/down{n}")
        for partner in partners:
            partner.hear()
        with reuse.held(1):
            assert len(reuse.logins()) == 2
    assert [sha256(reuse.suite.files / f"shared{n}") for n in range(LIMIT)] == digests
    assert [sha256(tmp_path / f"down{n}") for n in range(LIMIT)] == digests
    assert reuse.reused(LIMIT + 1) == [False, *[True] * (LIMIT - 1), False]


def test_who_ends_with_whom(reuse: Reuse, tmp_path: Path) -> None:
    suite = reuse.suite
    reuse.configure(connection_reuse=True, sessions_per_connection=3)
    digest = random_file(tmp_path / "up", SIZE)

    def outcomes() -> dict[str, str]:
        return {entry["session"]: entry["outcome"] for entry in suite.audit("session.ended")}

    before = len(suite.audit("login"))
    with reuse.held(4) as (_, second, third, other):
        assert len(reuse.logins()) == 2
        wait_until(lambda: len(suite.audit("login")) == before + 4, 5, "all logins are in the audit log")
        sharing = [entry["session"] for entry in suite.audit("login")[-4:-1]]
        killed = sharing[0]
        suite.api("DELETE", f"/sessions/{killed}")
        wait_until(lambda: killed in outcomes(), 5, "an administrator ends one session")
        second.do(f"put {tmp_path}/up second")
        third.do(f"put {tmp_path}/up third")
        assert {sha256(suite.files / name) for name in ("second", "third")} == {digest}
        shared = max(children(reuse.target), key=lambda pid: len(_below(pid)))
        for pid in [*_below(shared), shared]:
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: [outcomes().get(each) for each in sharing] == ["killed", "target_closed", "target_closed"],
            5,
            "the others end with it",
        )
        other.do(f"put {tmp_path}/up other")
        assert sha256(suite.files / "other") == digest
        suite.wait_for_login(within=2)


def test_another_user_at_the_target_has_another_connection(reuse: Reuse) -> None:
    suite = reuse.suite
    for name in ("passwd", "shadow"):
        file = suite.dir / "etc" / name
        text = file.read_text()
        file.write_text(text + "".join(f"{ROBOT}{line.removeprefix('partner')}\n" for line in text.splitlines()[:1]))
    account = {"account_repository": "partners", "password": suite.ready["partner"]["password"]}
    suite.api("POST", "/items/accounts", {"name": "mapped", "username": "mapped", **account, "target_username": ROBOT})
    reuse.configure(connection_reuse=True, sessions_per_connection=4)
    with reuse.held(2), reuse.held(2, "mapped"):
        assert reuse.logins() == ["partner", ROBOT]
    assert reuse.reused(4) == [False, True, False, True]


def test_a_target_that_takes_fewer_channels(reuse: Reuse) -> None:
    """MaxSessions is below what the Outbound Node says: nobody is turned away for it."""
    reuse.restart_target(MaxSessions="2")
    try:
        reuse.configure(connection_reuse=True, sessions_per_connection=5)
        with reuse.held(5) as partners:
            for number, partner in enumerate(partners):
                partner.do(f"mkdir fewer{number}")
            assert reuse.reused(5) == [False, True, True, False, True]
            assert len(reuse.logins()) == 3
        assert all((reuse.suite.files / f"fewer{number}").is_dir() for number in range(5))
    finally:
        reuse.restart_target(MaxSessions="100")


def test_a_push_that_changes_nothing_here_leaves_connections_alone(reuse: Reuse) -> None:
    reuse.configure(connection_reuse=True, sessions_per_connection=6)
    suite = reuse.suite
    with reuse.held(1):
        node = suite.api("GET", "/items/inbound-nodes/partners")
        fields = {name: node[name] for name in ("name", "ip_filter", "host_keys", "rule")}
        suite.api("PUT", "/items/inbound-nodes/partners", {**fields, "banner": "Hello"})
        suite.api("POST", "/servers/usp-server-1/push?wait=10")
        with reuse.held(1):
            assert len(reuse.logins()) == 1
    assert reuse.reused(2) == [False, True]


def _below(pid: int) -> list[int]:
    found = children(pid)
    return [each for child in found for each in (child, *_below(child))]
