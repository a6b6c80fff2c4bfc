"""Facts reach the supervisor in order, together, soon; and fit its packets."""

from __future__ import annotations

import asyncio
import json

from usp.server import ipc
from usp.server.journal import FULL, LONGEST, Journal
from usp.server.messages import Events


class Channel:
    def __init__(self) -> None:
        self.heard: list[Events] = []
        self.busy = False

    def journal(self) -> Journal:
        return Journal(self.heard.append, lambda: self.busy)

    def names(self) -> list[list[str]]:
        return [[json.loads(line)["event"] for line in events.lines] for events in self.heard]


async def test_what_is_told_within_a_moment_goes_together() -> None:
    channel = Channel()
    journal = channel.journal()
    for name in "abc":
        journal.tell({"event": name})
    assert not channel.heard
    await asyncio.sleep(0.2)
    assert channel.names() == [["a", "b", "c"]]
    assert json.loads(channel.heard[0].lines[0])["time"].endswith("Z")
    journal.tell({"event": "d"})
    await asyncio.sleep(0.2)
    assert channel.names() == [["a", "b", "c"], ["d"]]


async def test_a_flush_sends_at_once_what_waits_and_only_that() -> None:
    channel = Channel()
    journal = channel.journal()
    journal.flush()
    journal.tell({"event": "a"})
    journal.flush()
    assert channel.names() == [["a"]]
    await asyncio.sleep(0.2)
    assert len(channel.heard) == 1


async def test_what_waits_may_go_along_with_something_else() -> None:
    channel = Channel()
    journal = channel.journal()
    assert journal.taken() == ()
    journal.tell({"event": "a"})
    journal.tell({"event": "b"})
    (events,) = journal.taken()
    assert [json.loads(line)["event"] for line in events.lines] == ["a", "b"]
    await asyncio.sleep(0.2)
    assert not channel.heard


async def test_many_do_not_wait_and_every_packet_fits() -> None:
    channel = Channel()
    journal = channel.journal()
    for _ in range(40):
        journal.tell({"event": "e", "path": '\\"' * (LONGEST // 5)})
    journal.flush()
    assert sum(len(events.lines) for events in channel.heard) == 40
    assert all(len(events.model_dump_json()) < ipc.MAX_PACKET for events in channel.heard)
    assert len(channel.heard) > FULL // LONGEST


async def test_what_does_not_fit_or_finds_no_room_is_counted() -> None:
    channel = Channel()
    journal = channel.journal()
    journal.tell({"event": "long", "path": "x" * LONGEST})
    channel.busy = True
    journal.tell({"event": "late"})
    channel.busy = False
    journal.tell({"event": "fits"})
    journal.flush()
    assert channel.names() == [["fits"]]
    assert journal.dropped == 2


async def test_what_was_dropped_is_told_once_there_is_room() -> None:
    channel = Channel()
    journal = channel.journal()
    assert journal.tell_dropped() == 0
    channel.busy = True
    for _ in range(3):
        journal.tell({"event": "a"})
    assert journal.tell_dropped() == 0
    channel.busy = False
    assert journal.tell_dropped() == 3
    journal.flush()
    (told,) = [json.loads(line) for events in channel.heard for line in events.lines]
    assert (told["event"], told["sink"], told["count"]) == ("audit.dropped", "supervisor", 3)
    assert journal.tell_dropped() == 0
