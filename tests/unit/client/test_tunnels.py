"""The tunnel of a client as a whole: a link per slot, coming back, what the server may ask for, draining."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest
from asyncssh.packet import String, UInt32

from tests.tunnel_pair import OTHER_KEY, SPEC, client, gate, target, until
from usp.client import tunnels
from usp.ssh.failures import target_failure


async def test_one_link_for_each_worker_and_each_comes_back() -> None:
    async with gate(slots=3) as server, client(server.port) as tunnel:
        await until(lambda: set(tunnel.links) == {0, 1, 2})
        assert tunnel.slots == 3
        lost = server.link(1)
        lost.end("the worker died")
        await until(lambda: lost.lost and 1 not in tunnel.links)
        await until(lambda: set(tunnel.links) == {0, 1, 2})
        assert all(links.get("t1", "client-1") for links in server.workers)


async def test_the_client_is_not_ready_without_a_link() -> None:
    async with gate() as server:
        server.spec = SPEC.model_copy(update={"private_key": OTHER_KEY})
        async with client(server.port) as tunnel:
            await until(lambda: server.accepted >= 3)
            assert tunnel.unready() == "no link to the server"
            assert "SHA256" not in " ".join(server.reasons())
            server.spec = SPEC
            await until(lambda: tunnel.links)
            assert tunnel.unready() == ""


async def test_a_server_with_fewer_workers_gets_fewer_lines() -> None:
    async with gate(slots=1) as server, client(server.port) as tunnel:
        await until(lambda: tunnel.links)
        tunnel.welcomed(0, 3, tunnel.links[0])  # as if a server of three workers had said so
        await until(lambda: server.accepted > 3)
        tunnel.welcomed(0, 1, tunnel.links[0])
        await until(lambda: tunnel._lines == 1)
        await until(lambda: tunnel.links)


async def test_no_server_is_no_end() -> None:
    async with gate() as server:
        port = server.port
    async with client(port) as tunnel:
        await asyncio.sleep(0.05)
        assert tunnel.unready() == "no link to the server"


@pytest.mark.parametrize(
    "ask",
    [
        lambda link: link.create_session(asyncssh.SSHClientSession, command="id"),
        lambda link: link.create_session(asyncssh.SSHClientSession, subsystem="sftp"),
        lambda link: link.create_session(asyncssh.SSHClientSession),
        lambda link: link.open_unix_connection("/run/secret.sock"),
        lambda link: link.start_unix_server(lambda *_: None, "/tmp/x.sock"),
        lambda link: link.start_server(lambda *_: None, "127.0.0.1", 0),
        lambda link: link.create_tun(asyncssh.SSHTunTapSession),
    ],
)
async def test_the_server_gets_nothing_but_forwards(ask: object) -> None:
    async with gate() as server, client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError)):
            await ask(server.link().connection)  # type: ignore[operator]
        assert server.link().usable


@pytest.mark.parametrize("kind", [b"forwarded-tcpip", b"session", b"direct-tcpip"])
async def test_the_server_opens_nothing_for_a_client(kind: bytes) -> None:
    """Who has taken over a usp-client gets no further into the DMZ."""
    async with gate() as server, client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        connection = tunnel.links[0]._connection
        assert connection is not None
        channel = connection.create_tcp_channel()
        address = String("127.0.0.1") + UInt32(22)
        with pytest.raises(asyncssh.ChannelOpenError):
            await channel._open(kind, address + address)
        assert server.link().usable


async def test_forwards_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "MAX_FORWARDS", 0)
    async with gate() as server, client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        with pytest.raises(asyncssh.ChannelOpenError, match="takes no more connections") as caught:
            await server.link().connection.open_connection("127.0.0.1", 22)
        assert target_failure(caught.value).code == "target.unreachable"


async def test_draining_ends_in_time_even_if_connections_do_not() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with target(silent) as port, gate() as server, client(server.port) as tunnel:
        await until(lambda: tunnel.links and server.workers[0].get("t1", "client-1"))
        connection = server.link().connection
        await connection.open_connection("127.0.0.1", port)
        draining = asyncio.create_task(tunnel.drain(0.1))
        await asyncio.sleep(0.02)
        assert tunnel.unready() == "draining"
        with pytest.raises(asyncssh.ChannelOpenError, match="takes no more connections"):
            await connection.open_connection("127.0.0.1", port)
        await asyncio.wait_for(draining, 2)
        assert tunnel.links == {}
        await until(lambda: server.reasons())
