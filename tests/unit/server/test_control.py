"""The control API over real TLS: certificates of a small CA, aiohttp as the manager."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.server.support import free_port, greeting, listener, settings, snapshot, supervised, trail, tunnel
from usp import pki, tls
from usp.errors import Kind, UspError
from usp.model import Startup
from usp.server import control
from usp.server.control import STATUS, Control
from usp.server.supervisor import Supervisor
from usp.settings import ServerSettings, ServerTls

NOW = datetime.now(UTC)
CA, OTHER_CA = pki.new_ca("ca", now=NOW), pki.new_ca("other", now=NOW)
MANAGER = pki.issue(CA, now=NOW, uri=tls.manager_uri("m"))
SERVER = pki.issue(CA, now=NOW, uri=tls.server_uri("server"), ips=["127.0.0.1"])
STRANGER = pki.issue(OTHER_CA, now=NOW, uri=tls.manager_uri("m"))


class Api:
    """A client with one identity."""

    def __init__(self, port: int, who: pki.Identity | None) -> None:
        if who is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(cadata=CA.cert)
        else:
            context = tls.client_context(CA.cert, who.cert, who.key, peer=tls.server_uri("server"))
        self.url = f"https://127.0.0.1:{port}"
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, data=body, **more) as response:
            return response.status, await response.json() if response.status != 204 else None


class Site:
    def __init__(self, effective: ServerSettings, supervisor: Supervisor, control: Control) -> None:
        self.port = effective.web.port
        self.settings = effective
        self.supervisor = supervisor
        self.control = control


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return written(tmp_path_factory.mktemp("tls"), SERVER, CA)


def written(folder: Path, who: pki.Identity, ca: pki.Identity) -> ServerTls:
    for name, text in (("cert", who.cert), ("key", who.key), ("ca", ca.cert)):
        (folder / name).write_text(text)
    return ServerTls(cert=str(folder / "cert"), key=str(folder / "key"), ca=str(folder / "ca"))


@pytest.fixture
async def site(files: ServerTls) -> AsyncIterator[Site]:
    effective = settings(workers=1, port=free_port(), tls=files)
    async with supervised(effective) as supervisor:
        port = Control(supervisor, trail(), effective.web)
        await port.start()
        yield Site(effective, supervisor, port)
        await port.close()


@pytest.fixture
async def manager(site: Site) -> AsyncIterator[Api]:
    async for api in client(site.port, MANAGER):
        yield api


async def client(port: int, who: pki.Identity | None) -> AsyncIterator[Api]:
    api = Api(port, who)
    yield api
    await api.session.close()
    await asyncio.sleep(0)  # let the transports go


def wire(*args: Any, **kwargs: Any) -> bytes:
    return snapshot(*args, **kwargs).to_wire()


async def test_a_manager_sees_and_steers(site: Site, manager: Api) -> None:
    port, manual = free_port(), free_port()
    status, report = await manager("GET", "/v1/status")
    assert (status, report["server"], report["version"]) == (200, "server", 0)
    body = wire(1, listener("one", port), listener("two", manual, startup=Startup.MANUAL), tunnel("tun", free_port()))
    status, ack = await manager("PUT", "/v1/snapshot", body)
    assert (status, ack["result"], ack["version"]) == (200, "applied", 1)
    status, ack = await manager("PUT", "/v1/snapshot", body)
    assert (status, ack["result"]) == (200, "already")
    assert await greeting(port)
    assert await manager("POST", "/v1/listeners/two/start") == (204, None)
    assert await greeting(manual)
    assert await manager("POST", "/v1/listeners/two/stop") == (204, None)
    assert await manager("POST", "/v1/tunnels/tun/stop") == (204, None)
    for path in ("/v1/tunnels/two/start", "/v1/listeners/nobody/stop"):
        status, error = await manager("POST", path)
        assert (status, error["code"]) == (404, "deployment.unknown")
    assert await manager("POST", "/v1/drain") == (204, None)
    assert await greeting(port) == b""
    status, report = await manager("GET", "/v1/status")
    assert (report["intake"], report["draining"]) == ("closed", False)
    assert await manager("POST", "/v1/undrain") == (204, None)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    status, found = await manager("GET", "/v1/sessions")
    (session,) = found["sessions"]
    assert await manager("DELETE", f"/v1/sessions/{session['id']}") == (204, None)
    assert await reader.read() == b""
    writer.close()
    status, error = await manager("DELETE", "/v1/sessions/nobody")
    assert (status, error["code"]) == (404, "session.unknown")


async def test_a_manager_asks_for_the_way_to_a_target(manager: Api) -> None:
    await manager("PUT", "/v1/snapshot", wire(1, listener("one", free_port())))
    login = '{"username": "u", "password": "crosses"}'
    status, found = await manager("POST", "/v1/probe", f'{{"listener": "one", "kind": "path", "login": {login}}}')
    assert (status, found["ok"]) == (200, True)
    assert "crosses" in found["hops"][0]["detail"]  # the stand-in tells what it got
    status, found = await manager("POST", "/v1/scan-host-key", '{"host": "10.0.0.7", "port": 2022}')
    assert (status, found["ok"]) == (200, True)
    assert "10.0.0.7" in found["hops"][0]["detail"]
    for path, body, expected in (
        ("/v1/probe", '{"listener": "nobody"}', (404, "deployment.unknown")),
        ("/v1/probe", '{"listener": "one", "login": {"password": "hush"}}', (400, "request.invalid")),
        ("/v1/scan-host-key", '{"host": "no host"}', (400, "request.invalid")),
    ):
        status, error = await manager("POST", path, body)
        assert (status, error["code"]) == expected
        assert "hush" not in str(error)


async def test_refused_snapshots_are_told_with_reasons(manager: Api) -> None:
    await manager("PUT", "/v1/snapshot", wire(5))
    for body, code in ((wire(4), "push.older"), (wire(6, server="other"), "push.wrong_server")):
        status, ack = await manager("PUT", "/v1/snapshot", body)
        assert (status, ack["result"], ack["code"], ack["version"]) == (409, "rejected", code, 5)
        assert ack["problems"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"server": 7}', b"\xff\xfe", b"[" * 10_000])
async def test_garbage_is_no_snapshot(manager: Api, body: bytes) -> None:
    status, error = await manager("PUT", "/v1/snapshot", body)
    assert (status, error["code"]) == (400, "request.invalid")
    assert error["problems"]


async def test_a_malformed_snapshot_is_told_without_its_secrets(manager: Api) -> None:
    body = wire(1, listener("one", 1)).replace(b'"host_keys":["key"]', b'"host_keys":"hush-hush"')
    status, error = await manager("PUT", "/v1/snapshot", body)
    assert status == 400
    assert error["problems"][0]["loc"] == ["content", "listeners", 0, "nodes", 0, "host_keys"]
    assert "hush" not in str(error)


@pytest.mark.parametrize("who", [None, STRANGER], ids=["no certificate", "wrong CA"])
async def test_without_a_certificate_of_our_ca_there_is_no_answer(site: Site, who: pki.Identity | None) -> None:
    async for api in client(site.port, who):
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await api("GET", "/v1/status")


@pytest.mark.parametrize("uri", [tls.server_uri("server"), "usp://managers/m", None])
async def test_the_right_ca_with_the_wrong_identity(site: Site, uri: str | None) -> None:
    who = pki.issue(CA, now=NOW, uri=uri, dns=["manager.example"])
    async for api in client(site.port, who):
        for method, path in (("GET", "/v1/status"), ("PUT", "/v1/snapshot"), ("GET", "/elsewhere")):
            status, error = await api(method, path, wire(1) if method == "PUT" else None)
            assert (status, error["code"]) == (403, "server.identity")
    assert site.supervisor.report().version == 0


async def test_bodies_are_bounded_in_size(manager: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_BODY", 1000)
    status, error = await manager("PUT", "/v1/snapshot", b"x" * 2000)
    assert (status, error["code"]) == (413, "request.too_large")


async def test_bodies_without_a_stated_length_are_bounded_too(
    files: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_BODY", 1000)
    effective = settings(workers=1, port=free_port(), tls=files)
    port = Control(Supervisor(effective, lambda line: None), trail(), effective.web)
    await port.start()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async for api in client(effective.web.port, MANAGER):
        status, error = await api("PUT", "/v1/snapshot", endless())
        assert (status, error["code"]) == (413, "request.too_large")
    await port.close()


async def test_a_compressed_body_is_bounded_by_what_comes_out_of_it(
    files: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_BODY", 1 << 20)
    effective = settings(workers=1, port=free_port(), tls=files)
    port = Control(Supervisor(effective, lambda line: None), trail(), effective.web)
    await port.start()
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 1 << 17
    async for api in client(effective.web.port, MANAGER):
        status, _ = await api("PUT", "/v1/snapshot", bomb, headers={"Content-Encoding": "gzip"})
        assert status in (400, 413)
    await port.close()


async def test_bodies_are_bounded_in_time(manager: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "BODY_TIMEOUT", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.3)

    status, error = await manager("PUT", "/v1/snapshot", slow())
    assert (status, error["code"]) == (400, "request.invalid")
    assert "did not arrive" in error["message"]


async def test_unknown_paths_methods_and_bugs_are_json(
    site: Site, manager: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await manager("GET", "/v2/status"))[0] == 404
    assert (await manager("POST", "/v1/status"))[0] == 405
    monkeypatch.setattr(site.supervisor, "report", lambda: 1 / 0)
    status, error = await manager("GET", "/v1/status")
    assert (status, error["code"]) == (500, "internal")
    assert "ZeroDivision" not in str(error)
    assert "ZeroDivision" in capsys.readouterr().err


async def test_while_draining_pushes_are_put_off(site: Site, manager: Api) -> None:
    await site.supervisor.drain()
    status, error = await manager("PUT", "/v1/snapshot", wire(1))
    assert (status, error["code"]) == (503, "server.draining")
    status, report = await manager("GET", "/v1/status")
    assert (status, report["draining"]) == (200, True)


async def test_a_reload_is_for_new_connections(site: Site, manager: Api, tmp_path: Path) -> None:
    assert (await manager("GET", "/v1/status"))[0] == 200
    new = pki.issue(OTHER_CA, now=NOW, uri=tls.server_uri("server"))
    renewed = site.settings.web.model_copy(update={"tls": written(tmp_path, new, OTHER_CA)})
    await site.control.reload(renewed)
    assert (await manager("GET", "/v1/status"))[0] == 200  # the connection of before goes on
    async for api in client(site.port, MANAGER):
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await api("GET", "/v1/status")
    context = tls.client_context(OTHER_CA.cert, STRANGER.cert, STRANGER.key, peer=tls.server_uri("server"))
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
    assert tls.identity(writer.get_extra_info("peercert")) == tls.server_uri("server")
    writer.close()
    written(tmp_path, pki.Identity("garbage", "garbage"), CA)
    with pytest.raises(UspError):
        await site.control.reload(renewed)
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
    writer.close()


async def test_a_port_that_is_taken(site: Site) -> None:
    second = Control(site.supervisor, trail(), site.settings.web)
    with pytest.raises(UspError, match="cannot listen on management address"):
        await second.start()
    await second.close()


def test_every_kind_of_failure_has_a_status() -> None:
    assert STATUS.keys() == set(Kind)


async def test_managers_fetch_audit_lines(manager: Api, site: Site) -> None:
    async def fetched(query: str) -> list[str]:
        url = f"https://127.0.0.1:{site.port}/v1/events{query}"
        async with manager.session.get(url) as response:
            return [line[:40] for line in (await response.text()).splitlines()]

    assert len(await fetched("")) == 1
    assert len(await fetched("?chain=00000000000000aa&after=0&wait=0")) == 1
    assert await fetched("?chain=00000000000000aa&after=1&wait=0.05") == []
    for query in ("?after=x", "?wait=x"):
        status, error = await manager("GET", f"/v1/events{query}")
        assert (status, error["code"]) == (400, "request.invalid")
