"""What passes, and who is flushed when."""

from __future__ import annotations

import asyncio

import pytest

from usp.ssh.readevent import HEADROOM, TAILROOM, Passing, ReadEvent, framed, padded


class Sender:
    def __init__(self, event: ReadEvent, then: list[Sender] | None = None) -> None:
        self.flushed: int = 0
        self._event = event
        self._then = then or []

    def flush(self) -> None:
        self.flushed += 1
        for sender in self._then:
            self._event.add(sender)
        self._then = []


@pytest.mark.parametrize("start", [10, 15, 500])
@pytest.mark.parametrize("count", range(1, 40))
def test_data_becomes_a_packet_that_every_cipher_takes_where_it_stands(count: int, start: int) -> None:
    buffer = memoryview(bytearray(b"\xee" * (start + count + TAILROOM)))
    buffer[start : start + count] = data = bytes(range(count))
    text = framed(buffer, start, count, channel=300, length=padded(count))
    assert len(text) == padded(count)
    assert len(text) % 16 == 0
    padding = text[0]
    assert 4 <= padding < 20
    assert padding == len(text) - 10 - count
    assert bytes(text[1:10]) == bytes([94]) + (300).to_bytes(4, "big") + count.to_bytes(4, "big")
    assert bytes(text[10 : 10 + count]) == data
    assert b"\xee\xee\xee\xee" not in bytes(text[10 + count :]), "the padding is nobody's data"
    assert bytes(buffer[: start - 10]) == b"\xee" * (start - 10)
    assert bytes(buffer[start + count + padding :]) == b"\xee" * (TAILROOM - padding)


def test_what_passes_says_where_it_stands() -> None:
    buffer = memoryview(bytearray(range(100)))
    passing = Passing(buffer, HEADROOM, 20)
    assert bytes(passing.data) == bytes(range(HEADROOM, HEADROOM + 20))
    assert passing.data == buffer[passing.at : passing.at + 20]


async def test_outside_of_a_read_event_the_tick_ends_with_a_flush() -> None:
    event = ReadEvent()
    sender = Sender(event)
    event.add(sender)
    event.add(sender)
    flushed = [sender.flushed]
    await asyncio.sleep(0)
    flushed.append(sender.flushed)
    event.depth = 1
    event.add(sender)
    await asyncio.sleep(0)
    flushed.append(sender.flushed)
    assert flushed == [0, 2, 2], "in a read event, its end does it"


def test_a_flush_that_makes_others_wait_flushes_them_too() -> None:
    event = ReadEvent()
    event.depth = 1
    link = Sender(event)
    event.add(Sender(event, then=[link]))
    event.flush()
    assert link.flushed == 1
    assert not event.waiting


def test_what_comes_of_a_read_event_is_sent_at_its_end() -> None:
    event = ReadEvent()
    sender = Sender(event)
    passing = Passing(memoryview(bytearray(100)), HEADROOM, 20)

    def receive() -> None:
        event.add(sender)
        assert event.passing is passing
        assert not sender.flushed

    event.read(passing, event.read, passing, receive)
    assert (sender.flushed, event.depth) == (1, 0)


def test_what_is_handed_on_is_known_to_who_is_called_only() -> None:
    event = ReadEvent()
    outer, inner = (Passing(memoryview(bytearray(100)), HEADROOM, 20) for _ in range(2))
    seen = []

    def receive(what: str) -> None:
        seen.append(event.passing)
        if what == "outer":
            event.hand(inner, receive, "inner")
            seen.append(event.passing)
            raise LookupError("over")

    with pytest.raises(LookupError, match="over"):
        event.hand(outer, receive, "outer")
    assert seen == [outer, inner, outer]
    assert event.passing is None
