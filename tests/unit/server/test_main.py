"""The whole daemon as processes, with the real workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.server.support import TARGET, free_port, greeting, listener, node, snapshot, until
from tests.unit.server.test_control import CA, MANAGER, NOW, SERVER, Api, client, written
from usp import pki, tls
from usp.secret import Secret
from usp.snapshot import ListenerSpec
from usp.ssh import keys

ROOT = Path(__file__).resolve().parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


HOST_KEY, TARGET_KEY = keys.generate()


def partners(port: int, host_key: Secret) -> ListenerSpec:
    door = node().model_copy(update={"host_keys": (host_key,)})
    target = TARGET.model_copy(update={"host_keys": (TARGET_KEY,)})
    return listener("partners", port, nodes=(door,)).model_copy(update={"target": target})


class Daemon:
    def __init__(self, process: asyncio.subprocess.Process, api: Api, health: int, folder: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.api = api
        self.health = health
        self.folder = folder

    async def report(self) -> dict[str, Any]:
        status, report = await self.api("GET", "/v1/status")
        assert status == 200
        return dict(report)

    async def worker_pids(self) -> list[int]:
        return [slot["pid"] for slot in (await self.report())["slots"]]

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def running(tmp_path: Path, workers: int = 2) -> AsyncIterator[Daemon]:
    port, health = free_port(), free_port()
    paths = written(tmp_path, SERVER, CA)
    os.chmod(paths.key, 0o600)
    config = tmp_path / "usp-server.hcl"
    config.write_text(
        f"""
        name = "server"
        workers = {workers}
        web {{
          address = "127.0.0.1"
          port = {port}
          tls {{
            cert = "{paths.cert}"
            key = "{paths.key}"
            ca = "{paths.ca}"
          }}
        }}
        log {{ path = "{tmp_path}/log" }}
        audit {{ path = "{tmp_path}/audit" }}
        metrics {{ port = {health} }}
        server {{ drain_timeout = 1.0 }}
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "usp.server.main", "-config", str(config), env=ENV, cwd=tmp_path
    )
    try:
        await until(lambda: _listens(port), 20)
        async for api in client(port, MANAGER):
            yield Daemon(process, api, health, tmp_path)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    return port in listening(None)


def listening(pids: list[int] | None) -> set[int]:
    """The TCP ports that are listened on: by anybody, or by these processes."""
    inodes = None if pids is None else {link for pid in pids for link in _sockets(pid)}
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and (inodes is None or f"socket:[{fields[9]}]" in inodes):
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _sockets(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def hardened(pid: int) -> bool:
    """See usp.hardening."""
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (core,) = [line for line in limits if "core file" in line]
    return core.split()[4:6] == ["0", "0"] and "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


async def got(daemon: Daemon, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{daemon.health}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_the_life_of_the_daemon(daemon: Daemon) -> None:
    """Only the management port before the first push; then configured; then a reload; then SIGTERM."""
    workers = await daemon.worker_pids()
    management = int(daemon.api.url.rpartition(":")[2])
    assert listening([daemon.pid, *workers]) == {management, daemon.health}
    assert await got(daemon, "/livez") == (200, "ok\n")
    assert await got(daemon, "/readyz") == (503, "no configuration yet\n")
    port = free_port()
    status, ack = await daemon.api("PUT", "/v1/snapshot", snapshot(1, partners(port, Secret("no key"))).to_wire())
    assert (status, ack["code"]) == (409, "push.rejected")
    assert ack["problems"][0]["loc"][:4] == ["listeners", 0, "nodes", 0]
    assert listening([daemon.pid]) == {management, daemon.health}
    status, ack = await daemon.api("PUT", "/v1/snapshot", snapshot(1, partners(port, HOST_KEY)).to_wire())
    assert (status, ack["result"]) == (200, "applied")
    assert (await greeting(port)).startswith(b"SSH-2.0-")
    assert await got(daemon, "/readyz") == (200, "ok\n")
    assert "usp_workers_ready 2.0" in (await got(daemon, "/metrics"))[1]

    assert all(map(hardened, (daemon.pid, *workers)))

    long = (await daemon.report())["certificates"]
    assert [each["name"] for each in long] == ["web.tls.cert", "web.tls.ca"]
    renewed = pki.issue(CA, now=NOW, uri=tls.server_uri("renewed"), days=5)
    written(daemon.folder, renewed, CA)
    daemon.process.send_signal(signal.SIGHUP)
    await until(lambda: "daemon.reloaded" in daemon.log())
    context = tls.client_context(CA.cert, MANAGER.cert, MANAGER.key, peer=tls.server_uri("renewed"))
    _, writer = await asyncio.open_connection("127.0.0.1", management, ssl=context)
    assert tls.identity(writer.get_extra_info("peercert")) == tls.server_uri("renewed")
    writer.close()
    short = (await daemon.report())["certificates"]  # over the connection of before
    assert short[0]["until"] < long[0]["until"]
    assert short[1] == long[1]
    await until(lambda: "certificate.expires" in daemon.log())
    assert 'usp_certificate_expiry_timestamp_seconds{certificate="web.tls.ca"}' in (await got(daemon, "/metrics"))[1]

    daemon.process.terminate()
    assert await asyncio.wait_for(daemon.process.wait(), 10) == 0
    assert not any(map(alive, workers))
    assert [line for line in daemon.log().splitlines() if " ERROR " in line and "snapshot.rejected" not in line] == []
    assert "Traceback" not in daemon.log()
    assert "worker.not_confined" not in daemon.log()


async def test_workers_end_when_the_supervisor_is_killed(daemon: Daemon) -> None:
    workers = await daemon.worker_pids()
    daemon.process.kill()
    await until(lambda: not any(map(alive, workers)), 10)


async def test_a_killed_worker_is_back_within_two_seconds(daemon: Daemon) -> None:
    await daemon.api("PUT", "/v1/snapshot", snapshot(1).to_wire())
    victim, other = await daemon.worker_pids()
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(5):
        while True:
            slots = (await daemon.report())["slots"]
            if slots[0]["restarts"] and slots[0]["ready"]:
                break
            await asyncio.sleep(0.05)
    assert slots[0]["pid"] != victim
    assert slots[1]["pid"] == other


def test_a_bad_configuration_ends_with_two(tmp_path: Path) -> None:
    config = tmp_path / "usp-server.hcl"
    config.write_text('nmae = "x"\n')
    done = subprocess.run(
        [sys.executable, "-m", "usp.server.main", "-config", str(config)],
        env=ENV, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{config}:1:1: nmae" in done.stderr
    assert "Traceback" not in done.stderr
