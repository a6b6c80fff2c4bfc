"""The real HAProxy in front of two servers: checks, stickiness, draining."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import ports
from tests.e2e.command_line import usp
from tests.e2e.suite import Suite, random_file, running, sha256, wait_until

pytestmark = pytest.mark.once

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
ONE, TWO = "usp-server-1", "usp-server-2"


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", "--servers", "2", "--direct", "--haproxy", port_base=two_ranges()) as suite:
        yield suite


def two_ranges() -> int:
    """HAProxy listens a hundred ports above the base: so take the range after it, too."""
    first, second = ports.port_base(), ports.port_base()
    while second != first + ports.SUITE_PORTS:
        first, second = second, ports.port_base()
    return first


class Balancer:
    """HAProxy's own commands, over its socket."""

    def __init__(self, stats: str) -> None:
        self.stats = stats

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.stats)
            sock.sendall(f"{command}\n".encode())
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        return answer.decode()

    def state(self, server: str, backend: str = "partners") -> dict[str, str]:
        head, *lines = self.ask("show stat").splitlines()
        names = head.lstrip("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line]
        (found,) = [row for row in rows if (row["pxname"], row["svname"]) == (backend, server)]
        return found

    def status(self, server: str, backend: str = "partners") -> str:
        return self.state(server, backend)["status"]


def served_by(suite: Suite, port: int, source: str) -> str:
    """The server that a partner from that address gets."""
    time.sleep(0.2)  # lines of the partner before may come so late
    before = [len(suite.audit("login", server)) for server in (0, 1)]
    done = suite.sftp("pwd\n", "-o", f"BindAddress={source}", port=port, timeout=30)
    assert done.returncode == 0, done.stderr

    def places() -> list[int]:
        return [server for server in (0, 1) if len(suite.audit("login", server)) > before[server]]

    wait_until(lambda: bool(places()), 5, "the login is audited")
    (place,) = places()
    return (ONE, TWO)[place]


def index(server: str) -> int:
    return (ONE, TWO).index(server)


def test_a_partner_stays_and_is_moved_by_a_drain_without_losing_a_byte(suite: Suite, tmp_path: Path) -> None:
    balancer, port = Balancer(suite.ready["haproxy"]["stats"]), suite.ready["haproxy"]["port"]
    home = served_by(suite, port, "127.0.0.9")
    assert {served_by(suite, port, "127.0.0.9") for _ in range(4)} == {home}, "stick on src"
    other = TWO if home == ONE else ONE
    digest = random_file(tmp_path / "up", 30_000_000)
    transfer = start(suite, port, f"put {tmp_path}/up during-drain\n", "-l", "40000", "-o", "BindAddress=127.0.0.9")
    wait_until(lambda: (suite.files / "during-drain").exists(), 10, "the transfer runs")

    began = time.monotonic()
    told = usp(suite, "drain", home, "--deadline", "1", code=1)
    assert "stays drained" in told or "was not seen" in told, "the transfer goes on"
    wait_until(lambda: balancer.status(home).startswith("MAINT"), 6, "HAProxy was told by the agent")
    drained = time.monotonic() - began
    assert served_by(suite, port, "127.0.0.9") == other, "although the stick table has the partner"
    assert "drained: it takes no new sessions" in usp(
        suite, "explain", "--server", home, "--listener", "partners" + ("" if home == ONE else "-2"),
        "--source", "127.0.0.9", "--user", "partner",
    )  # fmt: skip
    assert transfer.wait(60) == 0
    assert sha256(suite.files / "during-drain") == digest
    assert "drained, no session is left" in usp(suite, "drain", home, "--deadline", "20")

    with suite.restartable("servers", index(home)) as server:  # what is drained stays so over a restart
        server.kill()
        server.start()
        wait_until(
            lambda: suite.api("GET", f"/servers/{home}")["intake"] == "closed" and _boots(suite, home) > 1,
            15,
            "the restarted server is drained again",
        )
        direct = suite.ready["partner"]["port"] + 10 * index(home)
        assert suite.sftp("pwd\n", port=direct, timeout=20).returncode != 0
        usp(suite, "undrain", home)
        back = wait_until(lambda: balancer.status(home) == "UP", 40, "HAProxy sends partners there again")
        assert suite.sftp("pwd\n", port=direct, timeout=20).returncode == 0
    print(
        f"drained: HAProxy sends partners elsewhere after {drained:.1f} s, the transfer of 30 MB that ran goes on and "
        f"is whole; undrained: they come again after {back:.1f} s"
    )


def test_the_trap_of_stick_tables(suite: Suite) -> None:
    """HAProxy's own `drain` still admits whom the table has there, until the entries of that server are cleared."""
    balancer, port = Balancer(suite.ready["haproxy"]["stats"]), suite.ready["haproxy"]["port"]
    source = "127.0.0.10"
    home = served_by(suite, port, source)
    other = TWO if home == ONE else ONE
    balancer.ask(f"disable agent partners/{home}")  # its `ready` would end the drain
    balancer.ask(f"set server partners/{home} state drain")
    try:
        wait_until(lambda: balancer.status(home).startswith("DRAIN"), 6, "HAProxy drains it")
        assert served_by(suite, port, source) == home, "the trap"
        assert served_by(suite, port, "127.0.0.11") == other, "new partners go elsewhere"
        balancer.ask(f"clear table partners data.server_id eq {index(home) + 1}")
        assert {served_by(suite, port, source) for _ in range(2)} == {other}
    finally:
        balancer.ask(f"set server partners/{home} state ready")
        balancer.ask(f"enable agent partners/{home}")
    wait_until(lambda: balancer.status(home) == "UP", 10, "it is back")


@pytest.mark.long
def test_a_reload_under_a_transfer(suite: Suite, tmp_path: Path) -> None:
    """HAProxy's own way: a new process takes over the ports, the old one stays until its last session has ended. Nobody
    who is in or comes meanwhile notices, and our logs stay quiet."""
    front = suite.ready["haproxy"]["port"]
    config = tmp_path / "haproxy.cfg"
    text = (suite.dir / "etc" / "haproxy.cfg").read_text().replace(suite.ready["haproxy"]["stats"], f"{tmp_path}/sock")
    for number in range(3):
        text = text.replace(f"{front + number}\n", f"{front + 50 + number}\n")
    config.write_text(text)
    argv, port = [HAPROXY, "-db", "-f", str(config)], front + 50
    known = ("-o", f"HostKeyAlias=[127.0.0.1]:{front}")
    digest = random_file(tmp_path / "up", 30_000_000)
    with ExitStack() as stack:
        old = process(stack, argv)
        wait_until(lambda: greets(port), 20, "it has seen its servers")
        transfer = start(suite, port, f"put {tmp_path}/up during-reload\n", "-l", "40000", *known)
        stack.callback(transfer.kill)
        wait_until(lambda: (suite.files / "during-reload").exists(), 10, "the transfer runs")
        told = noise(suite)
        process(stack, [*argv, "-sf", str(old.pid)])
        codes = [suite.sftp("pwd\n", *known, port=port, timeout=30).returncode for _ in range(10)]
        assert codes == [0] * 10, "who comes meanwhile gets in"
        assert old.poll() is None, "the old one waits for the transfer"
        assert transfer.wait(60) == 0
        ended = wait_until(lambda: old.poll() is not None, 10, "the old one ends by itself")
        assert suite.sftp("pwd\n", *known, port=port, timeout=30).returncode == 0
    assert sha256(suite.files / "during-reload") == digest
    assert noise(suite) == told
    print(
        f"reloaded: a transfer of 30 MB is whole, {len(codes)} logins meanwhile; the old process ends {ended:.1f} s "
        "after the transfer"
    )


def process(stack: ExitStack, argv: list[str]) -> subprocess.Popen[bytes]:
    """Killed at the end, if it still runs."""
    found = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(found.wait)
    stack.callback(found.kill)
    return found


def greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def noise(suite: Suite) -> list[str]:
    """Warnings and errors of the servers."""
    logs = [Path(server["log"]).read_text() for server in suite.ready["servers"]]
    return [line for text in logs for line in text.splitlines() if " WARN " in line or " ERROR " in line]


def start(suite: Suite, port: int, batch: str, *options: str) -> subprocess.Popen[str]:
    """A partner's sftp in the background; with "" it stays until its input is closed."""
    popen = subprocess.Popen(
        suite.sftp_argv(*options, port=port),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "SSHPASS": suite.ready["partner"]["password"]},
        text=True,
    )
    assert popen.stdin
    if batch:
        popen.stdin.write(batch)
        popen.stdin.close()
    return popen


def _boots(suite: Suite, server: str) -> int:
    log = Path(suite.ready["servers"][index(server)]["log"]).read_text()
    return log.count("intake state=closed")
