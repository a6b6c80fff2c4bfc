"""Legs against a real asyncssh server, directly and through a real link; and the asyncssh internals relied upon."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from tests.tunnel_pair import client as usp_client
from tests.tunnel_pair import gate, until
from tests.unit.ssh import pump
from usp.algorithms import Algorithms, Profile
from usp.secret import Secret
from usp.ssh import connect, keys
from usp.ssh.connect import ClientConnection, Congestion, Login, ServerConnection, dial, serve, speak
from usp.ssh.failures import target_failure
from usp.ssh.options import SIGNATURES, Timing, partner_facing, scanning, target_facing

PRIVATE, PUBLIC = keys.generate()
OTHER_PUBLIC = keys.generate()[1]
USER_KEY, USER_PUBLIC = keys.generate()
TIMING = Timing(login_timeout=2.0)
OPTIONS = target_facing([PUBLIC], Algorithms(), TIMING)
GOOD = Login("user", Secret("right"))


class Target(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "right"

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return keys.same(key, keys.parse_public(USER_PUBLIC))

    def session_requested(self) -> Any:
        return Echo()


class Echo(asyncssh.SSHServerSession[bytes]):
    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        self._channel.write(data)

    def eof_received(self) -> bool:
        self._channel.exit(0)
        return False


@asynccontextmanager
async def ssh_target() -> AsyncIterator[int]:
    """Accepts with our own server leg."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    options = partner_facing([PRIVATE], Algorithms(), TIMING)
    live: list[asyncio.Task[None]] = []

    async def one(accepted: socket.socket) -> None:
        try:
            connection = await serve(accepted, options, Target)
        except (asyncssh.Error, OSError):
            return
        try:
            await connection.wait_closed()
        finally:
            connection.abort()

    async def accept() -> None:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(sock)
            live.append(asyncio.create_task(one(accepted)))

    live.append(asyncio.create_task(accept()))
    try:
        yield sock.getsockname()[1]
    finally:
        for task in live:
            task.cancel()
        await asyncio.gather(*live, return_exceptions=True)
        sock.close()


async def echoed(connection: ClientConnection, size: int) -> None:
    process = await connection.create_process("cat", encoding=None)
    data = os.urandom(size)
    process.stdin.write(data)
    process.stdin.write_eof()
    assert await process.stdout.read() == data


async def failing(port: int, login: Login, options: asyncssh.SSHClientConnectionOptions = OPTIONS) -> str:
    with pytest.raises((asyncssh.Error, OSError)) as caught:
        await dial("127.0.0.1", port, options, login, connect_timeout=1.0)
    return target_failure(caught.value).code


async def test_a_direct_leg_logs_in_by_password_and_by_key() -> None:
    pair = keys.pairs([keys.parse_private(USER_KEY)])
    async with ssh_target() as port:
        for login in (GOOD, Login("user", None, pair), Login("user", Secret("wrong"), pair)):
            connection = await dial("127.0.0.1", port, OPTIONS, login, connect_timeout=1.0)
            assert connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
            assert connection.get_extra_info("server_version") == "SSH-2.0-USP"
            await echoed(connection, 100_000)
            connection.close()
            await connection.wait_closed()
    assert OPTIONS.password is None
    assert OPTIONS.client_keys is None


async def test_failures_of_a_direct_leg() -> None:
    async with ssh_target() as port:
        assert await failing(port, Login("user", Secret("wrong"))) == "target.auth_denied"
        assert await failing(port, Login("user")) == "target.auth_denied"
        wrong_pin = target_facing([OTHER_PUBLIC], Algorithms(), TIMING)
        assert await failing(port, GOOD, wrong_pin) == "target.host_key_mismatch"
        other_type = target_facing([keys.generate("ecdsa-sha2-nistp256")[1]], Algorithms(), TIMING)
        assert await failing(port, GOOD, other_type) == "target.host_key_mismatch"
        no_cipher = target_facing([PUBLIC], Algorithms(profile=Profile.LEGACY, ciphers=("aes128-cbc",)), TIMING)
        assert await failing(port, GOOD, no_cipher) == "target.algorithms"
    assert await failing(port, GOOD) == "target.unreachable"


async def test_a_target_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = target_facing([PUBLIC], Algorithms(), Timing(login_timeout=0.1))
        assert await failing(silent.getsockname()[1], GOOD, options) == "target.refused"


async def test_a_leg_through_a_link_differs_by_one_argument() -> None:
    async with ssh_target() as port, gate() as server, usp_client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        link = server.link().connection
        connection = await dial("127.0.0.1", port, OPTIONS, GOOD, connect_timeout=1.0, link=link)
        await asyncio.gather(*(echoed(connection, size) for size in (1, 300_000, 1_000_000)))
        watching = len(link.congestion._watchers)
        connection.close()
        await connection.wait_closed()
        assert len(link.congestion._watchers) == watching - 1
        wrong_pin = target_facing([OTHER_PUBLIC], Algorithms(), TIMING)
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await dial("127.0.0.1", port, wrong_pin, GOOD, connect_timeout=1.0, link=link)
        await until(lambda: not tunnel.forwards)
        assert server.link().usable


async def test_the_loss_of_a_link_ends_the_legs_through_it() -> None:
    async with ssh_target() as port, gate() as server, usp_client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        link = server.link()
        connection = await dial("127.0.0.1", port, OPTIONS, GOOD, connect_timeout=1.0, link=link.connection)
        link.end("tested")
        await asyncio.wait_for(connection.wait_closed(), 2)
        assert link.lost


async def test_a_cancelled_dial_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dialling = asyncio.create_task(dial("127.0.0.1", silent.getsockname()[1], OPTIONS, GOOD, connect_timeout=1.0))
        accepted, _ = await asyncio.to_thread(silent.accept)
        await asyncio.sleep(0.05)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        with accepted:
            accepted.settimeout(1)
            assert accepted.recv(100).startswith(b"SSH-2.0-USP")
            while accepted.recv(4096):
                pass


async def test_a_banner_probe_is_an_exception_and_no_more() -> None:
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(serve(ours, partner_facing([PRIVATE], Algorithms(), TIMING), Target))
    assert (await asyncio.to_thread(theirs.recv, 100)).startswith(b"SSH-2.0-USP\r\n")
    theirs.close()
    with pytest.raises((asyncssh.ConnectionLost, OSError)):
        await serving


async def test_a_socket_that_is_no_connection_is_closed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match=r"[Ss]tream"):
            await speak(sock, OPTIONS, asyncssh.SSHClient)
        assert sock.fileno() == -1


def test_congestion_lasts_while_anything_holds_it() -> None:
    congestion = Congestion()
    heard: list[bool] = []
    congestion.watch(heard.append)
    congestion.hold("a")
    congestion.hold("b")
    late: list[bool] = []
    congestion.watch(late.append)
    congestion.release("a")
    congestion.release("a")
    assert congestion
    congestion.release("b")
    assert not congestion
    congestion.unwatch(heard.append)
    congestion.hold("a")
    assert heard == [True, False]
    assert late == [True, False, True]


async def test_a_full_socket_is_congestion() -> None:
    async with ssh_target() as port:
        connection = await dial("127.0.0.1", port, OPTIONS, GOOD, connect_timeout=1.0)
        connection.pause_writing()
        assert connection.congestion
        connection.resume_writing()
        assert not connection.congestion
        connection.abort()
        await connection.wait_closed()


async def test_received_bytes_are_a_sign_of_life() -> None:
    async with ssh_target() as port:
        connection = await dial("127.0.0.1", port, OPTIONS, GOOD, connect_timeout=1.0)
        connection._keepalive_count = 2
        await echoed(connection, 10)
        assert connection._keepalive_count == 0
        connection.abort()
        await connection.wait_closed()


def test_the_internals_of_asyncssh_that_are_relied_upon() -> None:
    """Whoever raises asyncssh's version sees here what `usp.ssh.connect` takes for granted."""
    for kind in (asyncssh.SSHServerConnection, asyncssh.SSHClientConnection):
        assert list(inspect.signature(kind).parameters) == ["loop", "options", "acceptor", "error_handler", "wait"]
    for ours in (ServerConnection, ClientConnection):
        assert ours.__mro__[1] is connect._Ours
    base = asyncssh.connection.SSHConnection
    assert "options.waiter" in inspect.getsource(base.__init__)
    assert "_keepalive_count" in inspect.getsource(base._keepalive_timer_callback)
    assert "_wait == 'auth'" in inspect.getsource(base)
    assert list(inspect.signature(base._cleanup).parameters) == ["self", "exc"]
    assert list(inspect.signature(base.data_received).parameters) == ["self", "data", "datatype"]


async def test_a_host_key_is_read_without_a_login_and_must_be_proven() -> None:
    async with raw_server() as (port, heard):
        key = await connect.host_key("127.0.0.1", port, scanning(SIGNATURES, Algorithms(), TIMING), connect_timeout=1)
    assert keys.public_line(key) == PUBLIC
    assert heard == []  # not even a user name


async def test_a_key_that_the_target_does_not_have_is_not_believed() -> None:
    (forged,) = keys.pairs([keys.parse_private(USER_KEY)])
    forged.public_data = keys.parse_private(PRIVATE).public_data
    async with raw_server(forged) as (port, heard):
        with pytest.raises(asyncssh.Error):
            await connect.host_key("127.0.0.1", port, scanning(SIGNATURES, Algorithms(), TIMING), connect_timeout=1)
    assert heard == []


@asynccontextmanager
async def raw_server(key: Any = None) -> AsyncIterator[tuple[int, list[str]]]:
    """With PRIVATE or another host key; and the logins that were begun there."""
    heard: list[str] = []

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            heard.append(username)
            return True

    shown = key or keys.parse_private(PRIVATE)
    acceptor = await asyncssh.create_server(Server, "127.0.0.1", 0, config=None, server_host_keys=[shown])
    try:
        yield acceptor.get_port(), heard
    finally:
        acceptor.close()
        await acceptor.wait_closed()


@pytest.mark.parametrize("kind", ["fast", "off"])
async def test_a_packet_without_a_type_is_an_error_of_the_peer(kind: str) -> None:
    async with pump.joined((kind, kind), cipher="aes128-gcm@openssh.com") as pair:
        await pair.open(1 << 20, 1 << 15)
        client = pair.connections[0]
        sealed, tag = client._send_encryption.encrypt_packet(client._send_seq, (16).to_bytes(4, "big"), bytes(16))
        pair.ways[0].write(bytes(sealed + tag))
        assert await pair.until(lambda: pair.ends[1][0].lost and pair.ends[0][0].lost)
        assert isinstance(pair.ends[1][0].exc, asyncssh.ProtocolError)
        assert isinstance(pair.ends[0][0].exc, asyncssh.ProtocolError), "it was told"


async def test_a_connection_is_congested_until_its_new_keys_are_there() -> None:
    async with pump.joined(cipher="aes128-gcm@openssh.com") as pair:
        await pair.open(1 << 30, 1 << 15)
        client, server = pair.connections
        told: list[bool] = []
        server.congestion.watch(told.append)
        assert not server.congestion
        client._send_kexinit()
        client._kexinit_sent = True
        assert await pair.until(lambda: bool(told))
        assert server.congestion, "or a peer that stops here makes us keep what it has a window for"
        assert await pair.until(lambda: len(told) == 2 and not client.congestion)
        assert told == [True, False]


@pytest.mark.parametrize(("waiting", "ends"), [(connect.BACKLOG + 1, True), (connect.BACKLOG, False), (0, False)])
async def test_a_peer_that_never_reads_its_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, waiting: int, ends: bool
) -> None:
    monkeypatch.setattr(connect, "LOOK_SECONDS", 0.01)
    async with pump.joined(cipher="aes128-gcm@openssh.com") as pair:
        await pair.open(1 << 20, 1 << 15)
        server, end = pair.connections[1], pair.ends[1][0]
        monkeypatch.setattr(pair.ways[1], "get_write_buffer_size", lambda: waiting)
        server.pause_writing()
        await asyncio.sleep(0.1)
        assert end.lost is ends
        assert (server._look is not None) is (waiting == connect.BACKLOG), "it looks again while something waits"
