"""Every record of the relay as a fact for the audit log."""

from __future__ import annotations

import pytest

from usp.scan import Finding
from usp.server.audit import JsonValue, facts, sent
from usp.sftp.records import Changed, Denied, FileClosed, LeftBehind, Observed, Opened, Record, Scanned, Spent

NO_TIME: dict[str, JsonValue] = {"seconds": 0.0, "waited_partner": 0.0, "waited_target": 0.0}
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
            **NO_TIME,
            "mode": "r",
            "direction": "download",
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
            **NO_TIME,
            "mode": "w",
            "direction": "upload",
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
            **NO_TIME,
            "mode": "w",
            "direction": "upload",
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


def test_a_file_says_how_it_went() -> None:
    spent = Spent(2.0, 0.5, 0.25, 1.0, 0.25)
    told = facts(FileClosed(b"/a", True, True, 500, 500, 0, 4, b"no\nspace", True, True, "ab", "", spent))
    assert (told["direction"], told["seconds"], told["rate"], told["ranges"]) == ("both", 2.0, 500, "complete")
    assert [told[f"waited_{side}"] for side in ("partner", "target", "tunnel", "gateway")] == [0.5, 0.25, 1.0, 0.25]
    assert (told["eof"], told["sha256"], told["status"], told["text"]) == (True, "ab", 4, "no\\nspace")
    assert "sha256_reason" not in told
    partial = facts(FileClosed(b"/a", False, True, 0, 5, 0, 0, complete=False, unhashed="not sequential"))
    assert (partial["ranges"], partial["sha256_reason"]) == ("partial", "not sequential")
    assert facts(FileClosed(b"/a", False, True, 0, 0, 0, 0))["direction"] == "upload"
    assert facts(FileClosed(b"/a", True, False, 0, 0, 0, 0))["direction"] == "download"
    assert facts(Changed("remove", (b"/a",), 4, text=b"busy"))["text"] == "busy"


def test_paths_as_they_were_sent() -> None:
    def at_target(path: bytes) -> bytes:
        return b"/partners/acme" + path

    assert sent(FileClosed(b"/a", True, False, 0, 0, 0, 0), at_target) == {"sent": "/partners/acme/a"}
    assert sent(Opened(b"/a", False, True, False, 2), at_target) == {"sent": "/partners/acme/a"}
    assert sent(Changed("rename", (b"/a", b"/b"), 0), at_target) == {
        "sent": "/partners/acme/a",
        "sent_to": "/partners/acme/b",
    }
    assert sent(Changed("rmdir", (b"/a",), 0), at_target) == {"sent": "/partners/acme/a"}
    scanned = Scanned(b"/a", Finding.CLEAN, "", 1, True)
    assert sent(scanned, at_target) == {"sent": "/partners/acme/a"}
    assert sent(LeftBehind(b"/t", b"/a", 4), at_target) == {"sent": "/partners/acme/t", "sent_to": "/partners/acme/a"}
    assert sent(Changed("x", (), 0), at_target) == sent(Denied("x", (b"/a",), 3, "no"), at_target) == {}
