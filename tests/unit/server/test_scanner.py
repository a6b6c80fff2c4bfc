"""The scanner's client: files of any length, early answers, previews, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.unit.server.icap_server import (
    CLEAN,
    GO_ON,
    INFECTED,
    Answer,
    IcapServer,
    Request,
    clean,
    infected,
    serving_icap,
)
from usp.scan import Finding, Scan, Verdict
from usp.server.scanner import HIGH, Feed, Scanner, Way


def fed(*pieces: bytes, ended: bool = True) -> Feed:
    feed = Feed(lambda: None)
    for piece in filter(None, pieces):
        feed.put(piece)
    if ended:
        feed.end()
    return feed


async def verdict(server: IcapServer, feed: Feed, scanner: Scanner | None = None, **fields: object) -> Verdict:
    way = Way(server.scan(timeout=1, **fields), None)
    return await (scanner or Scanner()).scan(way, "192.0.2.1", b"/in/a", feed)


async def test_a_feed_says_when_there_is_room_again() -> None:
    drained = 0

    def count() -> None:
        nonlocal drained
        drained += 1

    feed = Feed(count)
    for _ in range(3):
        feed.put(bytes(HIGH // 2))
    assert feed.full
    assert [len(await feed.get()) for _ in range(2)] == [HIGH // 2] * 2
    assert (feed.full, drained) == (False, 0)
    await feed.get()
    assert drained == 1
    feed.end()
    assert await feed.get() == b""


@pytest.mark.parametrize("options", ["", "Preview: 0\r\n", "Preview: 10\r\n", "Preview: 1000000\r\n"])
@pytest.mark.parametrize("size", [1, 9, 10, 11, 100_000])
async def test_all_of_a_file_is_scanned_whatever_the_preview(options: str, size: int) -> None:
    data = os.urandom(size)
    got = []

    async def answer(request: Request) -> None:
        seen = await request.read()
        if b"Preview" in request.head and len(seen) < size:
            request.write(GO_ON)
            seen += await request.read()
        got.append(seen)
        request.write(CLEAN)

    async with serving_icap(answer, "Methods: REQMOD\r\n" + options) as server:
        assert await verdict(server, fed(data[: size // 2], data[size // 2 :])) == Verdict(Finding.CLEAN)
    assert got == [data]
    assert server.seen == ["OPTIONS", "REQMOD"]


async def test_options_are_asked_for_once() -> None:
    async with serving_icap(infected) as server:
        scanner = Scanner()
        for _ in range(2):
            assert await verdict(server, fed(b"x"), scanner) == Verdict(Finding.INFECTED, "Evil")
        assert server.seen == ["OPTIONS", "REQMOD", "REQMOD"]
    async with serving_icap(clean, "Methods: REQMOD\r\nOptions-TTL: 0\r\n") as server:
        for _ in range(2):
            await verdict(server, fed(b"x"), scanner)
        assert server.seen == ["OPTIONS", "REQMOD"] * 2


async def test_a_verdict_while_the_file_still_comes() -> None:
    async def early(request: Request) -> None:
        await request.chunk()
        request.write(INFECTED)

    async with serving_icap(early) as server:
        assert await verdict(server, fed(b"x", ended=False)) == Verdict(Finding.INFECTED, "Evil")


async def _silent(request: Request) -> None:
    await request.read()
    await asyncio.sleep(3)


async def _stuck(request: Request) -> None:
    await asyncio.sleep(3)


async def _gone(request: Request) -> None:
    await request.chunk()


async def _nonsense(request: Request) -> None:
    request.write(b"SSH-2.0-x\r\n\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "options", "text"),
    [
        (_silent, "Methods: REQMOD\r\n", "the scanner did not go on within 1 seconds"),
        (_silent, "Methods: REQMOD\r\nPreview: 5\r\n", "the scanner did not go on within 1 seconds"),
        (_stuck, "Methods: REQMOD\r\n", "the scanner did not go on within 1 seconds"),
        (_nonsense, "Methods: REQMOD\r\n", "this is no ICAP: 'SSH-2.0-x'"),
        (clean, "Methods: OPTIONS\r\n", "the service has neither REQMOD nor RESPMOD"),
    ],
)
async def test_what_goes_wrong_is_a_verdict(answer: Answer, options: str, text: str) -> None:
    async with serving_icap(answer, options) as server:
        feed = fed(*[bytes(1 << 20)] * 16)
        assert await verdict(server, feed) == Verdict(Finding.FAILED, text)


async def test_a_scanner_that_goes_away() -> None:
    async with serving_icap(_gone) as server:
        found = await verdict(server, fed(*[bytes(1 << 20)] * 16))
        assert found.finding is Finding.FAILED
        assert "connection" in found.text
    nowhere = Way(Scan(url=f"icap://127.0.0.1:{server.port}/av"), None)
    found = await Scanner().scan(nowhere, "", b"/a", fed(b"x"))
    assert found.finding is Finding.FAILED
    assert found.text.startswith("no connection to the scanner")


async def test_without_a_link_there_is_no_way_to_it() -> None:
    way = Way(Scan(url="icap://127.0.0.1:1/av"), lambda: None)
    found = await Scanner().scan(way, "", b"/a", fed(b"x"))
    assert found == Verdict(Finding.FAILED, "no live tunnel link to the Proxy Client")
