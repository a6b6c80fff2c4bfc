"""Screening in a live session: a real target, a real partner, a scanner that does what is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from tests.unit.server.gateway import Gateway, Target, rule, serving
from tests.unit.server.icap_server import CLEAN, INFECTED, Answer, Request, clean, infected, serving_icap
from usp.policy import Policy
from usp.server.scanner import HIGH
from usp.status import Outcome

BOUND = HIGH + (6 << 20)
"""What may be under way to a scanner that takes nothing: its feed, windows and sockets."""


@asynccontextmanager
async def scanned(target: Target, answer: Answer, **fields: object) -> AsyncIterator[Gateway]:
    async with serving_icap(answer) as server:
        made = rule().model_copy(update={"scan": server.scan(**fields)})
        async with serving(target.port, of=made) as gateway:
            yield gateway


async def test_what_is_clean_appears_and_what_is_not_does_not(target: Target) -> None:
    async with scanned(target, clean) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            async with sftp.open("good", "wb") as file:
                await file.write(b"x" * 100_000)
            assert (target.root / "good").read_bytes() == b"x" * 100_000
        assert await gateway.outcome() is Outcome.COMPLETED
    async with scanned(target, infected) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("good", "wb")
            await file.write(b"y")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="refused by the content scan"):
                await file.close()
        assert await gateway.outcome() is Outcome.COMPLETED
        (told,) = gateway.told("file.scanned")
        assert (told["verdict"], told["text"], told["outcome"]) == ("infected", "Evil", "denied")
    assert [path.name for path in target.root.iterdir()] == ["good"]
    assert (target.root / "good").read_bytes() == b"x" * 100_000


async def test_a_scanner_that_does_not_keep_up_makes_the_partner_wait(target: Target) -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> None:
        await go_on.wait()
        await request.read()
        request.write(CLEAN)

    async with scanned(target, slow) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("big", "wb")
            piece = b"z" * (1 << 20)
            writing = asyncio.gather(*(file.write(piece, number << 20) for number in range(24)))
            before = -1
            async with asyncio.timeout(20):
                while before < HIGH or gateway.live[0].bytes_in != before:
                    before = gateway.live[0].bytes_in
                    await asyncio.sleep(0.3)
            assert before < BOUND
            go_on.set()
            await writing
            await file.close()
            assert (target.root / "big").read_bytes() == piece * 24
        assert await gateway.outcome() is Outcome.COMPLETED


async def test_with_a_virtual_root_verdicts_are_told_in_the_partners_terms(target: Target) -> None:
    (target.root / "acme").mkdir()
    async with serving_icap(clean) as server:
        made = rule().model_copy(update={"scan": server.scan(), "policy": Policy(root="/acme")})
        async with serving(target.port, of=made) as gateway:
            async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
                file = await sftp.open("/good", "wb")
                await file.write(b"x")
                await file.close()
            await gateway.outcome()
            (told,) = gateway.told("file.scanned")
    assert (target.root / "acme" / "good").read_bytes() == b"x"
    assert (told["path"], told["sent"]) == ("/good", "/acme/good")


async def test_an_early_refusal_ends_the_upload(target: Target) -> None:
    async def early(request: Request) -> None:
        await request.chunk()
        request.write(INFECTED)

    async with scanned(target, early) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("bad", "wb")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await write_on(file)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await file.close()
        await gateway.outcome()
    assert list(target.root.iterdir()) == []


async def write_on(file: asyncssh.SFTPClientFile) -> None:
    async with asyncio.timeout(10):
        while True:
            await file.write(b"x" * 1000)


async def test_read_back_at_the_scanners_pace(target: Target) -> None:
    got = []

    async def answer(request: Request) -> None:
        got.append(await request.read())
        request.write(CLEAN)

    data = bytes(range(256)) * 8192  # 2 MiB, which the feed does not hold at once
    async with scanned(target, answer) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("twice", "wb")
            await file.write(data)
            await file.write(data[:10], 0)
            await file.close()
        await gateway.outcome()
    assert got[-1] == data == (target.root / "twice").read_bytes()


@pytest.mark.parametrize("how", ["abort", "close", "end"])
async def test_who_breaks_off_leaves_nothing(target: Target, how: str) -> None:
    async with scanned(target, clean) as gateway:
        async with gateway.partner() as partner:
            sftp = await partner.start_sftp_client()
            file = await sftp.open("half", "wb")
            await file.write(b"x" * 100_000)
            assert [path.name[:10] for path in target.root.iterdir()] == [".usp-scan-"]
            if how == "abort":
                partner.abort()
            elif how == "end":
                gateway.live[0].end(Outcome.KILLED)
            else:
                sftp.exit()
                await sftp.wait_closed()
                async with asyncio.timeout(5):
                    while list(target.root.iterdir()):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
        await gateway.outcome()
        assert list(target.root.iterdir()) == []
        assert gateway.told("file.left_behind") == []


async def test_who_does_not_await_the_verdict_has_uploaded_nothing(target: Target) -> None:
    asked = asyncio.Event()

    async def never(request: Request) -> None:
        await request.read()
        asked.set()
        await asyncio.sleep(10)

    async with scanned(target, never) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("half", "wb")
            await file.write(b"x")
            closing = asyncio.gather(file.close(), return_exceptions=True)
            await asked.wait()
            partner.abort()
            await closing
        await gateway.outcome()
    assert list(target.root.iterdir()) == []


async def test_what_cannot_be_removed_is_told(target: Target) -> None:
    async with scanned(target, clean) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("half", "wb")
            await file.write(b"x")
            await target.stop()
            await asyncio.sleep(0.1)
            partner.abort()
        await gateway.outcome()
        (told,) = gateway.told("file.left_behind")
        assert told["to"] == "half"
        assert (target.root / str(told["path"])).exists()


async def test_without_a_scan_there_is_none(target: Target) -> None:
    async with serving(target.port, of=rule()) as gateway:
        async with gateway.partner() as partner, partner.start_sftp_client() as sftp:
            file = await sftp.open("plain", "wb")
            assert [path.name for path in target.root.iterdir()] == ["plain"]
            await file.close()
        await gateway.outcome()
