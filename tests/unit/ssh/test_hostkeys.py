"""Host keys that are announced and proven, to asyncssh's own client. (To OpenSSH's: tests/e2e/test_host_keys.)"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh import connection
from asyncssh.constants import MSG_REQUEST_FAILURE, MSG_REQUEST_SUCCESS
from asyncssh.packet import SSHPacket, String

from tests.unit.server.gateway import HOST_KEY, HOST_LINE, OTHER_KEY, OTHER_LINE, Target, serving
from usp.secret import Secret
from usp.ssh import keys
from usp.ssh.hostkeys import PROVE

RSA, RSA_LINE = keys.generate("ssh-rsa")
NEXT_RSA, NEXT_RSA_LINE = keys.generate("ssh-rsa")
P521, P521_LINE = keys.generate("ecdsa-sha2-nistp521")

Report = tuple[list[str], list[str], list[str]]
"""Keys that are new to the client, that it misses, and that it knew: public lines."""


@asynccontextmanager
async def partner(
    tmp_path: Path, host_keys: tuple[Secret, ...], known: str, **options: Any
) -> AsyncIterator[tuple[Any, asyncio.Queue[Report]]]:
    """A client that trusts one key, and what it made of the keys that it heard of."""
    reports: asyncio.Queue[Report] = asyncio.Queue()

    def heard(*found: list[asyncssh.SSHKey]) -> None:
        added, removed, retained, _ = ([keys.public_line(key) for key in each] for each in found)
        reports.put_nowait((added, removed, retained))

    target = Target(tmp_path)
    await target.start()
    try:
        trusted: Any = ([keys.parse_public(known)], [], [])
        async with serving(target.port, host_keys=host_keys) as gateway:
            how = {"known_hosts": trusted, "server_host_keys_handler": heard, **options}
            async with gateway.partner(**how) as connected:
                yield connected, reports
            await gateway.outcome()
    finally:
        await target.stop()


def plain(line: str) -> str:
    return " ".join(line.split()[:2])


async def prove(connected: Any, *lines: str) -> tuple[int, SSHPacket]:
    blobs = b"".join(String(keys.public_data(line)) for line in lines)
    answer: tuple[int, SSHPacket] = await connected._make_global_request(PROVE, blobs)
    return answer


def test_what_this_stands_on() -> None:
    sending = inspect.getsource(connection.SSHConnection.send_userauth_success)
    assert sending.index("self._wait = None\n            return") < sending.index(".send_server_host_keys()")
    assert "self._all_server_host_keys.keys()" in inspect.getsource(
        connection.SSHServerConnection.send_server_host_keys
    )
    assert hasattr(connection.SSHServerConnection, "_process_hostkeys_prove_00_at_openssh_dot_com_global_request")


async def test_the_key_that_waits_is_learned_while_the_first_is_used(tmp_path: Path) -> None:
    async with partner(tmp_path, (HOST_KEY, OTHER_KEY), HOST_LINE) as (connected, reports):
        assert plain(keys.public_line(connected.get_server_host_key())) == plain(HOST_LINE)
        assert await asyncio.wait_for(reports.get(), 5) == ([plain(OTHER_LINE)], [], [plain(HOST_LINE)])
        async with connected.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/"
    async with partner(tmp_path, (OTHER_KEY,), OTHER_LINE) as (connected, reports):
        assert await asyncio.wait_for(reports.get(), 5) == ([], [], [plain(OTHER_LINE)])


@pytest.mark.parametrize("used", ["rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519"])
async def test_rsa_keys_sign_as_in_the_key_exchange_and_never_with_sha1(tmp_path: Path, used: str) -> None:
    node = (RSA, NEXT_RSA, HOST_KEY)
    known = HOST_LINE if used == "ssh-ed25519" else RSA_LINE
    how: dict[str, Any] = {"server_host_key_algs": [used]}
    async with partner(tmp_path, node, known, **how) as (_, reports):
        added, _, _ = await asyncio.wait_for(reports.get(), 5)
        assert plain(NEXT_RSA_LINE) in added
    async with partner(tmp_path, node, known, **how, server_host_keys_handler=None) as (connected, _):
        kind, answer = await prove(connected, NEXT_RSA_LINE)
        signature = answer.get_string() if kind == MSG_REQUEST_SUCCESS else b""
    algorithm = SSHPacket(signature).get_string().decode()
    assert algorithm == ("rsa-sha2-512" if used == "ssh-ed25519" else used)


async def test_each_key_is_proven_once_and_no_other(tmp_path: Path) -> None:
    async with partner(tmp_path, (HOST_KEY, OTHER_KEY, P521), HOST_LINE) as (connected, reports):
        await asyncio.wait_for(reports.get(), 5)  # it had OTHER_KEY and P521 proven
        assert (await prove(connected, HOST_LINE))[0] == MSG_REQUEST_SUCCESS
        for lines in ((HOST_LINE,), (OTHER_LINE,), (RSA_LINE,)):
            assert (await prove(connected, *lines))[0] == MSG_REQUEST_FAILURE
        assert (await connected._make_global_request(PROVE, b"\0\0\0\7x"))[0] == MSG_REQUEST_FAILURE
        async with connected.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/"


async def test_a_client_that_would_crash_is_told_nothing(tmp_path: Path) -> None:
    old = {"client_version": "Cisco-1.25"}
    async with partner(tmp_path, (HOST_KEY, OTHER_KEY), HOST_LINE, **old) as (connected, reports):
        assert (await prove(connected, OTHER_LINE))[0] == MSG_REQUEST_FAILURE
        async with connected.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/"
        assert reports.empty()
