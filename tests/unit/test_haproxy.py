"""The form of the reference documentation, and that HAProxy itself takes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.unit.server.support import snapshot, until
from tests.unit.server.test_main import HOST_KEY, Daemon, partners, running
from usp.haproxy import Server, Service, render

ROOT = Path(__file__).resolve().parents[2]
TWO = (Server("usp-server-1", "192.0.2.11", 2222), Server("usp-server-2", "2001:db8::12", 2222))
REFERENCE = Service("sftp", "0.0.0.0", 2222, (TWO[0], Server("usp-server-2", "192.0.2.12", 2222)))
ALL = (
    REFERENCE,
    Service("behind-proxy", "::", 2223, TWO, proxy=True),
    Service(
        "tcp", "127.0.0.1", 2224, (Server("usp-server-1", "192.0.2.11", 2224, 2300, listener="tcp-1"),), banner=False
    ),
)


def directives(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def valid(path: Path) -> None:
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    if not Path(haproxy).exists():
        pytest.skip("haproxy is not installed")
    done = subprocess.run([haproxy, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()


def test_the_sample_is_what_is_generated() -> None:
    sample = (ROOT / "etc" / "haproxy.cfg").read_text()
    assert directives(sample) == directives(render([REFERENCE]))
    for line in ("balance leastconn", "stick-table type ip size 100k expire 4h", "stick on src", "option tcp-check"):
        assert line in directives(sample)
    assert "tcp-check expect string SSH-2.0" in directives(sample)
    assert "default-server check inter 10s fall 3 rise 2" in directives(sample)


def test_proxy_protocol_agents_and_ipv6() -> None:
    lines = directives(render(ALL))
    assert "default-server check inter 10s fall 3 rise 2 send-proxy-v2 check-send-proxy" in lines
    assert "server usp-server-2 [2001:db8::12]:2222" in lines
    assert (
        "server usp-server-1 192.0.2.11:2224 weight 100 agent-check agent-port 2300 "
        'agent-inter 2s agent-send "tcp-1\\n"' in lines
    )
    assert lines.count("tcp-check expect string SSH-2.0") == 2, "what is no SFTP is not asked for a banner"


@pytest.mark.parametrize("stats", ["", "/tmp/haproxy.sock"])
def test_haproxy_takes_it(tmp_path: Path, stats: str) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(render(ALL, stats=stats))
    assert ("stats socket /tmp/haproxy.sock mode 600 level admin" in directives(file.read_text())) is bool(stats)
    valid(file)
    valid(ROOT / "etc" / "haproxy.cfg")


def test_checks_may_be_more_frequent() -> None:
    assert "default-server check inter 1s fall 3 rise 2" in directives(render(ALL, inter=1))


def test_a_name_is_never_more_than_a_word() -> None:
    with pytest.raises(AssertionError):
        render([Service("two words", "::", 1, TWO)])


# --- the reference configuration, as it is, in front of two real servers ---


class Balancer:
    """HAProxy with etc/haproxy.cfg, of which nothing but the addresses is changed, and a socket to look at it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.front = free_port()
        self._socket = folder / "haproxy.sock"
        text = (ROOT / "etc" / "haproxy.cfg").read_text()
        for old, new in (
            ("0.0.0.0:2222", f"127.0.0.1:{self.front}"),
            ("192.0.2.11:2222", f"127.0.0.11:{port}"),
            ("192.0.2.12:2222", f"127.0.0.12:{port}"),
            ("\nglobal\n", f"\nglobal\n    stats socket {self._socket} mode 600 level admin\n"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "haproxy.cfg").write_text(text)
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        if not os.path.exists(program):
            pytest.skip("haproxy is not installed")
        self.process = subprocess.Popen(
            [program, "-db", "-f", str(folder / "haproxy.cfg")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def checks(self) -> list[str]:
        """What the last check of each server found."""
        if not self._socket.exists():
            return []
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._socket))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        head, *lines = text.splitlines()
        rows = [dict(zip(head.lstrip("# ").split(","), line.split(","), strict=False)) for line in lines if line]
        return [row["check_status"] for row in rows if row["svname"].startswith("usp-server-")]


@contextlib.asynccontextmanager
async def partner(port: int, source: str) -> AsyncIterator[bytes]:
    """Somebody from that address who is connected, and what he was greeted with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_the_reference_configuration_of_haproxy_works_as_it_is(tmp_path: Path) -> None:
    port = free_port()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "one", 1) as one, running(tmp_path / "two", 1) as two:
        for place, each in enumerate((one, two), start=1):
            spec = partners(port, HOST_KEY).model_copy(update={"address": f"127.0.0.1{place}"})
            assert (await each.api("PUT", "/v1/snapshot", snapshot(1, spec).to_wire()))[0] == 200
        balancer = Balancer(tmp_path, port)
        try:
            await until(lambda: balancer.checks() == ["L7OK", "L7OK"], 15)
            await _balanced(balancer.front, one, two)
            assert not any(word in each.log() for each in (one, two) for word in (" WARN ", " ERROR ")), (
                "checks are quiet"
            )
            one.process.kill()
            await one.process.wait()
            for source in ("127.0.0.21", "127.0.0.22", "127.0.0.23"):
                async with partner(balancer.front, source) as greeted:  # wherever it was before
                    assert greeted.startswith(b"SSH-2.0-")
        finally:
            balancer.process.terminate()
            balancer.process.wait()


async def _balanced(front: int, one: Daemon, two: Daemon) -> None:
    """`stick on src`, and `leastconn` for who was not there before."""

    async def held() -> tuple[int, int]:
        return (await one.report())["sessions"], (await two.report())["sessions"]

    async def home(source: str) -> int:
        """Where he is. Checks come and go, so it is asked until nothing else is there."""
        async with partner(front, source) as greeted, asyncio.timeout(5):
            assert greeted.startswith(b"SSH-2.0-")
            while sum(found := await held()) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            return found.index(1)

    async def empty() -> None:
        async with asyncio.timeout(5):
            while any(await held()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    for source in ("127.0.0.21", "127.0.0.22", "127.0.0.23"):
        homes = []
        for _ in range(3):
            homes.append(await home(source))
            await empty()
        assert len(set(homes)) == 1, f"{source}: {homes}"
    async with partner(front, "127.0.0.31") as greeted:
        assert greeted
        busy = (await held()).index(1)
        async with partner(front, "127.0.0.32") as other:
            assert other
            assert await held() == (1, 1), f"leastconn: server {busy} had one already"
    await empty()
