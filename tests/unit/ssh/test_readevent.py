"""What passes, and who is flushed when."""

from __future__ import annotations

import asyncio

import pytest

from usp.ssh.readevent import HEADROOM, TAILROOM, Passing, ReadEvent, padded


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


@pytest.mark.parametrize("padding", [4, 8, 18, 19, 255])
@pytest.mark.parametrize("count", [1, 20, 1000])
def test_of_a_packet_that_passes_only_the_data_is_its_senders(count: int, padding: int) -> None:
    length = 10 + count + padding
    text = memoryview(bytearray(b"\xee" * (length + 50)))
    text[10 : 10 + count] = data = b"d" * count
    body = Passing(text, length, text[10 : 10 + count]).body(7)
    if length % 16:
        assert body is None, "not every cipher could seal it"
        assert bytes(text) == b"\xee" * 10 + data + b"\xee" * (padding + 50)
    else:
        assert body is not None
        head = bytes([padding, 94]) + (7).to_bytes(4, "big") + count.to_bytes(4, "big")
        assert bytes(body[: 10 + count]) == head + data
        assert len(body) == length
        assert b"\xee\xee\xee\xee" not in bytes(body[10 + count :])


@pytest.mark.parametrize("count", range(1, 40))
def test_data_in_a_buffer_becomes_a_packet_that_every_cipher_takes(count: int) -> None:
    buffer = memoryview(bytearray(HEADROOM + count + TAILROOM))
    buffer[HEADROOM : HEADROOM + count] = bytes(range(count))
    passing = Passing.around(buffer, count)
    assert bytes(passing.data) == bytes(range(count))
    body = passing.body(300)
    assert body is not None
    assert len(body) == padded(count)
    assert len(body) % 16 == 0
    assert 4 <= body[0] < 20
    assert body[0] == len(body) - 10 - count


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
    passing = Passing.around(memoryview(bytearray(100)), 20)

    def receive() -> None:
        event.add(sender)
        assert event.passing is passing
        assert not sender.flushed

    event.read(passing, event.read, passing, receive)
    assert (sender.flushed, event.depth) == (1, 0)


def test_what_is_handed_on_is_known_to_who_is_called_only() -> None:
    event = ReadEvent()
    outer, inner = (Passing.around(memoryview(bytearray(100)), 20) for _ in range(2))
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
