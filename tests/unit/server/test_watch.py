"""Real sockets; the cool-downs are shortened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.tunnel_pair import client, gate
from tests.unit.server.balancer import balancer
from tests.unit.server.gateway import snapshot
from tests.unit.server.support import until
from usp.server import targets
from usp.server.messages import TargetHealth
from usp.server.targets import REFUSED, UNREACHABLE, Place, places
from usp.server.watch import Watch
from usp.snapshot import PathSpec, Snapshot

UP, DOWN = TargetHealth(), TargetHealth(down=("l1",))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "FIRST", 0.05)
    monkeypatch.setattr(targets, "LAST", 0.05)


@asynccontextmanager
async def watching(made: Snapshot) -> AsyncIterator[tuple[Watch, list[TargetHealth], Place]]:
    told: list[TargetHealth] = []
    watch = Watch(lambda path: None, told.append, 1.0)
    watch.serve(made)
    listener = made.content.listeners[0]
    assert listener.target
    yield watch, told, places(listener.target, listener.path)[0]
    await watch.aclose()


async def test_down_is_told_and_up_again_by_one_connection(unused_tcp_port: int) -> None:
    connections = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with watching(snapshot(unused_tcp_port)) as (watch, told, place):
        watch.failed(place, UNREACHABLE)
        assert told == [DOWN]
        watch.failed(place, UNREACHABLE)
        await asyncio.sleep(0.15)
        assert told == [DOWN]
        server = await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port)
        await until(lambda: told == [DOWN, UP])
        await asyncio.sleep(0.15)
        assert connections == 1, "nobody asks what is up"
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("way", ["directly", "through_link"])
async def test_who_expects_a_header_is_told_that_nobody_is_behind_a_probe(way: str, unused_tcp_port: int) -> None:
    told: list[TargetHealth] = []
    path = PathSpec(tunnel="t1", client="client-1") if way == "through_link" else None
    async with balancer(unused_tcp_port) as front, gate() as tunnel, client(tunnel.port):
        await until(lambda: tunnel.workers[0].get("t1", "client-1"))
        watch = Watch(lambda path: tunnel.link(), told.append, 1.0)
        made = snapshot(front.port, path=path, send_proxy_v2=True)
        watch.serve(made)
        target = made.content.listeners[0].target
        assert target
        watch.failed(watch.order(target, path)[0], UNREACHABLE)
        await until(lambda: told == [DOWN, UP])
        await until(lambda: front.sources)
        await watch.aclose()
    assert (front.sources, front.wrong) == ([None], [])


async def test_a_login_that_works_is_heard_of_first(unused_tcp_port: int) -> None:
    async with watching(snapshot(unused_tcp_port)) as (watch, told, place):
        watch.failed(place, UNREACHABLE)
        watch.answered(place)
        watch.answered(place)
        assert told == [DOWN, UP]
        watch.failed(place, REFUSED)
        await asyncio.sleep(0.1)
        assert told == [DOWN, UP], "it hung up on one, that is all"


async def test_another_configuration_is_another_matter(unused_tcp_port: int) -> None:
    made = snapshot(unused_tcp_port)
    async with watching(made) as (watch, told, place):
        watch.failed(place, UNREACHABLE)
        watch.serve(snapshot(1))
        assert told == [DOWN, UP]
        await asyncio.sleep(0.1)
        watch.serve(made)
        assert told == [DOWN, UP, DOWN]
        target = made.content.listeners[0].target
        assert target
        assert watch.order(target, None) == [place]


async def test_without_a_link_the_tunnel_is_what_is_down(unused_tcp_port: int) -> None:
    path = PathSpec(tunnel="t1", client="c1")
    async with watching(snapshot(unused_tcp_port, path=path)) as (watch, told, place):
        watch.failed(place, UNREACHABLE)
        await until(lambda: told == [DOWN, UP])
