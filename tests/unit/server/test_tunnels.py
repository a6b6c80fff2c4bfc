"""Links of a worker, against the real usp-client end over loopback sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import asyncssh
import pytest

from tests.tunnel_pair import (
    CLIENT_PUBLIC,
    OTHER_KEY,
    OTHER_PUBLIC,
    SPEC,
    TIMING,
    Gate,
    Proxy,
    client,
    gate,
    target,
    until,
)
from usp.hello import Hello, encode
from usp.server import tunnels
from usp.snapshot import ClientSpec, Content, Snapshot, TunnelSpec
from usp.ssh.connect import serve
from usp.ssh.options import Timing, tunnel_client_end
from usp.status import LinkState

FAST = Timing(login_timeout=2.0, keepalive_interval=0.1, keepalive_count=3)


def snapshot(*specs: TunnelSpec) -> Snapshot:
    return Snapshot.of("server-1", 1, Content(tunnels=specs))


async def test_a_link_comes_up_and_goes_down() -> None:
    async with gate() as server:
        async with client(server.port) as tunnel:
            await until(lambda: server.workers[0].get("t1", "client-1"))
            link = server.link()
            assert (link.client, link.tunnel, link.state.value) == ("client-1", "t1", "up")
            assert server.changes[0].client == "client-1"
            assert server.changes[0].version
            assert server.workers[0].get("t1", "client-2") is None
            assert server.workers[0].get("t2", "client-1") is None
            assert link.usable
            await until(lambda: not tunnel.unready())  # the client hears of it a moment later
        await until(lambda: server.reasons())
        assert server.reasons() == ["the client closed it"]
        assert link.lost
        assert server.workers[0].get("t1", "client-1") is None
        assert server.states(link.id) == [LinkState.UP, LinkState.DOWN]


async def test_wrong_client_key_is_refused() -> None:
    async with gate() as server, client(server.port, key=OTHER_KEY):
        await until(lambda: server.reasons())
        assert "none of the configured" in server.reasons()[0]
        assert not any(change.state is LinkState.UP for change in server.changes)


async def test_right_key_with_wrong_name_is_refused() -> None:
    spec = SPEC.model_copy(
        update={"clients": (*SPEC.clients, ClientSpec(id="c2", name="client-2", public_key=OTHER_PUBLIC))}
    )
    async with gate() as server:
        server.spec = spec
        async with client(server.port, name="client-2"):
            await until(lambda: server.reasons())
            assert "does not belong to a Proxy Client named client-2" in server.reasons()[0]
        async with client(server.port, name="client-2", key=OTHER_KEY):
            await until(lambda: server.workers[0].get("t1", "client-2"))


async def test_a_client_that_pins_another_tunnel_key_stays_away() -> None:
    async with gate() as server, client(server.port, server_key=OTHER_PUBLIC):
        await until(lambda: server.reasons())
        assert "does not accept this tunnel's key" in server.reasons()[0]


async def test_a_second_link_of_the_same_instance_is_refused() -> None:
    async with gate() as server, client(server.port):
        await until(lambda: server.workers[0].get("t1", "client-1"))
        first = server.link()
        async with client(server.port) as second:
            await until(lambda: server.reasons())
            assert server.reasons()[0].startswith("duplicate")
            assert second.links == {}
        assert server.link() is first


async def test_a_newer_instance_takes_the_place_of_the_old() -> None:
    async with gate() as server, client(server.port) as old:
        await until(lambda: server.workers[0].get("t1", "client-1"))
        first = server.link()
        old.draining = True  # so that it does not come back
        async with client(server.port, instance="instance-2"):
            await until(lambda: first.lost and server.reasons())
            assert server.link().instance == "instance-2"
            assert "superseded" in server.reasons()[0]


async def test_a_black_hole_is_found_out_in_time() -> None:
    async with gate(timing=FAST) as server:
        proxy = Proxy(server.port)
        async with client(proxy.port, timing=FAST) as tunnel:
            await until(lambda: tunnel.links)
            link = server.link()
            proxy.hole = True
            began = time.monotonic()
            await until(lambda: link.lost and not tunnel.links)
            assert 0.15 < time.monotonic() - began < 0.6
            assert "keepalive" in server.reasons()[0]
            proxy.hole = False
            await until(lambda: server.workers[0].get("t1", "client-1"))
        await proxy.close()


async def test_a_new_snapshot_closes_what_it_no_longer_allows() -> None:
    rekeyed = SPEC.model_copy(update={"private_key": OTHER_KEY})
    renamed = (ClientSpec(id="c1", name="client-9", public_key=CLIENT_PUBLIC),)
    other_key = (ClientSpec(id="c1", name="client-1", public_key=OTHER_PUBLIC),)
    grown = (*SPEC.clients, ClientSpec(id="c2", name="client-2", public_key=OTHER_PUBLIC))
    async with gate() as server, client(server.port):
        for specs, stays in (
            ((SPEC.model_copy(update={"clients": grown}),), True),
            ((), False),
            ((rekeyed,), False),
            ((SPEC.model_copy(update={"clients": renamed}),), False),
            ((SPEC.model_copy(update={"clients": other_key}),), False),
        ):
            await until(lambda: server.workers[0].get("t1", "client-1"))
            link = server.link()
            server.workers[0].retain(snapshot(*specs))
            assert link.usable is stays
            await until(lambda link=link, stays=stays: stays or link.state is LinkState.DOWN)  # type: ignore[misc]


async def test_a_new_snapshot_ends_handshakes_of_changed_tunnels() -> None:
    async with gate() as server:
        for specs, stays in (((SPEC,), True), ((SPEC.model_copy(update={"clients": ()}),), False)):
            with socket.create_connection(("127.0.0.1", server.port)):
                await until(lambda: server.workers[0].all())
                server.workers[0].retain(snapshot(*specs))
                await asyncio.sleep(0.02)
                assert bool(server.workers[0].all()) is stays
            await until(lambda: not server.workers[0].all())


async def test_a_stopped_tunnel_has_no_links() -> None:
    async with gate() as server, client(server.port):
        await until(lambda: server.workers[0].get("t1", "client-1"))
        link = server.link()
        server.workers[0].close("another")
        assert link.usable
        server.workers[0].close("t1")
        assert server.workers[0].get("t1", "client-1") is None or server.link() is not link
        await until(lambda: server.reasons())
        assert server.reasons() == ["the tunnel was stopped"]


async def test_a_draining_client_gets_nothing_new_and_keeps_what_runs() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)

    async with gate() as server, target(echo) as port, client(server.port) as tunnel:
        await until(lambda: tunnel.links)
        link = server.link()
        reader, writer = await link.connection.open_connection("127.0.0.1", port)
        draining = asyncio.create_task(tunnel.drain(5.0))
        await until(lambda: link.state is LinkState.DRAINING)
        assert server.workers[0].get("t1", "client-1") is None
        writer.write(b"still here")
        assert await reader.read(100) == b"still here"
        writer.write_eof()
        assert await reader.read(100) == b""
        writer.close()
        await draining
        await until(lambda: link.state is LinkState.DOWN)
        assert server.states(link.id) == [LinkState.UP, LinkState.DRAINING, LinkState.DOWN]


async def test_a_worker_that_gives_notice_keeps_what_runs_and_its_client_makes_another_link() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)

    async with gate() as server, target(echo) as port, client(server.port) as tunnel:
        await until(lambda: tunnel.links)
        link = server.link()
        reader, writer = await link.connection.open_connection("127.0.0.1", port)
        server.workers.append(successor := tunnels.Links("server-1", 0, 1, TIMING, server.changes.append))
        server.workers[0].give_notice()
        assert server.workers[0].get("t1", "client-1") is None
        await until(lambda: successor.get("t1", "client-1"))
        await until(lambda: tunnel.links)
        assert (len(tunnel.links), tunnel.forwards) == (1, 1)
        writer.write(b"still here")
        assert await reader.read(100) == b"still here"
        writer.close()
        link.end("the worker is done")
        await until(lambda: link.state is LinkState.DOWN)
        await until(lambda: tunnel.forwards == 0)
        assert successor.get("t1", "client-1") is not None
        assert server.accepted == 2
        assert server.states(link.id) == [LinkState.UP, LinkState.DRAINING, LinkState.DOWN]


async def test_a_probe_and_garbage_end_as_down() -> None:
    async with gate() as server:
        for said in (b"", b"GET / HTTP/1.1\r\n" * 200):
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(said)
            before = len(server.reasons())
            await until(lambda before=before: len(server.reasons()) > before)  # type: ignore[misc]
        assert server.workers[0].all() == ()


async def test_too_many_handshakes_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "MAX_HANDSHAKES", 1)
    async with gate() as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            await until(lambda: server.workers[0].all())
            with socket.create_connection(("127.0.0.1", server.port)):
                await until(lambda: server.reasons())
                assert server.reasons() == ["too many handshakes at once"]
                assert len(server.workers[0].all()) == 1


class Impostor(asyncssh.SSHServer):
    """Has the right key, and says in the control channel what the test wants."""

    def __init__(self, *lines: bytes) -> None:
        self.session = _Says(lines)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True

    def session_requested(self) -> Any:
        return self.session


class _Says(asyncssh.SSHServerSession[bytes]):
    def __init__(self, lines: tuple[bytes, ...]) -> None:
        self._lines = lines

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def session_started(self) -> None:
        for line in self._lines:
            self._channel.write(line)


async def impostor(server: Gate, *lines: bytes, private: Any = None, timing: Timing = TIMING) -> None:
    sock = socket.create_connection(("127.0.0.1", server.port))
    from tests.tunnel_pair import CLIENT_KEY

    connection = await serve(sock, tunnel_client_end(private or CLIENT_KEY, timing), lambda: Impostor(*lines))
    await connection.wait_closed()


HELLO = encode(Hello(name="client-1", version="1", instance="instance-9"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((b"\xff\x00 what\n",), "malformed"),
        ((b"x" * 5000,), "over 4096 bytes"),
        ((b'{"op":"draining"}\n',), "did not begin with its hello"),
        ((HELLO.replace(b'"protocol":2', b'"protocol":9'),), "protocol: protocol 9"),
        ((HELLO, b"{}\n"), "malformed"),
        ((HELLO * 20,), "too many lines"),
    ],
)
async def test_a_bad_hello_is_refused(lines: tuple[bytes, ...], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "PARTING", 0.05)
    async with gate() as server:
        await impostor(server, *lines)
        await until(lambda: server.reasons())
        assert reason in server.reasons()[0]


async def test_a_client_that_says_nothing_is_given_up() -> None:
    async with gate(timing=Timing(login_timeout=0.2)) as server:
        await impostor(server)
        await until(lambda: server.reasons())
        assert server.reasons() == ["the handshake took too long"]
