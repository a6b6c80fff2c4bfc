"""The fast path and asyncssh itself deliver the same streams, whatever the sizes, windows, rekeys, pauses and ends.

The expectation is SSH's own, not a recording: everything that was written before an end or a close arrives, in order,
once, and then the end; of what flows towards an end that closed, the beginning. asyncssh at both ends has to meet it,
too: that is what makes it a reference.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from asyncssh.connection import SSHConnection
from asyncssh.packet import Boolean, String
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.unit.ssh.pump import KINDS, End, Joined, joined
from usp.ssh.sending import write

CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]
PAIRS = [(client, server) for client in KINDS for server in KINDS]
EXAMPLES = settings().max_examples * 3 // 10  # for each pair
NOISE = os.urandom(1 << 19)

OTHERS = {
    2: [String(b"IGNORE")],
    4: [Boolean(False), String(b"DEBUG"), String(b"")],
    192: [b"nobody knows"],
}

SIDES = st.integers(0, 1)
SIZES = st.one_of(st.sampled_from([0, 1, 2, 32767, 32768, 32769, 70_000, 200_000]), st.integers(0, 5000))
PIECES = st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 35, 36, 100, 1000, 4096, 32768, 65536, 300_000])
STEPS = st.one_of(
    st.tuples(st.just("write"), SIDES, SIZES),
    st.tuples(st.just("write"), SIDES, SIZES),
    st.tuples(st.just("stderr"), st.just(1), SIZES),
    st.tuples(st.just("carry"), SIDES, PIECES),
    st.tuples(st.just("carry"), SIDES, PIECES),
    st.tuples(st.just("carry"), SIDES, PIECES),
    st.tuples(st.just("pause"), SIDES, st.just(0)),
    st.tuples(st.just("read"), SIDES, st.sampled_from([None, 1, 1000, 50_000])),
    st.tuples(st.just("sip"), SIDES, st.integers(1, 4)),
    st.tuples(st.just("rekey"), SIDES, st.just(0)),
    st.tuples(st.just("ask"), SIDES, st.just(0)),
    st.tuples(st.just("noise"), SIDES, st.sampled_from(sorted(OTHERS))),
    st.tuples(st.just("eof"), SIDES, st.just(0)),
    st.tuples(st.just("close"), SIDES, st.just(0)),
)


class Played:
    """One channel, and what should be true of it."""

    def __init__(self, pair: Joined, number: int, window: int) -> None:
        self.pair = pair
        self.ends: tuple[End, End] = pair.ends[0][number], pair.ends[1][number]
        self.sent = bytearray(), bytearray()
        self.errors = bytearray()
        self.eof, self.closed = [False, False], [False, False]
        self._window = window
        self._at = number * 1000

    async def do(self, what: str, side: int, number: Any) -> None:
        connection, end = self.pair.connections[side], self.ends[side]
        if what == "carry":
            await self.pair.carry(side, number)
        elif what == "rekey":
            connection._rekey_bytes_sent = connection._rekey_bytes  # with the next packet
        elif what == "ask":
            connection.create_task(connection._make_global_request(b"keepalive@openssh.com"))
        elif what == "noise":
            SSHConnection.send_packet(connection, number, *OTHERS[number])
        elif end.lost:
            return
        elif what == "read":
            end.read(number)
        elif what == "sip":
            end.channel.pause_reading()
            await self.do("write", 1 - side, min(3 * self._window, 400_000))
            for _ in range(number):
                assert not await self.pair.until(lambda: not self.bounded())
                end.read(1)
        elif what == "pause":
            end.channel.pause_reading()
        elif end.channel.is_closing():
            return
        elif what in ("write", "stderr"):
            self._write(side, number, what == "stderr")
        elif what == "eof":
            end.channel.write_eof()
            self.eof[side] = True
        elif what == "close":
            if self.closed[1 - side] and not any(hasattr(each, "fast") for each in self.pair.connections):
                return  # asyncssh's own two ends may then wait for each other for ever (see `usp.ssh.window`)
            end.channel.close()
            self.closed[side] = True

    def _write(self, side: int, size: int, errors: bool) -> None:
        size = min(size, 100 * self._window)
        start = self._at % (len(NOISE) - size)
        self._at += size
        data = NOISE[start : start + size]
        if errors:
            self.errors += data
            self.ends[1].channel.write_stderr(data)
        else:
            self.sent[side].extend(data)
            write(self.ends[side].channel, memoryview(data))

    def bounded(self) -> bool:
        """A reader that does not read costs its window, and no more, where the end is ours."""
        return all(
            end.lost or not hasattr(connection, "fast") or end.held <= self._window
            for end, connection in zip(self.ends, self.pair.connections, strict=True)
        )

    def settled(self) -> bool:
        if any(self.closed):
            return all(end.lost for end in self.ends)
        return (
            all(len(self.ends[1 - side].got) >= len(self.sent[side]) for side in (0, 1))
            and len(self.ends[0].errors) >= len(self.errors)
            and all(self.ends[1 - side].eof >= self.eof[side] for side in (0, 1))
        )

    def check(self) -> None:
        for side in (0, 1):
            sent, got = bytes(self.sent[side]), bytes(self.ends[1 - side].got)
            if any(self.closed) and not (self.closed[side] and not self.closed[1 - side]):
                assert sent.startswith(got)
            else:
                assert got == sent
            if not any(self.closed):
                assert self.ends[1 - side].eof == self.eof[side]
        assert bytes(self.errors).startswith(self.ends[0].errors)
        assert any(self.closed) or self.ends[0].errors == self.errors
        assert [end.exc for end in self.ends] == [None, None]


async def play(
    kinds: tuple[str, str],
    cipher: str,
    rekey: int,
    channels: list[tuple[int, int]],
    steps: list[tuple[int, tuple[str, int, Any]]],
    pieces: list[int],
    takes_views: bool,
) -> None:
    async with joined(kinds, cipher=cipher, pieces=pieces, rekey=rekey, takes_views=takes_views) as pair:
        played = []
        for number, (window, packet) in enumerate(channels):
            await pair.open(window, packet)
            played.append(Played(pair, number, window))
        for number, step in steps:
            await played[number % len(played)].do(*step)
            assert all(one.bounded() for one in played)
        for one in played:
            for end in one.ends:
                end.read(None)
        done = await pair.until(lambda: all(one.settled() for one in played))
        assert done, [(one.closed, one.eof, [end.lost for end in one.ends]) for one in played]
        await pair.until(lambda: False)  # and nothing comes after it
        for one in played:
            one.check()
        assert all(connection._transport is not None for connection in pair.connections)


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
@settings(max_examples=EXAMPLES)
@given(
    cipher=st.sampled_from(CIPHERS),
    rekey=st.sampled_from([1 << 30, 1 << 30, 60_000, 5000]),
    channels=st.lists(
        st.tuples(st.sampled_from([1, 100, 5000, 40_000, 130_000, 1 << 21]), st.sampled_from([1000, 32768, 262_144])),
        min_size=1,
        max_size=2,
    ),
    steps=st.lists(st.tuples(SIDES, STEPS), max_size=40),
    pieces=st.lists(PIECES, max_size=6).map(lambda some: [*some, 20_000]),
    takes_views=st.booleans(),
)
def test_streams(kinds: tuple[str, str], **case: Any) -> None:
    event(case["cipher"])
    asyncio.run(play(kinds, **case))


async def relay(
    kinds: tuple[str, str, str, str],
    ciphers: tuple[str, str],
    rekeys: tuple[int, int],
    channels: tuple[tuple[int, int], tuple[int, int]],
    steps: list[tuple[str, int, Any]],
    pieces: list[int],
) -> None:
    near_kinds, far_kinds = (kinds[0], kinds[1]), (kinds[2], kinds[3])
    async with (
        joined(near_kinds, cipher=ciphers[0], rekey=rekeys[0], pieces=pieces) as near,
        joined(far_kinds, cipher=ciphers[1], rekey=rekeys[1], pieces=pieces) as far,
    ):
        await near.open(*channels[0])
        await far.open(*channels[1])
        inner: tuple[End, End] = near.ends[1][0], far.ends[0][0]
        outer: tuple[End, End] = near.ends[0][0], far.ends[1][0]
        inner[0].onto, inner[1].onto = inner[1], inner[0]
        sent = bytearray(), bytearray()

        def arrived() -> bool:
            return len(outer[0].got) == len(sent[1]) and len(outer[1].got) == len(sent[0])

        for what, side, number in steps:
            if what == "write":
                data = NOISE[len(sent[side]) :][: min(number, 100 * min(channels[0][0], channels[1][0]))]
                sent[side].extend(data)
                write(outer[side].channel, data)
            elif what == "sip":
                outer[side].read(number)
                await near.until(arrived)
                await far.until(arrived)
            elif what == "rekey":
                connection = (*near.connections, *far.connections)[number]
                connection._rekey_bytes_sent = connection._rekey_bytes
            else:
                await (near, far)[side].carry(number % 2, number)
            for end, (window, _) in zip((*inner, *outer), (*channels, *channels), strict=True):
                assert end.held <= window
        for end in outer:
            end.read(None)
            end.channel.write_eof()
        for _ in range(10_000):
            if arrived() and all(end.eof for end in outer):
                break
            await near.until(lambda: False)
            await far.until(lambda: False)
        assert outer[0].got == sent[1]
        assert outer[1].got == sent[0]
        assert all(end.eof for end in outer)
        assert [end.exc for end in (*inner, *outer)] == [None] * 4


CHANNELS = st.tuples(st.sampled_from([100, 5000, 40_000, 1 << 21]), st.sampled_from([1000, 32768, 262_144]))


@settings(max_examples=EXAMPLES * 2)
@given(
    kinds=st.tuples(*[st.sampled_from(["fast", "fast", "off"])] * 4),
    ciphers=st.tuples(st.sampled_from(CIPHERS), st.sampled_from(CIPHERS)),
    rekeys=st.tuples(st.sampled_from([1 << 30, 60_000]), st.sampled_from([1 << 30, 60_000])),
    channels=st.tuples(CHANNELS, CHANNELS),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), SIDES, SIZES),
            st.tuples(st.just("sip"), SIDES, st.sampled_from([1, 1000, 50_000])),
            st.tuples(st.just("rekey"), SIDES, st.integers(0, 3)),
            st.tuples(st.just("carry"), SIDES, PIECES),
        ),
        max_size=30,
    ),
    pieces=st.lists(PIECES, max_size=6).map(lambda some: [*some, 20_000]),
)
def test_streams_through_a_relay(**case: Any) -> None:
    asyncio.run(relay(**case))
