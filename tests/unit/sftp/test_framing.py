from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usp.errors import UspError
from usp.sftp.framing import DROP, FORWARD, MORE, Framer, Verdict
from usp.sftp.wire import Bytes, string

LIMIT = 4096


def look(data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
    """A packet says itself what is to become of it, and how much of it must be seen for that (2 bytes, hex)."""
    if have < 2 and have < length:
        return MORE
    if length < 2:
        return FORWARD
    need = min(data[at + 1] * 8, length)
    if have < need:
        return MORE
    verdicts: dict[bytes, Verdict | bytes] = {b"f": FORWARD, b"d": DROP, b"r": string(b"replaced")}
    return verdicts[bytes(data[at : at + 1])]


def expected(packets: list[bytes]) -> bytes:
    become = {b"f": None, b"d": b"", b"r": string(b"replaced")}
    return b"".join(string(p) if become[p[:1]] is None else become[p[:1]] or b"" for p in packets)


def run(framer: Framer, chunks: list[bytes]) -> bytes:
    out: list[Bytes] = []
    for chunk in chunks:
        framer.feed(chunk, out)
    return b"".join(out)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


PACKETS = st.lists(
    st.tuples(st.sampled_from([b"f", b"d", b"r"]), st.integers(0, 255), st.integers(0, 1200)).map(
        lambda made: made[0] + bytes([made[1]]) + b"x" * made[2]
    ),
    max_size=6,
)


@settings(max_examples=100)
@given(PACKETS, st.lists(st.integers(0, 9999), max_size=12))
def test_what_leaves_does_not_depend_on_chunks(packets: list[bytes], cuts: list[int]) -> None:
    framer = Framer(look, LIMIT)
    assert run(framer, pieces(b"".join(map(string, packets)), cuts)) == expected(packets)
    assert not framer.inside


def test_byte_by_byte() -> None:
    packets = [b"f\0", b"f\xff" + bytes(1500), b"r\x05" + bytes(700), b"d\x50" + bytes(700), b"f"]
    framer = Framer(look, LIMIT)
    data = b"".join(map(string, packets))
    assert run(framer, [data[i : i + 1] for i in range(len(data))]) == expected(packets)


def test_a_chunk_that_is_forwarded_leaves_as_the_same_object() -> None:
    framer, out = Framer(look, LIMIT), list[Bytes]()
    first = string(b"f\0" + bytes(100)) * 3 + string(b"f\0" + bytes(1000))[:500]
    second = string(b"f\0" + bytes(1000))[500:] + string(b"f\0")
    framer.feed(first, out)
    assert framer.inside
    framer.feed(second, out)
    assert out[0] is first
    assert out[1] is second


def test_others_leave_as_views() -> None:
    framer, out = Framer(look, LIMIT), list[Bytes]()
    data = string(b"d\0") + string(b"f\0") + string(b"d\0")
    framer.feed(data, out)
    [view] = out
    assert isinstance(view, memoryview)
    assert view.obj is data


def test_the_rest_of_a_dropped_packet_is_dropped_unseen() -> None:
    framer = Framer(look, LIMIT)
    data = string(b"d\0" + bytes(1000))
    assert run(framer, [data[:600], data[600:700], data[700:] + string(b"f\0")]) == string(b"f\0")


@pytest.mark.parametrize("length", [0, LIMIT + 1, 2**32 - 1])
@pytest.mark.parametrize("cut", [0, 2])
def test_a_bad_length_is_found_before_anything_is_kept(length: int, cut: int) -> None:
    framer, out = Framer(look, LIMIT), list[Bytes]()
    data = string(b"f\0") + length.to_bytes(4, "big") + b"f\0"
    framer.feed(data[: 6 + cut], out)
    with pytest.raises(UspError):
        framer.feed(data[6 + cut :], out)
    assert b"".join(out) == string(b"f\0")


def test_only_the_beginning_of_a_large_packet_is_kept() -> None:
    framer, out = Framer(look, 10**6), list[Bytes]()
    data = string(b"f\x10" + bytes(500_000))
    framer.feed(data[:3], out)
    framer.feed(data[3:40], out)
    assert not out
    rest = data[40:]
    framer.feed(rest, out)
    assert [len(chunk) for chunk in out] == [512, len(data) - 512]
    assert b"".join(out) == data


def test_an_insert_waits_for_the_end_of_the_packet() -> None:
    framer, out = Framer(look, LIMIT), list[Bytes]()
    assert framer.insert(b"now")
    first, second = string(b"f\0" + bytes(100)), string(b"f\0")
    framer.feed(first[:50], out)
    assert not framer.insert(b"INSERT1")
    assert not framer.insert(b"INSERT2")
    framer.feed(first[50:60], out)
    assert len(framer.inserted) == 2
    framer.feed(first[60:] + second, out)
    assert b"".join(out) == first + b"INSERT1INSERT2" + second
    assert not framer.inserted


def test_an_insert_need_not_wait_for_a_packet_that_nobody_sees() -> None:
    framer, out = Framer(look, LIMIT), list[Bytes]()
    framer.feed(string(b"d\0" + bytes(100))[:50], out)
    assert framer.insert(b"now")
    framer.feed(b"", out)
    assert not out


@pytest.mark.parametrize("sizes", [(3, 5, 100, 50), (2000, 1), (600, 700, 800)])
def test_a_tap_sees_the_rest_of_a_packet_and_no_more(sizes: tuple[int, ...]) -> None:
    body = b"f\0" + bytes(range(256)) * 4
    stream = string(body) + string(b"f\0next")
    seen: list[bytes] = []

    def tapping(data: Bytes, at: int, have: int, length: int) -> Verdict | bytes:
        verdict = look(data, at, have, length)
        if verdict is FORWARD and length == len(body):
            seen.append(bytes(data[at : at + have]))
            if have < length:
                framer.tap = lambda rest: seen.append(bytes(rest))
        return verdict

    framer = Framer(tapping, LIMIT)
    chunks, at = [], 0
    for size in (*sizes, len(stream)):
        chunks.append(stream[at : at + size])
        at += size
    assert run(framer, chunks) == stream
    assert b"".join(seen) == body
    assert framer.tap is None
