"""A process with many asyncssh sessions: `python -m tests.bench.gateways.many PORT USER COUNT WHAT SIZE`.

The password comes in $SSHPASS. `logins`: one after another, each to a ready sftp channel and away again. The others are
all there at once, twenty of them logging in at a time; then it writes a line. `idle`: they are held until its stdin
ends. `up` and `down`: the first hundred have a file open; with the next line of its stdin each of them asks for all of
it at once, or sends all of it, SIZE bytes; when all is answered there is another line. `crowd-up` and `crowd-down` do
the same with 64 requests of each under way.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncssh

from tests.bench.gateways.client import TransferError
from tests.bench.gateways.gateway import Gateway
from tests.bench.gateways.raw import BLOCK, RawSftp, reads, writes
from tests.e2e.suite import ENV

KEX: Final = ["curve25519-sha256"]  # the same work for every gateway
TRANSFERS: Final = 100
AHEAD: Final = 64
CIPHER: Final = ["aes128-gcm@openssh.com"]


async def _connected(port: int, username: str, password: str) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1", port, config=None, known_hosts=None, username=username, password=password, client_keys=None,
        agent_path=None, preferred_auth="password", kex_algs=KEX, encryption_algs=CIPHER, compression_algs=["none"],
    )  # fmt: skip


async def _login(port: int, username: str, password: str) -> tuple[asyncssh.SSHClientConnection, Any]:
    connection = await _connected(port, username, password)
    return connection, await connection.start_sftp_client()


async def _logins(port: int, username: str, password: str, count: int) -> None:
    for _ in range(count):
        connection, _sftp = await _login(port, username, password)
        connection.close()
        await connection.wait_closed()


async def _idle(port: int, username: str, password: str, count: int) -> None:
    gate = asyncio.Semaphore(20)

    async def one() -> Any:
        async with gate:
            return await _login(port, username, password)

    sessions = await asyncio.gather(*(one() for _ in range(count)))
    print("held", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for connection, _sftp in sessions:
        connection.close()
    await asyncio.gather(*(connection.wait_closed() for connection, _ in sessions))


async def _transfers(port: int, username: str, password: str, count: int, what: str, size: int) -> None:
    gate = asyncio.Semaphore(20)
    crowd, _, direction = what.rpartition("-")
    up = direction == "up"

    async def one(number: int) -> tuple[RawSftp, bytes]:
        async with gate:
            connection = await _connected(port, username, password)
            sftp = RawSftp()
            await connection.create_session(lambda: sftp, subsystem="sftp", encoding=None)
            await sftp.start()
            name = f"many/{number}" if up else "many/0"
            return sftp, await sftp.open(name, write=up) if number < TRANSFERS else b""

    async def go(sftp: RawSftp, handle: bytes) -> None:
        requests = writes(handle, bytes(size)) if up else reads(handle, size)
        await sftp.ask(requests, AHEAD if crowd else size // BLOCK)

    sessions = await asyncio.gather(*(one(number) for number in range(count)))
    read_line = asyncio.get_running_loop().run_in_executor
    print("held", flush=True)
    await read_line(None, sys.stdin.readline)
    await asyncio.gather(*(go(*session) for session in sessions[:TRANSFERS]))
    print("done", flush=True)
    await read_line(None, sys.stdin.read)
    for sftp, _ in sessions:
        sftp.channel.get_connection().close()


def _command(gateway: Gateway, count: int, what: str, size: int = 0) -> dict[str, Any]:
    args = [str(gateway.port), gateway.username, str(count), what, str(size)]
    return {
        "args": [sys.executable, "-m", "tests.bench.gateways.many", *args],
        "env": {**ENV, "SSHPASS": gateway.password},
        "text": True,
    }


def logins(gateway: Gateway, count: int) -> None:
    subprocess.run(**_command(gateway, count, "logins"), check=True)


@contextmanager
def idle(gateway: Gateway, count: int) -> Iterator[None]:
    with subprocess.Popen(**_command(gateway, count, "idle"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        assert popen.stdout
        assert popen.stdout.readline() == "held\n"
        yield
        popen.communicate()
    assert popen.returncode == 0


@contextmanager
def transfers(gateway: Gateway, count: int, what: str, size: int) -> Iterator[Transfers]:
    popen = subprocess.Popen(
        **_command(gateway, count, what, size), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
    )
    with popen:
        held = Transfers(gateway, popen)
        held.wait_for("held")
        yield held
        popen.communicate()
    if popen.returncode:
        raise TransferError(f"{gateway.name}: sessions did not end well")


class Transfers:
    """Of a process of its own; `pid` is it."""

    def __init__(self, gateway: Gateway, popen: subprocess.Popen[str]) -> None:
        self.pid = popen.pid
        self._gateway = gateway
        self._popen = popen

    def wait_for(self, word: str) -> None:
        assert self._popen.stdout
        if self._popen.stdout.readline() != f"{word}\n":
            raise TransferError(f"{self._gateway.name}: not all sessions could do it")

    def begin(self) -> None:
        assert self._popen.stdin
        self._popen.stdin.write("go\n")
        self._popen.stdin.flush()

    def finish(self) -> None:
        self.wait_for("done")


async def _main(port: int, username: str, count: int, what: str, size: int) -> None:
    password = os.environ["SSHPASS"]
    if what == "logins":
        await _logins(port, username, password, count)
    elif what == "idle":
        await _idle(port, username, password, count)
    else:
        await _transfers(port, username, password, count, what, size)


if __name__ == "__main__":
    _port, _user, _count, _what, _size = sys.argv[1:]
    asyncio.run(_main(int(_port), _user, int(_count), _what, int(_size)))
