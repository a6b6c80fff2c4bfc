"""A process with many asyncssh sessions: `python -m tests.bench.gateways.many PORT USER COUNT logins|idle`.

The password comes in $SSHPASS. `logins`: one after another, each to a ready sftp channel and away again. `idle`: all at
once, twenty of them logging in at a time; then it writes a line and holds them until its stdin ends.
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

from tests.bench.gateways.gateway import Gateway
from tests.e2e.suite import ENV

KEX: Final = ["curve25519-sha256"]  # the same work for every gateway
CIPHER: Final = ["aes128-gcm@openssh.com"]


async def _login(port: int, username: str, password: str) -> tuple[asyncssh.SSHClientConnection, Any]:
    connection = await asyncssh.connect(
        "127.0.0.1", port, config=None, known_hosts=None, username=username, password=password, client_keys=None,
        agent_path=None, preferred_auth="password", kex_algs=KEX, encryption_algs=CIPHER, compression_algs=["none"],
    )  # fmt: skip
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


def _command(gateway: Gateway, count: int, what: str) -> dict[str, Any]:
    args = [str(gateway.port), gateway.username, str(count), what]
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


if __name__ == "__main__":
    _port, _user, _count, _what = sys.argv[1:]
    asyncio.run((_logins if _what == "logins" else _idle)(int(_port), _user, os.environ["SSHPASS"], int(_count)))
