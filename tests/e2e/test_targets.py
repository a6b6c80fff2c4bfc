"""Targets that go away: the next address takes over; a listener that leads nowhere says nothing, until one is back."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.e2e.sshd import Sshd
from tests.e2e.suite import Suite, running, wait_until

pytestmark = pytest.mark.once


@pytest.fixture
def direct_suite() -> Iterator[Suite]:
    with running("--workers", "2", "--direct") as suite:
        yield suite


def banner(port: int) -> bytes:
    """What a load balancer's check sees."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        return sock.recv(100)


def configure(suite: Suite, **changes: Any) -> None:
    """The demo's Outbound Node, with these fields, pushed."""
    node = suite.api("GET", "/items/outbound-nodes/target")
    fields = {name: node[name] for name in ("name", "host", "port", "host_keys")}
    suite.api("PUT", "/items/outbound-nodes/target", {**fields, **changes})
    suite.api("POST", "/servers/usp-server-1/push?wait=10")


def served(suite: Suite, logins: int) -> Counter[str]:
    """How many of so many logins each address of the target served."""
    partner = suite.ready["partner"]

    async def log_in(turn: asyncio.Semaphore) -> None:
        async with (
            turn,
            asyncssh.connect(
                partner["host"], partner["port"], username=partner["username"], password=partner["password"],
                known_hosts=partner["known_hosts"], config=None, client_keys=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip
            await sftp.realpath(".")

    async def all_of_them() -> None:
        turn = asyncio.Semaphore(5)
        await asyncio.gather(*(log_in(turn) for _ in range(logins)))

    before = len(suite.audit("login"))
    asyncio.run(all_of_them())
    wait_until(lambda: len(suite.audit("login")) == before + logins, 5, "all logins are audited")
    return Counter(fact["address"] for fact in suite.audit("login")[before:])


def test_logins_are_shared_out_by_weight(direct_suite: Suite, tmp_path: Path) -> None:
    suite, other = direct_suite, direct_suite.port(90)
    first, second = f"127.0.0.1:{suite.ready['target']['port']}", f"127.0.0.1:{other}"
    sshd = Sshd(suite)
    with sshd.copy(tmp_path / "other.log", other) as popen:
        alternate = {"host": "127.0.0.1", "port": other}
        configure(suite, alternates=[alternate], distribution="weighted", weight=3)
        found = served(suite, 100)
        assert found.keys() == {first, second}
        assert 5 <= found[second] <= 50, "25 are expected; by chance alone, it is beyond that once in 100,000 runs"
        accepted = re.findall(r"^Accepted \S+ for ", (tmp_path / "other.log").read_text(), re.MULTILINE)
        assert len(accepted) == found[second], "the target says the same"
        configure(suite, alternates=[alternate], distribution="weighted", weight=0)
        assert served(suite, 20) == {second: 20}, "weight 0 waits"
        popen.kill()
        popen.wait()
        assert served(suite, 10) == {first: 10}, "until all others are down"


def test_the_alternate_takes_over(direct_suite: Suite, tmp_path: Path) -> None:
    suite, other = direct_suite, direct_suite.port(90)
    sshd = Sshd(suite)
    with sshd.copy(tmp_path / "other.log", other):
        configure(suite, alternates=[{"host": "127.0.0.1", "port": other}])
        assert suite.sftp("pwd\n").returncode == 0
        first = suite.audit("login")[-1]["address"]
        sshd.kill()
        for _ in range(6):
            done = suite.sftp("pwd\n")
            assert done.returncode == 0, done.stderr
        assert suite.audit("login")[-1]["address"] == f"127.0.0.1:{other}" != first
        assert banner(suite.ready["partner"]["port"]).startswith(b"SSH-2.0-"), "one address is enough"
        ended = suite.audit("session.ended")[-1]
        assert (ended["target"], ended["address"]) == ("target", f"127.0.0.1:{other}")


@pytest.mark.parametrize("way", ["direct_suite", "own_suite"])
def test_no_banner_without_a_target_until_it_is_back(way: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Directly, and through the tunnel."""
    suite: Suite = request.getfixturevalue(way)
    port = suite.ready["partner"]["port"]
    sshd = Sshd(suite)
    sshd.kill()

    def withheld() -> bool:
        suite.sftp("pwd\n")
        return banner(port) == b""

    wait_until(withheld, 10, "the listener says nothing")
    time.sleep(2)
    assert banner(port) == b"", "nor later"
    with sshd.copy(tmp_path / "again.log"):
        took = wait_until(lambda: banner(port).startswith(b"SSH-2.0-"), 5, "the listener is back by itself")
        assert suite.sftp("pwd\n").returncode == 0
        print(f"banner after the target's return: {took:.2f} s")
