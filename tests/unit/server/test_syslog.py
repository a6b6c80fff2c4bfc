"""Audit lines to syslog servers: a reader of RFC 5425, over real TLS, that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.server.support import free_port, until
from usp import pki
from usp.errors import UspError
from usp.server import syslog as module
from usp.server.syslog import Syslog, framed, message
from usp.settings import Facility, SyslogSettings

LINE = b'{"time":"2026-11-27T10:00:00.123Z","event":"file.closed","path":"/\xc3\xa4"}'
HEAD = re.compile(rb"<134>1 (\S+) dmz-1 usp-server \d+ (\S+) - (\{.*\})")
NOW = datetime.now(UTC)


class Reader:
    """Takes messages as RFC 5425 frames them."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length = int(await reader.readuntil(b" "))
                self.got.append(await reader.readexactly(length))

    def hang_up(self) -> None:
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()


@contextlib.asynccontextmanager
async def listening(reader: Reader, port: int, context: ssl.SSLContext | None) -> AsyncIterator[None]:
    server = await asyncio.start_server(reader.serve, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()
        reader.hang_up()


@contextlib.asynccontextmanager
async def sending(settings: SyslogSettings) -> AsyncIterator[Syslog]:
    syslog = Syslog(settings, "dmz-1")
    task = asyncio.get_running_loop().create_task(syslog.run())
    try:
        yield syslog
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INITIAL", 0.01)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    ca = pki.new_ca("log CA", now=NOW)
    for name in ("server", "client"):
        who = pki.issue(ca, now=NOW, ips=["127.0.0.1"])
        (tmp_path / f"{name}.crt").write_text(who.cert)
        (tmp_path / f"{name}.key").write_text(who.key)
        (tmp_path / f"{name}.key").chmod(0o600)
    (tmp_path / "ca").write_text(ca.cert)
    return tmp_path


def of_server(files: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files / "ca"))
    context.load_cert_chain(files / "server.crt", files / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def settings(files: Path, port: int, **more: object) -> SyslogSettings:
    paths = {"ca": str(files / "ca"), "cert": str(files / "client.crt"), "key": str(files / "client.key")}
    return SyslogSettings.model_validate({"host": "127.0.0.1", "port": port, **paths, **more})


def texts(reader: Reader) -> list[bytes]:
    return [found.group(3) for each in reader.got if (found := HEAD.fullmatch(each))]


def test_a_message() -> None:
    assert message(LINE, 134, "dmz-1", 7) == (
        b"<134>1 2026-11-27T10:00:00.123Z dmz-1 usp-server 7 file.closed - " + LINE
    )
    assert message(b'{"odd":1}', 86, "dmz-1", 7) == b'<86>1 - dmz-1 usp-server 7 - - {"odd":1}'
    assert framed(b"abc") == b"3 abc"


async def test_lines_arrive_over_tls_and_again_after_an_outage(files: Path, fast: None) -> None:
    reader, port = Reader(), free_port()
    lines = [LINE.replace(b"/", b"/%d" % number) for number in range(1000)]
    async with sending(settings(files, port)) as syslog:
        for line in lines[:100]:  # nobody listens yet
            syslog.put(line)
        async with listening(reader, port, of_server(files)):
            await until(lambda: texts(reader) == lines[:100])
            for line in lines[100:500]:
                syslog.put(line)
            await syslog.flush(5.0)
            await until(lambda: texts(reader) == lines[:500])
            reader.hang_up()
            await until(lambda: len(reader.connections) == 1)
            for line in lines[500:]:
                syslog.put(line)
            await until(lambda: texts(reader) == lines)
    assert syslog.dropped == 0


async def test_a_server_that_nobody_vouches_for_gets_nothing(
    files: Path, fast: None, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, port = Reader(), free_port()
    other = pki.new_ca("other CA", now=NOW)
    (files / "other").write_text(other.cert)
    async with listening(reader, port, of_server(files)), sending(settings(files, port, ca=str(files / "other"))) as it:
        it.put(LINE)
        await it.flush(0.2)
    assert reader.got == []


async def test_plain_tcp_and_the_facility(files: Path, fast: None) -> None:
    reader, port = Reader(), free_port()
    plain = SyslogSettings.model_validate(
        {"host": "127.0.0.1", "port": port, "tls": False, "facility": Facility.AUTHPRIV}
    )
    async with listening(reader, port, None), sending(plain) as syslog:
        syslog.put(LINE)
        await until(lambda: reader.got)
    assert reader.got[0].startswith(b"<86>1 2026-11-27T10:00:00.123Z dmz-1 usp-server ")


async def test_what_waits_is_bounded(files: Path) -> None:
    syslog = Syslog(settings(files, 1, buffer=1), "dmz-1")
    for _ in range(30):
        syslog.put(b"x" * 100_000)
    assert syslog.dropped == 20


def test_certificates_that_cannot_be_used(files: Path) -> None:
    (files / "ca").write_text("garbage")
    with pytest.raises(UspError, match=r"audit\.syslog: ca, cert or key cannot be used"):
        Syslog(settings(files, 1), "dmz-1")


RSYSLOG = """
global(workDirectory="{folder}" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{folder}/ca"
       defaultNetstreamDriverCertFile="{folder}/server.crt" defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="told" type="string" string="%pri% %timestamp:::date-rfc3339% %hostname% %app-name% %msgid% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{folder}/told" template="told")
"""


@pytest.mark.skipif(shutil.which("rsyslogd") is None, reason="needs rsyslog and rsyslog-openssl")
async def test_rsyslog_understands_all_of_it(fast: None, files: Path) -> None:
    """The real one, with certificates on both sides."""
    port = free_port()
    (files / "rsyslog.conf").write_text(RSYSLOG.format(folder=files, port=port))
    process = await asyncio.create_subprocess_exec(
        "rsyslogd", "-n", "-f", str(files / "rsyslog.conf"), "-i", str(files / "pid"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with sending(settings(files, port)) as syslog:
            for _ in range(3):
                syslog.put(LINE)
            told = files / "told"
            await until(lambda: told.exists() and told.read_text().count("\n") == 3, 20)
    finally:
        process.terminate()
        await process.wait()
    assert set(told.read_text().splitlines()) == {
        f"134 2026-11-27T10:00:00.123Z dmz-1 usp-server file.closed {LINE.decode()}"
    }
