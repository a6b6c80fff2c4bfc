"""What is behind a handle."""

from __future__ import annotations

import hashlib

import pytest

from usp.sftp.files import File, Range, latest, opened
from usp.sftp.ops import OPEN, OPENDIR, OpenFlag, Status
from usp.sftp.packets import Request
from usp.sftp.records import FileClosed, Opened, Spent


@pytest.mark.parametrize(
    ("pflags", "reads", "writes"),
    [
        (OpenFlag.READ, True, False),
        (OpenFlag.WRITE, False, True),
        (OpenFlag.READ | OpenFlag.WRITE | OpenFlag.CREAT, True, True),
        (OpenFlag.WRITE | OpenFlag.TRUNC | OpenFlag.CREAT, False, True),
    ],
)
def test_an_open_says_what_for(pflags: OpenFlag, reads: bool, writes: bool) -> None:
    request = Request(OPEN, 7, (b"/a", pflags, b""), (b"/a",), pflags=pflags)
    assert opened(request, 0) == Opened(b"/a", False, reads, writes, 0)


def test_a_directory_is_no_file() -> None:
    told = opened(Request(OPENDIR, 7, (b"/d",), (b"/d",)), None)
    assert told == Opened(b"/d", True, False, False, None)
    assert File.of(told).directory


def test_a_closed_file_has_what_was_counted() -> None:
    file = File.of(Opened(b"/a", False, True, True, 0), Spent(10.0, 4.0, 3.0, 2.0, 1.0))
    file.read.add(0, 5)
    file.answered(Status.OK, 0, 6, write=True)
    file.answered(Status.FAILURE, 6, 1, write=True)
    file.answered(Status.EOF, 5, 1, write=False)
    closed = file.closed(4, b"full", Spent(20.0, 8.0, 6.0, 4.0, 2.0))
    assert closed == FileClosed(
        b"/a", True, True, 5, 6, 1, 4, b"full", complete=True, eof=True, spent=Spent(10.0, 4.0, 3.0, 2.0, 1.0)
    )
    assert File.of(Opened(b"/a", False, True, True, 0)).closed(None).complete is None


@pytest.mark.parametrize(
    ("pieces", "complete"),
    [
        ([(0, 4), (4, 4), (8, 1)], True),
        ([(4, 4), (0, 4)], True),
        ([(4, 4), (8, 4)], False),
        ([(0, 4), (8, 4)], False),
        ([(0, 4), (0, 4)], False),
    ],
)
def test_complete_is_from_the_beginning_without_a_hole(pieces: list[tuple[int, int]], complete: bool) -> None:
    moved = Range()
    for offset, amount in pieces:
        moved.add(offset, amount)
    assert moved.complete is complete


def hashed() -> File:
    file = File.of(Opened(b"/a", False, False, True, 0), hashed=True)
    assert file.digest is not None
    return file


def test_a_digest_of_pieces_that_come_in_parts() -> None:
    file = hashed()
    assert file.digest
    assert file.digest.take(0, 4, b"__abcd", 2, 6) is None
    rest = file.digest.take(4, 6, bytearray(b"ef"), 0, 2)
    assert rest is not None
    rest(memoryview(b"gh"))
    rest(memoryview(b"ij"))
    assert file.digest.take(10, 2, b"kl-trailing", 0, 11) is None
    closed = file.closed(0)
    assert (closed.sha256, closed.unhashed) == (hashlib.sha256(b"abcdefghijkl").hexdigest(), "")


def test_no_digest_of_what_does_not_come_in_order() -> None:
    for offset in (0, 7):
        file = hashed()
        assert file.digest
        file.digest.take(0, 4, b"abcd", 0, 4)
        assert file.digest.take(offset, 4, b"ab", 0, 2) is None
        assert file.digest.take(4, 4, b"efgh", 0, 4) is None, "and never again"
        closed = file.closed(0)
        assert (closed.sha256, closed.unhashed) == ("", "not sequential")


def test_no_digest_of_what_the_target_did_not_take() -> None:
    file = hashed()
    assert file.digest
    file.digest.take(0, 4, b"abcd", 0, 4)
    file.answered(Status.FAILURE, 6, 1, write=True)
    assert (file.closed(0).sha256, file.closed(0).unhashed) == ("", "a WRITE failed")
    read = File.of(Opened(b"/a", False, True, False, 0), hashed=True)
    read.answered(Status.FAILURE, 0, 4, write=False)
    assert read.closed(0).sha256 == hashlib.sha256().hexdigest()


def test_directories_have_no_digest() -> None:
    assert File.of(Opened(b"/d", True, False, False, 0), hashed=True).digest is None


def test_the_file_that_was_opened_last() -> None:
    def file(path: bytes, *, directory: bool = False) -> File:
        return File.of(Opened(path, directory, True, False, 0))

    assert latest({}) is None
    assert latest({b"d": file(b"/d", directory=True)}) is None
    handles = {b"1": file(b"/1"), b"2": file(b"/2"), b"d": file(b"/d", directory=True)}
    assert latest(handles) is handles[b"2"]
