"""The quarantine of a channel: what it lets pass, keeps and hides, by playbooks (see `stage`)."""

from __future__ import annotations

import pytest

from tests.unit.sftp.playbook import encode
from tests.unit.sftp.stage import CLOSED, GREETING, OPENED, RENAME, RENAMED, WRITTEN, check, scan, scanned
from usp.sftp.quarantine import Quarantine
from usp.sftp.wire import string, u32

NAMES = "target -> NAME 5 {}\n"


def names(*listed: bytes) -> str:
    entries = b"".join(string(name) + string(b"-rw- " + name) + u32(0) for name in listed)
    return (u32(len(listed)) + entries).hex()


def test_what_has_nothing_to_do_with_uploads_passes() -> None:
    check("""
        partner -> OPEN 1 /in/a 0x01 -
        target <- OPEN 1 /in/a 1 -
        target -> HANDLE 1 h
        partner <- HANDLE 1 h
        partner -> READ 2 h 0 100
        target <- READ 2 h 0 100
        partner -> RENAME 3 a b
        target <- RENAME 3 a b
        partner -> FSETSTAT 4 h 0o600
        target <- FSETSTAT 4 h 0o600
        partner -> EXTENDED 5 limits@openssh.com
        target <- EXTENDED 5 limits@openssh.com
        target -> DATA 2 abc
        partner <- DATA 2 abc
        target -> STATUS 3 0 ok en
        partner <- STATUS 3 0 ok en
        partner -> CLOSE 6 h
        target <- CLOSE 6 h
        target -> STATUS 6 0 ok en
        partner <- STATUS 6 0 ok en
        """)


def test_what_is_malformed_is_left_to_the_relay_or_told() -> None:
    quarantine = Quarantine(scan(), lambda: "T", 1000)
    quarantine.from_relay([encode("INIT 3")])
    not_a_version = encode("STATUS 1 0 ok en")
    assert quarantine.from_target(not_a_version).to_relay == [not_a_version]
    short = bytes.fromhex("00000001 65")
    assert quarantine.from_target(short).to_relay == [short]
    assert quarantine.from_target(bytes.fromhex("00100000")).wrong == "a packet of 1048576 bytes"


def test_temporary_names_are_hidden() -> None:
    asked = "partner -> READDIR 5 d\ntarget <- READDIR 5 d\n"
    kept = f"partner <- NAME 5 {names(b'a', b'b')}\n"
    check(asked + NAMES.format(names(b"a", b"b")) + kept)
    check(asked + NAMES.format(names(b"a", b".usp-scan-1", b"b", b".USP-SCAN-2")) + kept)
    unlike = names(b"a", b"x.usp-scan-1")
    check(asked + NAMES.format(unlike) + f"partner <- NAME 5 {unlike}\n")
    check(asked + NAMES.format(names(b".usp-scan-1")) + "target <- READDIR 5 d\n" + NAMES.format(names(b"b"))
          + f"partner <- NAME 5 {names(b'b')}\n")  # fmt: skip
    check(asked + "target -> STATUS 5 1 end en\npartner <- STATUS 5 1 end en\n")
    check(asked + "target -> NAME 5 00000009 0000000a 2e7573702d7363616e2d\nwrong the packet is shorter than what it "
          "claims to hold")  # fmt: skip


@pytest.mark.parametrize(
    "request_",
    [
        "OPEN 1 /in/.usp-scan-T 0x1 -",
        "STAT 1 .USP-SCAN-T/x",
        "REMOVE 1 /.usp-scan-T",
        "RENAME 1 a /.usp-scan-T",
        "EXTENDED 1 hardlink@openssh.com /.usp-scan-T b",
    ],
)
def test_temporary_names_are_nobodys(request_: str) -> None:
    check(f'partner -> {request_}\npartner <- STATUS 1 2 "No such file" en')


def test_a_refusal_waits_for_the_end_of_a_packet() -> None:
    quarantine = Quarantine(scan(), lambda: "T", 1000)
    quarantine.from_relay([encode("INIT 3"), encode("READ 1 h 0 9")])
    quarantine.from_target(encode("VERSION 3"))
    data = encode("DATA 1 abcdefghi")
    assert quarantine.from_target(data[:15]).to_relay == [data[:15]]
    assert quarantine.from_relay([encode("WRITE 2 h 0 x")]).to_relay == []
    refused = encode('STATUS 2 3 "the file is not open to write" en')
    assert b"".join(map(bytes, quarantine.from_target(data[15:]).to_relay)) == data[15:] + refused


def test_nothing_is_written_past_it() -> None:
    no = 'partner <- STATUS {} 3 "the file is not open to write" en\n'
    check(
        "partner -> WRITE 1 r 0 x\n"
        + no.format(1)
        + "partner -> FSETSTAT 2 r -\ntarget <- FSETSTAT 2 r -\n"
        + "partner -> RAW 00000016 0a 00000003 00000001 72 00000001 0000000000000005\n"
        + no.format(3)
        + "partner -> EXTENDED 4 copy-data h 0 0 r 0\n"
        + no.format(4)
    )


def test_the_name_is_the_temporary_file_while_it_is_written() -> None:
    check(
        WRITTEN
        + """\
partner -> STAT 4 /in/a/
target <- STAT 4 /in/.usp-scan-T
target -> ATTRS 4 00000000
partner <- ATTRS 4 00000000
partner -> LSTAT 5 /in/b
target <- LSTAT 5 /in/b
partner -> EXTENDED 6 lsetstat@openssh.com /in/a 0o600
target <- EXTENDED 6 lsetstat@openssh.com /in/.usp-scan-T 0o600
partner -> RAW 0000001a 09 00000007 00000005 2f696e2f61 00000001 0000000000000005
partner <- STATUS 7 3 "the file is being uploaded" en
partner -> REMOVE 8 /in/a
target <- REMOVE 8 /in/a
"""
        + CLOSED
        + """\
partner -> SETSTAT 7 /in/a 0o600
target <- SETSTAT 7 /in/.usp-scan-T 0o600
judged 1 clean
"""
        + RENAME
        + scanned(passed=True)
        + """\
partner -> STAT 9 /in/a
target <- STAT 9 /in/a
"""
        + RENAMED
    )


@pytest.mark.parametrize(
    "changed",
    ["EXTENDED 4 copy-data h 0 0 h 9", "RAW 00000016 0a 00000004 00000001 68 00000001 0000000000000005"],
)
def test_what_else_changes_the_file(changed: str) -> None:
    quarantine = Quarantine(scan(), lambda: "T", 1000)
    for line in (GREETING + WRITTEN).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            (quarantine.from_relay([encode(text)]) if side == "partner" else quarantine.from_target(encode(text)))
    flow = quarantine.from_relay([encode(changed)])
    assert list(map(str, flow.orders)) == ["Drop(number=1)"]
    assert b"".join(map(bytes, flow.to_target)) == encode(changed)


def test_what_is_excluded_is_not_scanned() -> None:
    told = "record Scanned(path=b'/in/B.CSV', finding=<Finding.EXCLUDED: 'excluded'>, text='', size=0, passed=True)\n"
    opened = "partner -> OPEN 1 /in/B.CSV 0x06 -\ntarget <- OPEN 1 /in/B.CSV 6 -\n" + told
    check(
        opened
        + """\
target -> HANDLE 1 h
partner <- HANDLE 1 h
partner -> WRITE 2 h 0 abc
target <- WRITE 2 h 0 abc
partner -> EXTENDED 3 copy-data h 0 0 h 9
target <- EXTENDED 3 copy-data h 0 0 h 9
partner -> CLOSE 4 h
target <- CLOSE 4 h
partner -> WRITE 5 h 0 abc
partner <- STATUS 5 3 "the file is not open to write" en
""",
        exclude=("*.csv",),
    )
    check(opened + "target -> STATUS 1 3 no en\npartner <- STATUS 1 3 no en\n", exclude=("*.csv",))


def test_verdicts_that_come_too_late_and_what_is_left() -> None:
    check("judged 9 clean\nmore 9\nabandon\nfinish")
    check(
        WRITTEN
        + """\
partner -> OPEN 4 /b 0x1a -
target <- LSTAT 4 /b
finish
record LeftBehind(path=b'/in/.usp-scan-T', real=b'/in/a', status=None)
"""
    )


def test_all_of_it() -> None:
    """A write fails, so it is read back, bit by bit; another is refused, and left when the partner goes."""
    check(
        OPENED
        + """\
partner -> WRITE 2 h 0 abc
target <- WRITE 2 h 0 abc
order Begin(number=1, path=b'/in/a')
order Content(number=1, data=b'abc')
target -> STATUS 2 4 full en
partner <- STATUS 2 4 full en
order Drop(number=1)
judged 1 clean
partner -> CLOSE 3 h
target <- CLOSE 3 h
target -> STATUS 3 0 ok en
target <- OPEN 3 /in/.usp-scan-T 1 -
target -> HANDLE 3 r
target <- READ 3 r 0 32768
target -> DATA 3 ab
order Begin(number=2, path=b'/in/a')
order Content(number=2, data=b'ab')
more 2
target <- READ 3 r 2 32768
more 2
eof
partner -> OPEN 4 b 0x1a -
target <- LSTAT 4 b
target -> STATUS 4 2 none en
target <- OPEN 4 .usp-scan-T 42 -
target -> HANDLE 4 g
partner <- HANDLE 4 g
partner -> WRITE 5 g 0 x
target <- WRITE 5 g 0 x
order Begin(number=3, path=b'b')
order Content(number=3, data=b'x')
judged 3 infected
partner -> WRITE 6 g 1 y
partner <- STATUS 6 3 "refused by the content scan" en
eof
target <- CLOSE 1 g
target -> STATUS 1 0 ok en
target <- REMOVE 1 .usp-scan-T
target -> STATUS 1 0 ok en
abandon
target -> STATUS 3 1 end en
target <- CLOSE 3 r
order End(number=2)
target -> STATUS 3 0 ok en
target <- REMOVE 3 /in/.usp-scan-T
order Drop(number=2)
target -> STATUS 3 0 ok en
partner <- STATUS 3 4 "the upload was abandoned" en
""",
    )


def test_a_refusal_does_not_come_before_version() -> None:
    quarantine = Quarantine(scan(), lambda: "T", 1000)
    assert quarantine.from_relay([encode("INIT 3"), encode("REMOVE 1 .usp-scan-1")]).to_relay == []
    greeted = b"".join(map(bytes, quarantine.from_target(encode("VERSION 3")).to_relay))
    assert greeted == encode("VERSION 3") + encode('STATUS 1 2 "No such file" en')
