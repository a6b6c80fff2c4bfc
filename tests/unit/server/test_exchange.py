"""Back-pressure, EOF, exit status: what passes between two channels besides bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.unit.server.gateway import Gateway, Target, limits, serving
from usp.server.session import Limits
from usp.status import Outcome

INIT = b"\x00\x00\x00\x05\x01\x00\x00\x00\x03"
VERSION = b"\x00\x00\x00\x05\x02\x00\x00\x00\x03"


async def test_a_partner_who_does_not_read_costs_bounded_memory(target: Target) -> None:
    """Its SSH window is huge and its socket is never read: the target must be made to wait."""
    (target.root / "big").write_bytes(b"\0" * (24 << 20))
    async with serving(target.port) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None, window=1 << 30)
            sftp = INIT + _packet(3, 1, b"\x00\x00\x00\x04/big\x00\x00\x00\x01\x00\x00\x00\x00")
            process.stdin.write(sftp)
            answer = b""
            while len(answer) < 9:
                answer += await process.stdout.read(1 << 16)
            while b"\x66\x00\x00\x00\x01" not in answer:
                answer += await process.stdout.read(1 << 16)
            handle = answer[answer.index(b"\x66\x00\x00\x00\x01") + 5 :]
            transport = partner._transport
            assert transport is not None
            transport.pause_reading()
            for number in range(24 * 32):
                offset = (number * 32768).to_bytes(8, "big")
                process.stdin.write(_packet(5, 2 + number, handle + offset + b"\x00\x00\x80\x00"))
            before = 0
            async with asyncio.timeout(20):
                while before < 1 << 20 or gateway.live[0].bytes_out != before:
                    before = gateway.live[0].bytes_out
                    await asyncio.sleep(0.3)
            assert before < 12 << 20
            transport.resume_reading()
            async with asyncio.timeout(20):
                while gateway.live[0].bytes_out < 24 << 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            process.close()
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED  # it left the file open


class Raw(asyncssh.SSHServerSession[bytes]):
    """A target's end of the channel: answers INIT with itself, then counts."""

    def __init__(self) -> None:
        self.got = 0
        self.stalls = self.silent = False
        self.status = 0
        self.eof = asyncio.Event()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.chan = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if not self.got and not self.silent:
            self.chan.write(VERSION)
            self.chan.write_stderr(b"not for partners")
        elif self.stalls and self.got == len(INIT):  # OPEN
            self.chan.write(_packet(102, 1, b"\0\0\0\1h"))
            self.chan.pause_reading()
        self.got += len(data)

    def eof_received(self) -> bool:
        self.eof.set()
        self.chan.exit(self.status)
        return True


@asynccontextmanager
async def facing(
    raw: Raw, tmp_path: Path, window: int = 2 << 20, limits_: Limits | None = None
) -> AsyncIterator[Gateway]:
    target = Target(tmp_path)
    await target.start(session=lambda: raw, window=window)
    try:
        async with serving(target.port, limits_) as gateway:
            yield gateway
    finally:
        await target.stop()


@pytest.mark.parametrize("status", [0, 7])
async def test_eof_goes_to_the_target_and_its_exit_status_comes_back(tmp_path: Path, status: int) -> None:
    raw = Raw()
    raw.status = status
    async with facing(raw, tmp_path) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(INIT)
            process.stdin.write_eof()
            done = await process.wait()
            assert raw.eof.is_set()
            assert (done.exit_status, done.stdout, done.stderr) == (status, VERSION, b"")
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_the_target_ends_the_channel_first(tmp_path: Path) -> None:
    raw = Raw()
    async with facing(raw, tmp_path) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(INIT)
            assert await process.stdout.read(9)
            raw.chan.exit_with_signal("KILL", msg="secret")
            done = await process.wait()
            assert done.exit_signal is not None
            assert done.exit_signal[0] == "KILL"
            assert "secret" not in str(done.exit_signal)
        assert await gateway.outcome() is Outcome.TARGET_CLOSED


async def test_a_target_that_does_not_answer_init(tmp_path: Path) -> None:
    """It granted the subsystem, and its SSH lives: the session ends in bounded time, not at the idle limit."""
    raw = Raw()
    raw.silent = True
    async with facing(raw, tmp_path, limits_=replace(limits(), connect=0.5)) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            await asyncio.sleep(1.2)
            assert not partner.is_closed(), "it has not been asked"
            process.stdin.write(INIT)
            async with asyncio.timeout(5):
                await partner.wait_closed()
        assert await gateway.outcome() is Outcome.TARGET_UNREACHABLE


async def test_a_target_that_does_not_read_makes_the_partner_wait(tmp_path: Path) -> None:
    raw = Raw()
    raw.stalls = True
    opening = _packet(3, 1, b"\0\0\0\2/f" + (2).to_bytes(4, "big") + bytes(4))
    body = b"\0\0\0\1h" + bytes(8) + (32768).to_bytes(4, "big") + bytes(32768)
    writes = b"".join(_packet(6, 2 + number, body) for number in range(100))
    async with facing(raw, tmp_path, window=1 << 16) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(INIT)
            await process.stdout.readexactly(9)
            process.stdin.write(opening)
            await process.stdout.readexactly(14)
            process.stdin.write(writes)
            process.stdin.write_eof()
            await asyncio.sleep(0.3)
            assert gateway.live[0].bytes_in < 300_000
            raw.chan.resume_reading()
            await process.wait()
            assert raw.got == len(INIT + opening + writes)
        assert await gateway.outcome() is Outcome.PARTNER_CLOSED  # nothing was answered


async def test_a_target_that_breaks_the_protocol_is_no_fault_of_the_partners(tmp_path: Path) -> None:
    raw = Raw()
    async with facing(raw, tmp_path) as gateway:
        async with gateway.partner() as partner:
            process = await partner.create_process(subsystem="sftp", encoding=None)
            process.stdin.write(INIT)
            assert await process.stdout.readexactly(9) == VERSION
            process.stdin.write(_packet(17, 5, b"\0\0\0\1/"))
            async with asyncio.timeout(5):
                while raw.got == len(INIT):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            raw.chan.write(_packet(105, 5, b"\0\0\0\1"))  # attributes with a size that is not there
            await partner.wait_closed()
        assert await gateway.outcome() is Outcome.TARGET_PROTOCOL_ERROR
        (told,) = gateway.told("target.violated")
        assert told["target"] == "target"
        assert "shorter than what it claims to hold" in told["reason"]


def _packet(kind: int, request: int, rest: bytes) -> bytes:
    body = bytes([kind]) + request.to_bytes(4, "big") + rest
    return len(body).to_bytes(4, "big") + body
