"""What passes, and who is flushed when."""

from __future__ import annotations

import asyncio

import pytest

from usp.ssh.readevent import BLOCK, PADDING, Passing, ReadEvent


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
    if length % BLOCK:
        assert body is None, "not every cipher could seal it"
        assert bytes(text) == b"\xee" * 10 + data + b"\xee" * (padding + 50)
    else:
        assert body is not None
        assert bytes(body) == b"\xee\xee" + (7).to_bytes(4, "big") + b"\xee" * 4 + data + PADDING[:padding]


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
