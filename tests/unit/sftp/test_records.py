from __future__ import annotations

import pytest

from usp.sftp.records import Changed, FileClosed, Opened, Spent, printable


@pytest.mark.parametrize(("status", "ok"), [(0, True), (4, False), (None, False)])
def test_ok_means_that_the_target_said_so(status: int | None, ok: bool) -> None:
    assert Opened(b"/a", False, True, False, status).ok is ok
    assert Changed("remove", (b"/a",), status).ok is ok
    assert FileClosed(b"/a", True, False, 1, 0, 0, status).ok is ok


def test_a_file_with_a_failed_write_is_not_ok() -> None:
    assert not FileClosed(b"/a", False, True, 0, 9, 1, 0).ok


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/plain", "/plain"),
        ("/\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), "/\N{LATIN SMALL LETTER E WITH ACUTE}"),
        (b"caf\xe9", "caf\\xe9"),
        (b"a\nb\x1b", "a\\nb\\x1b"),
        (b"back\\x41", "back\\\\x41"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}".encode(), "\\u202e"),
    ],
)
def test_paths_in_print(path: bytes, text: str) -> None:
    assert printable(path) == text


def test_what_was_spent_since() -> None:
    assert Spent(9.0, 4.0, 3.0, 2.0, 1.0).since(Spent(5.0, 3.0, 1.0, 1.0, 0.5)) == Spent(4.0, 1.0, 2.0, 1.0, 0.5)
