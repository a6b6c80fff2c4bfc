"""What managers say to servers, over real mutual TLS to the real control API, and to peers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.unit.manager.servers import files, server
from tests.unit.manager.site import CA, MANAGER, NOW, SERVER
from tests.unit.server.support import connected, free_port, hear, listener, snapshot, tunnel
from usp import pki, tls
from usp.diagnosis import Probe
from usp.errors import UspError
from usp.manager.control import MAX_ANSWER, Controls, Endpoint
from usp.secret import Secret
from usp.settings import ServerTls
from usp.snapshot import Snapshot
from usp.status import AckResult, Intake, Report

STRANGER = pki.issue(CA, now=NOW, uri=tls.server_uri("other"))
NOBODY = pki.issue(CA, now=NOW, dns=["server"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def controls() -> AsyncIterator[Controls]:
    made = Controls(timeout=2.0)
    yield made
    await made.close()
    await asyncio.sleep(0)


def endpoint(port: int, who: pki.Identity = MANAGER, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint("server", host, port, CA.cert, who.cert, Secret(who.key))


@asynccontextmanager
async def answering(
    tmp_path: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]], who: pki.Identity = SERVER
) -> AsyncIterator[int]:
    """Somebody on a port who answers everything like that."""
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    found = files(tmp_path / "stand-in", who)
    port = free_port()
    await web.TCPSite(
        runner, "127.0.0.1", port, ssl_context=tls.server_context(found.cert, found.key, found.ca)
    ).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def test_all_that_is_said(own: ServerTls, controls: Controls) -> None:
    management, port, tunnelled = free_port(), free_port(), free_port()
    async with server(management, own):
        there = endpoint(management)
        assert (await controls.status(there)).version == 0
        content = snapshot(1, listener("l", port), tunnel("t", tunnelled))
        assert (await controls.put(there, content)).result is AckResult.APPLIED
        assert (await controls.put(there, content)).result is AckResult.ALREADY
        other = await controls.put(there, snapshot(1, listener("m", port)))
        assert (other.result, other.code) == (AckResult.REJECTED, "push.older")
        assert await controls.run(there, "listeners", "l", start=False)
        assert (await controls.status(there)).listeners[0].state == "stopped"
        assert await controls.run(there, "listeners", "l", start=True)
        assert not await controls.run(there, "tunnels", "nobody", start=True)
        async with connected(port) as (reader, _):
            assert await hear(reader)
            (session,) = await controls.sessions(there)
            await controls.kill(there, session.id)
            assert await reader.read() == b""
        await controls.kill(there, "nobody")
    with pytest.raises(UspError, match=r"^connection refused$") as caught:
        await controls.status(there)
    assert caught.value.code == "server.unreachable"


async def test_a_changed_endpoint_takes_new_connections(own: ServerTls, controls: Controls) -> None:
    management = free_port()
    async with server(management, own):
        assert (await controls.status(endpoint(management))).server == "server"
        renewed = pki.issue(CA, now=NOW, uri=tls.manager_uri("m2"))
        both = [controls.status(endpoint(management, renewed)) for _ in range(2)]
        assert [report.server for report in await asyncio.gather(*both)] == ["server", "server"]


@pytest.mark.parametrize("who", [STRANGER, NOBODY, MANAGER], ids=["another server", "nobody", "a manager"])
async def test_nothing_is_sent_to_somebody_else(tmp_path: Path, controls: Controls, who: pki.Identity) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with answering(tmp_path, answer, who) as port:
        with pytest.raises(UspError, match="usp://server/server") as caught:
            await controls.put(endpoint(port), snapshot(1, listener("l", 1)))
        assert caught.value.code == "server.identity"
    assert asked == []


async def test_another_ca(tmp_path: Path, controls: Controls) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    other = pki.new_ca("other", now=NOW)
    async with answering(tmp_path, answer) as port:
        with pytest.raises(UspError, match=r"certificate|self.signed|issuer") as caught:
            await controls.status(replace(endpoint(port), ca=other.cert))
        assert caught.value.code == "server.identity"


async def test_a_field_that_an_older_server_does_not_know_is_a_refusal(
    tmp_path: Path, own: ServerTls, controls: Controls
) -> None:
    class Newer(Snapshot):
        quantum: bool

    made = snapshot(1, listener("l", free_port()))
    newer = Newer(**dict(made), quantum=True)
    management = free_port()
    async with server(management, own) as there:
        ack = await controls.put(endpoint(management), newer)
        assert (ack.result, ack.code) == (AckResult.REJECTED, "push.rejected")
        assert "of an older release" in ack.message
        assert [problem.loc for problem in ack.problems] == [("quantum",)]
        with pytest.raises(UspError, match="503") as caught:
            await controls.put(endpoint(management), made, "another boot")
        assert caught.value.code == "server.unreachable"
        assert (await controls.put(endpoint(management), made, there.report().boot)).version == 1


async def test_what_a_newer_server_tells_is_understood(tmp_path: Path, controls: Controls) -> None:
    seen = Report(server="server", software="2", boot="b", started_at=0.0).model_dump(mode="json")

    async def status(_: web.Request) -> web.Response:
        return web.json_response({**seen, "protocol": 3, "entangled": True})

    async with answering(tmp_path, status) as port:
        found = await controls.status(endpoint(port))
        assert (found.protocol, found.software) == (3, "2")


async def test_a_server_of_an_older_release_cannot_be_drained(
    tmp_path: Path, own: ServerTls, controls: Controls
) -> None:
    management = free_port()
    async with server(management, own) as there:
        assert await controls.drain(endpoint(management), drained=True)
        assert there.report().intake is Intake.CLOSED
        assert await controls.drain(endpoint(management), drained=False)
        assert there.report().intake is Intake.OPEN

    async def unknown(_: web.Request) -> web.Response:
        return web.json_response({"code": "request.invalid", "message": "Not Found"}, status=404)

    async with answering(tmp_path, unknown) as port:
        assert not await controls.drain(endpoint(port), drained=True)


async def test_a_manager_that_the_server_does_not_accept(own: ServerTls, controls: Controls) -> None:
    management = free_port()
    async with server(management, own):
        with pytest.raises(UspError, match="403") as caught:
            await controls.status(endpoint(management, STRANGER))
        assert caught.value.code == "server.unreachable"


async def test_certificates_that_cannot_be_used(controls: Controls) -> None:
    with pytest.raises(UspError) as caught:
        await controls.status(replace(endpoint(1), certificate="garbage"))
    assert caught.value.code == "key.unusable"


async def test_a_long_answer_is_read_whole(tmp_path: Path, controls: Controls) -> None:
    session = {"id": "x" * 100, "listener": "", "node": "", "peer": "", "slot": 0, "since": 1.0}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"sessions": [session] * 5000})

    async with answering(tmp_path, answer) as port:
        assert len(await controls.sessions(endpoint(port))) == 5000


async def _html(_: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def _elsewhere(_: web.Request) -> web.Response:
    raise web.HTTPFound("https://192.0.2.1/")


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(MAX_ANSWER // (1 << 20) + 1):
        await response.write(bytes(1 << 20))
    return response


async def _never(_: web.Request) -> web.Response:
    await asyncio.sleep(10)
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "told"),
    [(_html, "not understood"), (_elsewhere, "answered 302"), (_endless, "too large"), (_never, "in time")],
)
async def test_odd_answers(tmp_path: Path, answer: Any, told: str) -> None:
    controls = Controls(timeout=0.3 if answer is _never else 2.0)
    async with answering(tmp_path, answer) as port:
        with pytest.raises(UspError, match=told) as caught:
            await controls.status(endpoint(port))
        assert caught.value.code == "server.unreachable"
        await controls.close()


async def test_a_name_that_does_not_exist(controls: Controls) -> None:
    with pytest.raises(UspError) as caught:
        await controls.status(endpoint(1, host="no.such.host.invalid"))
    assert caught.value.code == "server.unreachable"


def test_endpoints_do_not_show_their_key() -> None:
    assert MANAGER.key.splitlines()[1] not in repr(endpoint(1))


@pytest.mark.parametrize(
    ("status", "text", "code", "words"),
    [
        (503, '{"code": "probe.busy", "message": "later"}', "probe.busy", "later"),
        (404, '{"code": "deployment.unknown"}', "deployment.unknown", ""),
        (404, "<html>", "server.unreachable", "another release"),
        (404, '{"code": "no.such.code", "message": "x"}', "server.unreachable", "another release"),
        (500, '{"code": "internal", "message": "x"}', "server.unreachable", "500"),
        (200, "[]", "server.unreachable", "another release"),
    ],
)
async def test_what_a_server_refuses_to_try(
    tmp_path: Path, controls: Controls, status: int, text: str, code: str, words: str
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    async with answering(tmp_path, answer) as port:
        with pytest.raises(UspError, match=words or None) as caught:
            await controls.probe(endpoint(port), Probe(listener="one"))
        assert caught.value.code == code
        await controls.close()
