"""What is behind a handle."""

from __future__ import annotations

import pytest

from usp.sftp.files import File, opened
from usp.sftp.ops import OPEN, OPENDIR, OpenFlag
from usp.sftp.packets import Request
from usp.sftp.records import FileClosed, Opened


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
    file = File.of(Opened(b"/a", False, True, True, 0))
    file.bytes_read, file.bytes_written, file.failures = 5, 6, 1
    assert file.closed(4) == FileClosed(b"/a", True, True, 5, 6, 1, 4)
    assert file.closed(None).status is None
