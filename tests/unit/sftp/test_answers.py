"""Answers that are as they should be, those that hold too much, and those that hold too little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.errors import UspError
from usp.sftp import answers
from usp.sftp.ops import EXTENSIONS, LIMITS, OPEN, OPS, Op
from usp.sftp.wire import packet, string, u32, u64

STAT, READDIR, REALPATH = OPS[17], OPS[12], OPS[16]
STATVFS, USERS = EXTENSIONS[b"statvfs@openssh.com"], EXTENSIONS[b"users-groups-by-id@openssh.com"]
SIZE, OWNER, MODE, TIMES, EXTENDED = 1, 2, 4, 8, 0x80000000
ALL = u32(SIZE | OWNER | MODE | TIMES | EXTENDED)
FULL = ALL + u64(5) + u32(1) + u32(2) + u32(0o644) + u32(8) + u32(9) + u32(1) + string(b"name") + string(b"value")
BARE = string(b"a") + string(b"-rw-") + u32(0)


def body(kind: int, *parts: bytes) -> bytes:
    return packet(kind, u32(7), *parts)[4:]


GOOD: list[tuple[Op, bytes]] = [
    (OPEN, body(102, string(b"h" * 256))),
    (STAT, body(105, FULL)),
    (STAT, body(105, u32(0))),
    (READDIR, body(104, u32(0))),
    (READDIR, body(104, u32(2), BARE, string(b"b") + string(b"") + FULL)),
    (REALPATH, body(104, u32(1), BARE)),
    (LIMITS, body(201, *[u64(1)] * 4)),
    (STATVFS, body(201, *[u64(1)] * 11)),
    (USERS, body(201, string(b"u"), string(b"g"))),
]


@pytest.mark.parametrize(("op", "answer"), GOOD, ids=lambda each: each.name if isinstance(each, Op) else "")
def test_what_is_right_passes_and_what_is_cut_short_does_not(op: Op, answer: bytes) -> None:
    assert answers.clean(op, answer) == answer
    assert answers.clean(op, answer + b"more") == answer
    for end in range(5, len(answer)):
        with pytest.raises(UspError, match=r"shorter than what it claims to hold|without a name"):
            answers.clean(op, answer[:end])


def test_flags_that_version_3_does_not_have_are_left_out() -> None:
    strange = u32(MODE | 0x10 | 0x400) + u32(0o644)
    plain = u32(MODE) + u32(0o644)
    assert answers.clean(STAT, body(105, strange, b"more")) == body(105, plain)
    name = string(b"a") + string(b"")
    listed = body(104, u32(2), name + strange, name + FULL, b"more")
    assert answers.clean(READDIR, listed) == body(104, u32(2), name + plain, name + FULL)


@pytest.mark.parametrize(
    ("op", "answer", "msg"),
    [
        (OPEN, body(102, string(b"h" * 9)[:-1]), "shorter"),
        (REALPATH, body(104, u32(0)), "NAME without a name"),
        (READDIR, body(104, u32(1), string(b"a\0"), string(b""), u32(0)), "a name with a NUL byte"),
        (READDIR, body(104, u32(2**32 - 1), BARE), "shorter"),
        (STAT, body(105, u32(EXTENDED), u32(2**32 - 1)), "shorter"),
    ],
)
def test_what_makes_no_sense(op: Op, answer: bytes, msg: str) -> None:
    with pytest.raises(UspError, match=msg):
        answers.clean(op, answer)


def status(*parts: bytes) -> bytes:
    return packet(101, u32(7), *parts)


@pytest.mark.parametrize(
    ("answer", "instead"),
    [
        (status(u32(4), string(b"no"), string(b"en")), None),
        (status(u32(0), string(b""), string(b"")), None),
        (status(u32(4), string(b"no"), string(b"en"), b"more"), status(u32(4), string(b"no"), string(b"en"))),
        (status(u32(4), string(b"a longer text")), status(u32(4), string(b"a longer text"), string(b""))),
        (status(u32(4), string(b"no")), status(u32(4), string(b"no"), string(b""))),
        (status(u32(4)), status(u32(4), string(b""), string(b""))),
    ],
)
def test_the_texts_of_a_status(answer: bytes, instead: bytes | None) -> None:
    assert answers.status(b"before" + answer, 10, len(answer) - 4) == instead


@given(st.binary(min_size=9, max_size=40))
def test_any_status(data: bytes) -> None:
    try:
        passes = answers.status(data, 0, len(data)) or packet(data[0], data[1:])
    except UspError:
        return
    assert answers.status(passes, 4, len(passes) - 4) is None


@pytest.mark.parametrize(
    "parts",
    [(u32(4), b"\0"), (u32(4), u32(1)), (u32(4), string(b"no"), b"\0"), (u32(4), string(b"a longer text"), u32(9))],
)
def test_a_status_that_is_cut_short(parts: tuple[bytes, ...]) -> None:
    answer = status(*parts)
    with pytest.raises(UspError, match="shorter than what it claims to hold"):
        answers.status(answer, 4, len(answer) - 4)
