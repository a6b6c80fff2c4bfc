"""Every record of the relay as a fact for the audit log."""

from __future__ import annotations

import pytest

from usp.scan import Finding
from usp.server.audit import JsonValue, facts
from usp.sftp.records import Changed, Denied, FileClosed, LeftBehind, Observed, Opened, Record, Scanned

RECORDS: list[tuple[Record, dict[str, JsonValue]]] = [
    (
        Scanned(b"/a", Finding.INFECTED, "Eicar", 68, passed=False),
        {
            "event": "file.scanned",
            "path": "/a",
            "verdict": "infected",
            "text": "Eicar",
            "size": 68,
            "outcome": "denied",
        },
    ),
    (
        Scanned(b"/a", Finding.CLEAN, "", 3, passed=True),
        {"event": "file.scanned", "path": "/a", "verdict": "clean", "size": 3, "outcome": "ok"},
    ),
    (
        LeftBehind(b"/.usp-scan-1", b"/a", None),
        {"event": "file.left_behind", "path": "/.usp-scan-1", "to": "/a", "outcome": "unfinished"},
    ),
    (
        Opened(b"/a", directory=False, reads=True, writes=True, status=0),
        {"event": "file.opened", "path": "/a", "mode": "rw", "outcome": "ok"},
    ),
    (
        Opened(b"/a\n", directory=False, reads=False, writes=True, status=3),
        {"event": "file.opened", "path": "/a\\n", "mode": "w", "status": 3, "outcome": "failed"},
    ),
    (
        Opened(b"/d", directory=True, reads=True, writes=False, status=None),
        {"event": "directory.opened", "path": "/d", "outcome": "unfinished"},
    ),
    (
        FileClosed(b"/a", True, False, 5, 0, 0, 0),
        {
            "event": "file.closed",
            "path": "/a",
            "mode": "r",
            "bytes_read": 5,
            "bytes_written": 0,
            "failures": 0,
            "outcome": "ok",
        },
    ),
    (
        FileClosed(b"/a", False, True, 0, 7, 2, 0),
        {
            "event": "file.closed",
            "path": "/a",
            "mode": "w",
            "bytes_read": 0,
            "bytes_written": 7,
            "failures": 2,
            "outcome": "failed",
        },
    ),
    (
        FileClosed(b"/a", False, True, 0, 7, 2, None),
        {
            "event": "file.closed",
            "path": "/a",
            "mode": "w",
            "bytes_read": 0,
            "bytes_written": 7,
            "failures": 2,
            "outcome": "unfinished",
        },
    ),
    (
        Changed("posix-rename@openssh.com", (b"/a", b"/b"), 0),
        {"event": "file.posix-rename", "path": "/a", "to": "/b", "outcome": "ok"},
    ),
    (Changed("remove", (b"/a",), 2), {"event": "file.remove", "path": "/a", "status": 2, "outcome": "failed"}),
    (
        Observed("posix-rename@openssh.com", (b"/a", b"/b"), "rename is not allowed"),
        {
            "event": "file.posix-rename",
            "path": "/a",
            "to": "/b",
            "reason": "rename is not allowed",
            "outcome": "observed",
        },
    ),
    (
        Denied("extended", (), 8, "unknown"),
        {"event": "file.extended", "status": 8, "reason": "unknown", "outcome": "denied"},
    ),
]


@pytest.mark.parametrize(("record", "expected"), RECORDS)
def test_facts(record: Record, expected: dict[str, JsonValue]) -> None:
    assert facts(record) == expected
