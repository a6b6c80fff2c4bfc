"""A hostile peer that is logged in: packets that are corrupted on the way, and well-sealed ones that make no sense.

The first always end the connection with a DISCONNECT, and nothing of them or after them is delivered. Of the second the
fast path thinks as asyncssh itself does, down to the text of the error.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import String, UInt32
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ssh.pump import KINDS, Joined, ServerEnd, joined

CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]
PIECES = st.lists(st.sampled_from([1, 2, 3, 4, 5, 19, 20, 21, 36, 100, 1000, 32768]), max_size=4).map(
    lambda some: [*some, 20_000]
)
EXAMPLES = settings().max_examples
GARBAGE = os.urandom(300_000)
"""More than a packet may be long: whatever length was made up is satisfied, or refused."""

NUMBERS = st.sampled_from([0, 0, 0, 0, 1, 2, 77, 2**31, 2**32 - 1])
KINDS_OF_PACKETS = st.one_of(st.sampled_from([94, 94, 94, 93, 93, 95, 96, 97, 98, 4]), st.integers(0, 255))
BODIES = st.one_of(
    st.integers(0, 3000).map(lambda size: String(GARBAGE[:size])),
    st.sampled_from([0, 1, 100, 2**31, 2**32 - 1]).map(UInt32),
    st.tuples(st.sampled_from([0, 1, 9, 5000, 2**32 - 1]), st.integers(0, 20)).map(
        lambda lie: UInt32(lie[0]) + GARBAGE[: lie[1]]
    ),
    st.binary(max_size=12),
    st.sampled_from(["signal", "exit-status", "subsystem", "keepalive@openssh.com"]).map(
        lambda name: String(name) + b"\1" + String("x")
    ),
)
PADDING = st.one_of(st.none(), st.none(), st.none(), st.sampled_from([0, 1, 3, 4, 12, 200, 255]))


def text(kind: int, number: int, body: bytes, padding: int | None) -> bytes:
    """What is sealed: the padding's length, the payload, the padding. None: as it should be."""
    payload = bytes([kind]) + UInt32(number) + body
    if padding is None:
        padding = 4 + -(len(payload) + 9) % 16
        return bytes([padding]) + payload + bytes(padding)
    return bytes([padding]) + payload + bytes(8)  # which may be fewer or more


TEXTS = st.one_of(
    st.builds(text, KINDS_OF_PACKETS, NUMBERS, BODIES, PADDING),
    st.builds(text, st.just(94), st.just(0), st.integers(0, 3000).map(lambda size: String(GARBAGE[:size])), st.none()),
    st.binary(min_size=12, max_size=24),  # below that asyncssh's own reading is off; RFC 4253 does not allow it
).filter(lambda text: text[1] != 2)  # nobody but asyncssh looks into an IGNORE


async def deliver(pair: Joined, pieces: list[int]) -> None:
    """To the server, who is not heard."""
    for size in itertools.cycle(pieces):
        if not pair.ways[0].waiting:
            break
        await pair.carry(0, size)
    for _ in range(30):
        await asyncio.sleep(0)


def seal(connection: Any, packet: bytes) -> bytes:
    sealed, tag = connection._send_encryption.encrypt_packet(connection._send_seq, UInt32(len(packet)), packet)
    connection._send_seq += 1
    return bytes(sealed + tag)


async def heard(kind: str, cipher: str, texts: list[bytes], pieces: list[int], paused: bool) -> tuple[Any, ...]:
    """What a server makes of them: what it delivered, and how it ended."""
    async with joined(("asyncssh", kind), cipher=cipher) as pair:
        await pair.open(4000, 32768)
        end: ServerEnd = pair.ends[1][0]
        if paused:
            end.channel.pause_reading()
        for one in texts:
            pair.ways[0].write(seal(pair.connections[0], one))
        await deliver(pair, pieces)
        if not end.lost:
            end.read(None)
        assert kind == "asyncssh" or end.exc is None or isinstance(end.exc, asyncssh.DisconnectError)
        return bytes(end.got), bytes(end.errors), end.eof, end.lost, str(end.exc)


@pytest.mark.parametrize("cipher", CIPHERS)
@settings(max_examples=EXAMPLES * 3 // 5)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), pieces=PIECES, paused=st.booleans())
def test_what_makes_no_sense(cipher: str, texts: list[bytes], pieces: list[int], paused: bool) -> None:
    reference = asyncio.run(heard("asyncssh", cipher, texts, [1 << 20], paused))
    for kind in ("fast", "off"):
        assert asyncio.run(heard(kind, cipher, texts, pieces, paused)) == reference, (texts, kind, pieces, paused)


async def corrupted(
    kind: str, cipher: str, sizes: list[int], where: float, how: str, much: int, pieces: list[int]
) -> None:
    async with joined(("asyncssh", kind), cipher=cipher) as pair:
        await pair.open(1 << 20, 32768)
        client, server, way = pair.ends[0][0], pair.ends[1][0], pair.ways[0]
        ends, sent = [0], bytearray()
        for size in sizes:
            client.channel.write(GARBAGE[:size])
            sent += GARBAGE[:size]
            ends.append(len(way.waiting))
        good = bytes(way.waiting)
        damage(way.waiting, int(where * (len(good) - 1)), how, much)
        way.waiting += GARBAGE
        changed = (at for at, (was, now) in enumerate(zip(good, way.waiting, strict=False)) if was != now)
        at = next(changed, len(good))
        whole = sum(size for size, end in zip(sizes, ends[1:], strict=True) if end <= at)
        await deliver(pair, pieces)
        assert isinstance(server.exc, asyncssh.ProtocolError | asyncssh.MACError), server.exc
        assert bytes(server.got) == bytes(sent[:whole]), "all that came before it, and nothing else"
        assert pair.connections[1]._transport is None


def damage(data: bytearray, at: int, how: str, much: int) -> None:
    if how == "flip":
        data[at] ^= 1 << much % 8
    elif how == "cut out":
        del data[at : at + 1 + much]
    elif how == "put in":
        data[at:at] = GARBAGE[: 1 + much]
    else:
        data[at:at] = data[at : at + 1 + much][::-1] + b"\0"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=EXAMPLES)
@given(
    cipher=st.sampled_from(CIPHERS),
    sizes=st.lists(st.sampled_from([1, 100, 5000, 32768]), min_size=1, max_size=4),
    where=st.floats(0, 1),
    how=st.sampled_from(["flip", "flip", "cut out", "put in", "mix up"]),
    much=st.integers(0, 100),
    pieces=PIECES,
)
def test_what_was_changed_on_the_way(kind: str, **case: Any) -> None:
    asyncio.run(corrupted(kind, **case))
