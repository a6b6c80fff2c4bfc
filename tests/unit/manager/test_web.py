"""uvicorn in our loop, over real TLS: it starts, says why it cannot, takes new certificates, and ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.manager.site import CA, NOW
from tests.unit.server.support import free_port
from usp import pki
from usp.errors import UspError
from usp.manager.web import Web
from usp.settings import ManagerTls, ManagerWeb

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def hello(scope: dict[str, Any], receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def endless(scope: dict[str, Any], receive: Any, send: Send) -> None:
    """Like an event stream whose reader never goes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"event\n", "more_body": True})
        await asyncio.sleep(0.01)


def certificate(folder: Path) -> pki.Identity:
    made = pki.issue(CA, now=NOW, ips=["127.0.0.1"])
    (folder / "cert").write_text(made.cert)
    (folder / "key").write_text(made.key)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> ManagerWeb:
    certificate(tmp_path)
    tls = ManagerTls(cert=str(tmp_path / "cert"), key=str(tmp_path / "key"))
    return ManagerWeb(address="127.0.0.1", port=free_port(), tls=tls)


@asynccontextmanager
async def serving(application: Any, settings: ManagerWeb) -> AsyncIterator[Web]:
    web = Web(application, settings)
    await web.start()
    try:
        yield web
    finally:
        await web.stop()


@asynccontextmanager
async def asked(port: int, headers: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = ssl.create_default_context(cadata=CA.cert)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_who_asks_is_who_connects(settings: ManagerWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    """From loopback, too, which web servers like to believe."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    seen: list[str] = []

    async def noting(scope: dict[str, Any], receive: Any, send: Send) -> None:
        seen.append(scope["client"][0])
        await hello(scope, receive, send)

    async with serving(noting, settings), asked(settings.port, b"X-Forwarded-For: 192.0.2.7\r\n") as (reader, _):
        await reader.readuntil(b"hello")
    assert seen == ["127.0.0.1"]


async def test_it_serves(settings: ManagerWeb) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    async with serving(hello, settings), asked(settings.port) as (reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"uvicorn" not in head
        assert await reader.readexactly(5) == b"hello"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert signal.getsignal(signal.SIGTERM) is handler, "signals are the daemon's"
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", settings.port)


async def test_a_port_that_is_taken(settings: ManagerWeb) -> None:
    with socket.create_server(("127.0.0.1", settings.port)):
        web = Web(hello, settings)
        with pytest.raises(UspError, match=f"127.0.0.1:{settings.port}") as caught:
            await web.start()
        assert caught.value.code == "listener.unbindable"


async def test_a_new_certificate_is_for_new_connections(settings: ManagerWeb, tmp_path: Path) -> None:
    async with serving(hello, settings) as web, asked(settings.port) as (reader, writer):
        await reader.readuntil(b"hello")
        made = certificate(tmp_path)
        web.reload(settings)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"hello")
        async with asked(settings.port) as (_, again):
            shown = again.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert ssl.DER_cert_to_PEM_cert(shown).strip() == made.cert.strip()


async def test_a_bad_certificate_changes_nothing(settings: ManagerWeb, tmp_path: Path) -> None:
    async with serving(hello, settings) as web:
        (tmp_path / "key").write_text("garbage")
        with pytest.raises(UspError) as caught:
            web.reload(settings)
        assert caught.value.code == "key.unusable"
        async with asked(settings.port) as (reader, _):
            assert await reader.readuntil(b"hello")


async def test_streams_do_not_hold_it_up(settings: ManagerWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usp.manager.web.GRACE_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    async with serving(endless, settings) as web, asked(settings.port) as (reader, _):
        await reader.readuntil(b"event\n")
        started = loop.time()
        await web.stop()
        assert loop.time() - started < 2.0


async def test_nor_does_who_says_no_goodbye(settings: ManagerWeb, caplog: pytest.LogCaptureFixture) -> None:
    """A socket that nobody reads leaves TLS's close_notify without an answer."""

    def silent() -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=CA.cert)
        found = context.wrap_socket(socket.create_connection(("127.0.0.1", settings.port)), server_hostname="127.0.0.1")
        found.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return found

    async with serving(hello, settings) as web:
        connected = await asyncio.to_thread(silent)
        await asyncio.sleep(0.1)
        await web.stop()
        connected.close()
    assert not [record for record in caplog.records if "exceeded" in record.getMessage()]
