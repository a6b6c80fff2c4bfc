"""Everything that SSH can ask for beside sftp, asked of the running server: refused as the RFCs say, counted, and the
session goes on."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest
from asyncssh.constants import MSG_REQUEST_FAILURE
from asyncssh.packet import Boolean, String, UInt32

from tests.e2e.suite import Suite, wait_until

pytestmark = pytest.mark.once

ADDRESS = String("127.0.0.1") + UInt32(22)
FORWARD = ADDRESS + ADDRESS
CHANNELS = {
    "direct-tcpip": (FORWARD, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "forwarded-tcpip": (FORWARD, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "direct-streamlocal@openssh.com": (
        String("/run/s") + String("") + UInt32(0),
        asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
    ),
    "forwarded-streamlocal@openssh.com": (String("/run/s") + String(""), asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "tun@openssh.com": (UInt32(1) + UInt32(0), asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "x11": (ADDRESS, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "auth-agent@openssh.com": (b"", asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED),
    "made-up@example.com": (b"", asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE),
}
GLOBAL = {
    "tcpip-forward": String("") + UInt32(0),
    "cancel-tcpip-forward": String("") + UInt32(2222),
    "streamlocal-forward@openssh.com": String("/run/s"),
    "cancel-streamlocal-forward@openssh.com": String("/run/s"),
    "made-up@example.com": b"",
}
ON_A_CHANNEL = {
    "shell": b"",
    "exec": String("scp -t ."),
    "subsystem": String("netconf"),
    "pty-req": String("xterm") + UInt32(80) + UInt32(24) + UInt32(0) + UInt32(0) + String(b"\0"),
    "env": String("LC_ALL") + String("C"),
    "x11-req": Boolean(False) + String("MIT-MAGIC-COOKIE-1") + String("00") + UInt32(0),
    "auth-agent-req@openssh.com": b"",
    "signal": String("TERM"),
    "window-change": UInt32(1) * 4,
    "break": UInt32(1),
}


@asynccontextmanager
async def partner(suite: Suite) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """At the end it still transfers."""
    login = suite.ready["partner"]
    async with asyncssh.connect(
        login["host"],
        login["port"],
        config=None,
        username=login["username"],
        password=login["password"],
        known_hosts=login["known_hosts"],
        client_keys=None,
        agent_path=None,
    ) as connection:
        yield connection
        async with connection.start_sftp_client() as sftp:
            assert await sftp.getcwd() == "/" or await sftp.listdir(".")


class Channel(asyncssh.SSHClientChannel[bytes]):
    """Opens anything, and says how it was refused."""

    async def opened(self, kind: str, rest: bytes) -> asyncssh.ChannelOpenError | None:
        try:
            await self._open(kind.encode(), rest)
        except asyncssh.ChannelOpenError as error:
            return error
        return None


def counted(suite: Suite, kind: str) -> float:
    with urllib.request.urlopen(suite.ready["servers"][0]["metrics"]) as response:
        text = response.read().decode()
    sample = f'usp_requests_refused_total{{kind="{kind}",listener="partners"}}'
    other = f'usp_requests_refused_total{{listener="partners",kind="{kind}"}}'
    found = re.search(f"(?:{re.escape(sample)}|{re.escape(other)}) (\\S+)", text)
    return float(found[1]) if found else 0.0


def name_of(kind: str) -> str:
    return "other" if kind in ("made-up@example.com", "signal", "window-change", "break") else kind


@pytest.mark.parametrize("kind", CHANNELS)
async def test_channels(suite: Suite, kind: str) -> None:
    before = counted(suite, name_of(kind))
    rest, code = CHANNELS[kind]
    async with partner(suite) as connection:
        channel = Channel(connection, connection._loop, "strict", None, "strict", 1 << 20, 1 << 15)
        refused = await channel.opened(kind, rest)
        assert refused is not None
        assert refused.code == code
    wait_until(lambda: counted(suite, name_of(kind)) == before + 1, 5, "it is counted")


@pytest.mark.parametrize("kind", GLOBAL)
async def test_global_requests(suite: Suite, kind: str) -> None:
    before = counted(suite, name_of(kind))
    async with partner(suite) as connection:
        answer, _ = await connection._make_global_request(kind.encode(), GLOBAL[kind])
        assert answer == MSG_REQUEST_FAILURE
    wait_until(lambda: counted(suite, name_of(kind)) == before + 1, 5, "it is counted")


@pytest.mark.parametrize("kind", ON_A_CHANNEL)
async def test_requests_on_a_channel_that_then_still_takes_sftp(suite: Suite, kind: str) -> None:
    before = counted(suite, name_of(kind))
    async with partner(suite) as connection:
        channel = Channel(connection, connection._loop, "strict", None, "strict", 1 << 20, 1 << 15)
        assert await channel.opened("session", b"") is None
        assert await channel._make_request(kind.encode(), ON_A_CHANNEL[kind]) is False
        assert await channel._make_request(b"subsystem", String("sftp")) is True
    wait_until(lambda: counted(suite, name_of(kind)) == before + 1, 5, "it is counted")


async def test_the_eleventh_channel(suite: Suite) -> None:
    before = counted(suite, "session")
    async with partner(suite) as connection:
        clients = [await connection.start_sftp_client() for _ in range(10)]
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await connection.start_sftp_client()
        assert caught.value.code == asyncssh.OPEN_RESOURCE_SHORTAGE
        assert await clients[9].listdir(".")
        for client in clients:
            client.exit()
            await client.wait_closed()
    wait_until(lambda: counted(suite, "session") == before + 1, 5, "it is counted")


@pytest.mark.parametrize(
    ("options", "command", "said"),
    [
        (("-T",), (), "shell request failed"),
        (("-tt",), ("true",), "PTY allocation request failed"),
        ((), ("scp", "-t", "."), "exec request failed"),
        (("-A", "-o", "SetEnv=A=b", "-o", "ForwardX11=yes"), ("true",), "exec request failed"),
        (("-s",), ("netconf",), "subsystem request failed"),
        (("-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:22"), (), "remote port forwarding failed"),
        (("-W", "127.0.0.1:22"), (), "administratively prohibited"),
        (("-o", "Tunnel=point-to-point", "-N", "-o", "ExitOnForwardFailure=yes"), (), ""),
    ],
)
def test_openssh_is_told_in_its_own_words(
    suite: Suite, options: tuple[str, ...], command: tuple[str, ...], said: str
) -> None:
    done = suite.ssh(*command, options=options)
    assert done.returncode not in (0, None)
    assert said in done.stderr


def test_it_is_audited_once_for_each_kind(suite: Suite) -> None:
    told = [event for event in suite.audit("request.refused") if event["listener"] == "partners"]
    assert told
    seen = [(event["session"], event["kind"]) for event in told]
    assert len(seen) == len(set(seen))
