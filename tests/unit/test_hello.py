from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.errors import UspError
from usp.hello import (
    LIMIT,
    Draining,
    Hello,
    HelloRefused,
    Lines,
    Welcome,
    agree,
    encode,
    from_client,
    from_server,
)

HELLO = Hello(name="client-1", version="1.2.3", instance="0123456789abcdef")


@pytest.mark.parametrize("message", [HELLO, Draining()])
def test_what_a_client_says_arrives(message: Hello | Draining) -> None:
    assert from_client(encode(message).rstrip(b"\n")) == message


@pytest.mark.parametrize(
    "message",
    [Welcome(server="s", slot=0, slots=4), HelloRefused(code="duplicate", message="there is one"), Draining()],
)
def test_what_a_server_says_arrives(message: Welcome | HelloRefused | Draining) -> None:
    assert from_server(encode(message).rstrip(b"\n")) == message


def test_fields_of_a_newer_release_are_ignored() -> None:
    line = json.dumps({**HELLO.model_dump(), "compression": "zstd"}).encode()
    assert from_client(line) == HELLO


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../etc"},
        {"name": ""},
        {"name": "x" * 256},
        {"version": "v\n"},
        {"version": "v" * 65},
        {"instance": "short"},
        {"protocol": "1"},
        {"op": "goodbye"},
    ],
)
def test_malformed_hellos_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UspError) as caught:
        from_client(json.dumps({**HELLO.model_dump(), **change}).encode())
    assert caught.value.code == "tunnel.hello_refused"


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read_never_more(line: bytes) -> None:
    for read in (from_client, from_server):
        try:
            read(line)
        except UspError as error:
            assert error.code == "tunnel.hello_refused"  # noqa: PT017


@pytest.mark.parametrize(
    ("mine", "theirs", "spoken"),
    [(1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 1, None), (1, 3, None), (7, 8, 7), (1, 0, None), (0, 1, None)],
)
def test_one_release_of_skew_is_spoken(mine: int, theirs: int, spoken: int | None) -> None:
    assert agree(mine, theirs) == spoken


@given(st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line), max_size=8), st.data())
def test_lines_do_not_depend_on_chunks(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    framing, got, at = Lines(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 60))
        got += framing.feed(stream[at : at + size])
        at += size
    assert got == lines


def test_a_long_line_is_refused_before_its_end() -> None:
    framing = Lines()
    assert framing.feed(b"x" * LIMIT) == []
    with pytest.raises(UspError, match="over 4096 bytes"):
        framing.feed(b"x")
    with pytest.raises(UspError, match="over 4096 bytes"):
        Lines().feed(b"x" * (LIMIT + 1) + b"\n")
