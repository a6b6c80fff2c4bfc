"""Real sockets on loopback."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from tests.unit.server.support import free_port, until
from usp.errors import UspError
from usp.plan import Endpoint
from usp.server.acceptor import Acceptor


class Seen(list[tuple[Endpoint, str, int]]):
    def __call__(self, endpoint: Endpoint, connection: socket.socket, host: str, port: int) -> None:
        assert connection.getpeername()[:2] == (host, port)
        self.append((endpoint, host, port))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def acceptor(seen: Seen) -> AsyncIterator[Acceptor]:
    acceptor = Acceptor(seen)
    yield acceptor
    acceptor.close_all()


def dial(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection(("127.0.0.1" if endpoint.address == "0.0.0.0" else endpoint.address, endpoint.port))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
async def test_connections_are_handed_over_and_closed(acceptor: Acceptor, seen: Seen, address: str) -> None:
    endpoint = Endpoint(address, free_port())
    acceptor.open(endpoint, acceptor.bind(endpoint))
    assert acceptor.endpoints == {endpoint}
    with dial(endpoint) as partner:
        await until(lambda: seen)
        assert seen == [(endpoint, *partner.getsockname()[:2])]
        assert partner.recv(1) == b""


async def test_a_bound_socket_makes_partners_wait(acceptor: Acceptor, seen: Seen) -> None:
    endpoint = Endpoint("127.0.0.1", free_port())
    sock = acceptor.bind(endpoint)
    with dial(endpoint):
        await asyncio.sleep(0.02)
        assert not seen
        acceptor.open(endpoint, sock)
        await until(lambda: seen)


async def test_closing(acceptor: Acceptor) -> None:
    endpoint = Endpoint("127.0.0.1", free_port())
    acceptor.open(endpoint, acceptor.bind(endpoint))
    acceptor.close(endpoint)
    acceptor.close(endpoint)
    with pytest.raises(ConnectionRefusedError):
        dial(endpoint)


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1", "in use"), ("192.0.2.1", "annot assign")])
async def test_what_cannot_be_bound_says_why(acceptor: Acceptor, address: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = Endpoint(address, taken.getsockname()[1])
        with pytest.raises(UspError, match=f"^{endpoint}: .*{reason}") as refused:
            acceptor.bind(endpoint)
    assert refused.value.code == "listener.unbindable"


@pytest.mark.parametrize(("old", "new"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::", "::1")])
async def test_a_wider_or_narrower_address_takes_over(acceptor: Acceptor, seen: Seen, old: str, new: str) -> None:
    port = free_port()
    before, after = Endpoint(old, port), Endpoint(new, port)
    acceptor.open(before, acceptor.bind(before))
    with pytest.raises(UspError):
        acceptor.bind(after)
    sock = acceptor.bind(after, [before])
    acceptor.close(before)
    acceptor.open(after, sock)
    with dial(after):
        await until(lambda: seen)
    assert seen[0][0] == after


async def test_without_descriptors_it_pauses_and_recovers(acceptor: Acceptor, seen: Seen) -> None:
    endpoint, other = Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port())
    acceptor.open(endpoint, acceptor.bind(endpoint))
    late = acceptor.bind(other)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with dial(endpoint) as partner, dial(other):
        highest = partner.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest - 1, limits[1]))
        try:
            await asyncio.sleep(0.05)
            assert not seen
            acceptor.open(other, late)
            await asyncio.sleep(0.05)
            assert not seen
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await until(lambda: len(seen) == 2)


async def test_closing_while_paused(acceptor: Acceptor, seen: Seen) -> None:
    endpoint = Endpoint("127.0.0.1", free_port())
    acceptor.open(endpoint, acceptor.bind(endpoint))
    acceptor._pause(OSError(24, "too many"))
    acceptor.close_all()
    assert not acceptor.endpoints


async def test_a_pause_refuses_nobody() -> None:
    heard: list[int] = []
    made = Acceptor(lambda endpoint, connection, host, port: heard.append(port))
    endpoint = Endpoint("127.0.0.1", free_port())
    made.open(endpoint, made.bind(endpoint))
    assert set(made.sockets) == {endpoint}
    made.pause()
    made.pause()
    _, writer = await asyncio.open_connection(*endpoint)  # the kernel takes it
    await asyncio.sleep(0.05)
    assert heard == []
    made.resume()
    made.resume()
    await until(lambda: heard)
    assert heard == [writer.get_extra_info("sockname")[1]]
    writer.close()
    made.close_all()
