r"""The session machine by playbooks (see `playbook`) and by properties (see `conversation`)."""

from __future__ import annotations

import hashlib
import itertools
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sftp import conversation
from tests.unit.sftp.playbook import GREETING, OPEN, OPEN_READ, OPENED_DIR, check, encode
from usp.sftp.ops import EXTENSIONS, OPS, Op, Packet, Status
from usp.sftp.packets import Attrs, Request
from usp.sftp.policy import Allow, AllowAll, Context, Decision, Deny
from usp.sftp.records import Changed, FileClosed, Opened, Record, Spent
from usp.sftp.relay import Close, Limits, Relay
from usp.sftp.root import Root
from usp.sftp.wire import packet, string, u32, u64


def opened() -> Relay:
    """A relay past the greeting, with the handles h (written) and d (a directory)."""
    relay = Relay()
    for line in (GREETING + OPEN + OPENED_DIR).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            (relay.from_inbound if side == "partner" else relay.from_outbound)(encode(text))
    return relay


# The greeting


def test_the_greeting_is_clamped_to_version_3_and_known_extensions() -> None:
    check(
        """
        partner -> INIT 6 newline x
        target <- INIT 3
        partner -> STAT 1 .                     # a client that does not wait
        target <- STAT 1 .
        target -> VERSION 3 versions 2,3,6 copy-data 1
        partner <- VERSION 3 copy-data 1
        """,
        before="",
    )


@pytest.mark.parametrize("packet", ["STAT 1 .", "VERSION 3", "RAW 00000001 01", "INIT 2", "RAW 00000000"])
def test_the_partner_must_begin_with_init(packet: str) -> None:
    check(f"partner -> {packet}\nclose partner protocol_error", before="")


def test_the_target_must_not_begin() -> None:
    check("target -> VERSION 3\nclose target protocol_error", before="")


@pytest.mark.parametrize("packet", ["VERSION 2", "VERSION 4", "STATUS 1 0 ok en", "RAW 00000003 020000"])
def test_the_target_must_answer_with_version_3(packet: str) -> None:
    check(f"partner -> INIT 3\ntarget <- INIT 3\ntarget -> {packet}\nclose target protocol_error", before="")


# What passes


def test_a_download() -> None:
    check(
        OPEN_READ
        + """\
partner -> READ 1 h 0 4
target <- READ 1 h 0 4
partner -> READ 2 h 4 4
target <- READ 2 h 4 4
target -> DATA 2 ab
partner <- DATA 2 ab
target -> DATA 1 abcd
partner <- DATA 1 abcd
partner -> READ 1 h 6 4
target <- READ 1 h 6 4
target -> STATUS 1 1 EOF en
partner <- STATUS 1 1 EOF en
partner -> CLOSE 1 h
target <- CLOSE 1 h
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
record FileClosed(path=b'/file', reads=True, writes=False, bytes_read=6, bytes_written=0, failures=0, status=0)
"""
    )


def test_an_upload_with_a_failed_write() -> None:
    check(
        OPEN
        + """\
partner -> WRITE 1 h 0 abcd
target <- WRITE 1 h 0 abcd
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
partner -> WRITE 2 h 4 ef
target <- WRITE 2 h 4 ef
target -> STATUS 2 4 full en
partner <- STATUS 2 4 full en
partner -> CLOSE 3 h
target <- CLOSE 3 h
target -> STATUS 3 0 ok en
partner <- STATUS 3 0 ok en
record FileClosed(path=b'/file', reads=False, writes=True, bytes_read=0, bytes_written=4, failures=1, status=0)
"""
    )


def test_what_follows_the_data_of_a_write_is_cut_off() -> None:
    """rclone's library sends the whole buffer of which it means the beginning; OpenSSH's server reads over the rest."""
    check(
        OPEN
        + """\
partner -> RAW 00000018 06 00000007 00000001 68 0000000000000000 00000001 7878
target <- WRITE 7 h 0 x
target -> STATUS 7 0 ok en
partner <- STATUS 7 0 ok en
"""
    )


def test_a_long_read_is_shortened_so_that_its_answer_passes() -> None:
    check(
        OPEN_READ
        + """\
partner -> READ 1 h 7 4294967295
target <- READ 1 h 7 261120
partner -> READ 2 h 7 5 ff
target <- READ 2 h 7 5
"""
    )


def test_a_directory_is_listed_without_a_record_of_its_close() -> None:
    check(
        OPENED_DIR
        + """\
partner -> READDIR 1 d
target <- READDIR 1 d
target -> NAME 1 00000000
partner <- NAME 1 00000000
partner -> CLOSE 2 d
target <- CLOSE 2 d
target -> STATUS 2 0 ok en
partner <- STATUS 2 0 ok en
"""
    )


def test_paths_are_forwarded_in_normal_form_and_nothing_after_them() -> None:
    check(
        r"""
        partner -> REALPATH 1 .
        target <- REALPATH 1 .
        partner -> STAT 2 ""
        target <- STAT 2 .
        partner -> STAT 3 a//b/../c\xff/
        target <- STAT 3 a/c\xff/
        partner -> LSTAT 4 /../x ffff
        target <- LSTAT 4 /x
        partner -> EXTENDED 5 expand-path@openssh.com ~/../x
        target <- EXTENDED 5 expand-path@openssh.com ~/../x
        """
    )


def test_what_changes_something_is_recorded_when_the_answer_is_known() -> None:
    check(
        f"""
        partner -> RENAME 1 a b
        target <- RENAME 1 a b
        partner -> SYMLINK 2 to link
        target <- SYMLINK 2 to link
        partner -> SETSTAT 3 /x 0o644
        target <- SETSTAT 3 /x 0o644
        target -> STATUS 2 3 no en
        partner <- STATUS 2 3 no en
        record Changed(op='symlink', paths=(b'to', b'link'), status=3, attrs=None)
        target -> STATUS 1 0 ok en
        partner <- STATUS 1 0 ok en
        record Changed(op='rename', paths=(b'a', b'b'), status=0, attrs=None)
        target -> STATUS 3 0 ok en
        partner <- STATUS 3 0 ok en
        record Changed(op='setstat', paths=(b'/x',), status=0, attrs={Attrs(permissions=0o644)})
        """
    )


def test_what_works_on_a_handle_is_recorded_with_its_path() -> None:
    check(
        OPEN
        + """\
partner -> EXTENDED 1 copy-data h 0 0 h 9
target <- EXTENDED 1 copy-data h 0 0 h 9
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
record Changed(op='copy-data', paths=(b'/file', b'/file'), status=0, attrs=None)
"""
    )


def test_an_open_that_fails() -> None:
    check(
        """
        partner -> OPEN 1 /a 0x3 -
        target <- OPEN 1 /a 3 -
        target -> STATUS 1 2 none en
        partner <- STATUS 1 2 none en
        record Opened(path=b'/a', directory=False, reads=True, writes=True, status=2)
        """
    )


def test_limits_are_clamped_to_what_passes() -> None:
    numbers = "".join(f"{n:016x}" for n in (0, 4 << 20, 1000, 0))
    clamped = "".join(f"{n:016x}" for n in (262144, 261120, 1000, 2048))
    check(
        f"""
        partner -> EXTENDED 1 limits@openssh.com
        target <- EXTENDED 1 limits@openssh.com
        target -> REPLY 1 {numbers}
        partner <- REPLY 1 {clamped}
        """
    )


# What is refused


def test_what_is_not_in_the_table_is_unsupported() -> None:
    check(
        """
        partner -> BLOCK 1 h 0 1 0
        partner <- STATUS 1 8 "Operation unsupported" en
        record Denied(op='packet type 22', paths=(), status=8, reason='Operation unsupported')
        partner -> EXTENDED 2 evil@example.com x
        partner <- STATUS 2 8 "Operation unsupported" en
        record Denied(op='extended evil@example.com', paths=(), status=8, reason='Operation unsupported')
        partner -> HANDLE 3 h
        partner <- STATUS 3 8 "Operation unsupported" en
        record Denied(op='packet type 102', paths=(), status=8, reason='Operation unsupported')
        """
    )


def test_paths_that_no_target_can_have() -> None:
    long = "x" * 4097
    check(
        rf"""
        partner -> STAT 1 a\x00b
        partner <- STATUS 1 4 "the path contains a NUL byte" en
        record Denied(op='stat', paths=(), status=4, reason='the path contains a NUL byte')
        partner -> RENAME 2 a {long}
        partner <- STATUS 2 4 "the path is longer than 4096 bytes" en
        record Denied(op='rename', paths=(), status=4, reason='the path is longer than 4096 bytes')
        """
    )


@pytest.mark.parametrize(
    ("line", "op"),
    [("READ 1 x 0 1", "read"), ("WRITE 1 x 0 data", "write"), ("CLOSE 1 x", "close"), ("FSTAT 1 x", "fstat")],
)
def test_handles_that_the_target_did_not_give(line: str, op: str) -> None:
    check(
        f"""
        partner -> {line}
        partner <- STATUS 1 4 "unknown handle" en
        record Denied(op='{op}', paths=(), status=4, reason='unknown handle')
        """
    )


def test_a_handle_is_dead_once_its_close_was_forwarded() -> None:
    check(
        OPEN
        + """\
partner -> CLOSE 1 h
target <- CLOSE 1 h
partner -> WRITE 2 h 0 x
partner <- STATUS 2 4 "unknown handle" en
record Denied(op='write', paths=(), status=4, reason='unknown handle')
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
record FileClosed(path=b'/file', reads=False, writes=True, bytes_read=0, bytes_written=0, failures=0, status=0)
"""
    )


def test_open_handles_are_bounded() -> None:
    check(
        OPEN
        + """\
partner -> OPENDIR 1 /
partner <- STATUS 1 4 "too many open handles" en
record Denied(op='opendir', paths=(b'/',), status=4, reason='too many open handles')
""",
        limits=Limits(handles=1),
    )


class Picky(AllowAll):
    """Nothing may be done to /file through its handle, and nothing at all to what is under /no."""

    def decide(self, request: Request, context: Context, /) -> Decision:
        if request.op.name == "fsetstat" and request.paths == (b"/file",):
            return Deny(Status.NO_SUCH_FILE, "gone")
        return Deny() if any(path.startswith(b"/no/") for path in request.paths) else Allow()


def test_what_the_policy_denies_is_answered_here() -> None:
    check(
        OPEN
        + """\
partner -> REMOVE 1 /yes/../no/x
partner <- STATUS 1 3 "Permission denied" en
record Denied(op='remove', paths=(b'/no/x',), status=3, reason='Permission denied')
partner -> FSETSTAT 1 h 0o777
partner <- STATUS 1 2 gone en
record Denied(op='fsetstat', paths=(b'/file',), status=2, reason='gone')
partner -> REMOVE 1 /yes/x
target <- REMOVE 1 /yes/x
""",
        policy=Picky(),
    )


class Bounded(AllowAll):
    """Files of 4 bytes; nothing may be removed."""

    max_size = 4
    holds_to_open = True

    def __init__(self, enforced: bool) -> None:
        self._no = Deny(text="no", enforced=enforced)

    def too_large(self) -> Deny:
        return self._no

    def decide(self, request: Request, context: Context, /) -> Decision:
        return self._no if request.op.name == "remove" else Allow(request.exclusive() if request.pflags & 8 else None)


def test_writes_beyond_the_policys_size_are_refused_and_told_once() -> None:
    check(
        OPEN.replace("26", "58")
        + """\
partner -> WRITE 1 h 0 abcd
target <- WRITE 1 h 0 abcd
partner -> WRITE 2 h 4 e
partner <- STATUS 2 3 no en
record Denied(op='write', paths=(b'/file',), status=3, reason='no')
partner -> WRITE 3 h 5 f
partner <- STATUS 3 3 no en
partner -> READ 5 h 0 4
partner <- STATUS 5 3 "the file is not open to read" en
record Denied(op='read', paths=(b'/file',), status=3, reason='the file is not open to read')
partner -> REMOVE 4 /file
partner <- STATUS 4 3 no en
record Denied(op='remove', paths=(b'/file',), status=3, reason='no')
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
finish
record FileClosed(path=b'/file', reads=False, writes=True, bytes_read=0, bytes_written=4, failures=2, status=None)
""",
        policy=Bounded(enforced=True),
    )


def test_what_a_policy_only_observes_passes() -> None:
    check(
        OPEN.replace("26", "58")
        + """\
partner -> WRITE 1 h 4 e
target <- WRITE 1 h 4 e
record Observed(op='write', paths=(b'/file',), reason='no')
partner -> WRITE 2 h 5 f
target <- WRITE 2 h 5 f
partner -> REMOVE 3 /file
target <- REMOVE 3 /file
record Observed(op='remove', paths=(b'/file',), reason='no')
target -> STATUS 3 0 ok en
partner <- STATUS 3 0 ok en
record Changed(op='remove', paths=(b'/file',), status=0, attrs=None)
""",
        policy=Bounded(enforced=False),
    )


def test_the_policy_learns_the_home_from_the_target() -> None:
    homes = []

    class Listening(AllowAll):
        def decide(self, request: Request, context: Context, /) -> Decision:
            homes.append(context.home)
            return Allow()

    relay = Relay(Listening())
    relay.from_inbound(encode("INIT 3"))
    relay.from_outbound(encode("VERSION 3"))
    for path, answer in (("/x", "/other"), (".", "relative"), (".", "/home/./me/"), (".", "/too-late"), ("a", "/a")):
        relay.from_inbound(encode(f"REALPATH 1 {path}"))
        name = encode(f"NAME 1 00000001 {len(answer):08x} {answer.encode().hex()} {'00' * 8}")
        assert b"".join(relay.from_outbound(name).to_inbound) == name
    assert homes == [None, None, None, b"/home/me/", b"/home/me/"]


def test_handles_that_are_asked_for_count() -> None:
    script = """
        partner -> OPENDIR 1 /
        target <- OPENDIR 1 /
        partner -> OPENDIR 2 /
        partner <- STATUS 2 4 "too many open handles" en
        record Denied(op='opendir', paths=(b'/',), status=4, reason='too many open handles')
        target -> STATUS 1 4 no en
        partner <- STATUS 1 4 no en
        record Opened(path=b'/', directory=True, reads=False, writes=False, status=4)
        partner -> OPENDIR 3 /
        target <- OPENDIR 3 /
        """
    check(script, limits=Limits(handles=1))


def test_a_reply_of_ours_does_not_cut_into_a_packet_of_the_target() -> None:
    relay = opened()
    relay.from_inbound(encode("READ 1 h 0 1000"))
    data = encode("DATA 1 " + "x" * 1000)
    assert relay.from_outbound(data[:500]).to_inbound == [data[:500]]
    refused = relay.from_inbound(encode("BLOCK 2 h 0 1 0"))
    assert not refused.to_inbound
    assert len(refused.records) == 1
    step = relay.from_outbound(data[500:])
    assert b"".join(step.to_inbound) == data[500:] + encode('STATUS 2 8 "Operation unsupported" en')


# What ends the session


@pytest.mark.parametrize(
    "packet",
    [
        "RAW 00000004 11000000",  # no id
        "RAW 00000000",
        "RAW 00040001 11",
        "RAW 00000009 11 00000001 00000009",  # a path that is longer than the packet
        "RAW 00000009 c8 00000001 00000009",
        "RAW 00000005 06 00000001",  # WRITE without fields
        "RAW 00000015 06 00000001 00000001 78 0000000000000000 000000",  # WRITE, one byte short
        "RAW 00000017 06 00000001 00000001 78 0000000000000000 00000002 78",  # data shorter than it says
        "RAW 00000200 05 00000001 00000101 " + "78" * 503,  # a handle of 257 bytes
    ],
)
def test_malformed_requests(packet: str) -> None:
    check(f"partner -> {packet}\nclose partner protocol_error\npartner -> STAT 1 .\nclose partner protocol_error")


@pytest.mark.parametrize("line", ["STAT 1 .", "READ 1 h 0 1", "BLOCK 1 h 0 1 0"])
def test_an_id_that_is_still_open(line: str) -> None:
    check(OPEN + f"partner -> STAT 1 x\ntarget <- STAT 1 x\npartner -> {line}\nclose partner protocol_error")


def test_open_requests_are_bounded() -> None:
    check(
        """
        partner -> STAT 1 .
        target <- STAT 1 .
        partner -> STAT 2 .
        close partner limit
        """,
        limits=Limits(requests=1),
    )


def test_replies_that_wait_count_as_open_requests() -> None:
    relay = Relay(limits=Limits(requests=2))
    for line in [*(GREETING + OPEN_READ).splitlines(), "partner -> READ 1 h 0 1000"]:
        side, arrow, text = line.partition(" -> ")
        if arrow:
            (relay.from_inbound if side == "partner" else relay.from_outbound)(encode(text))
    relay.from_outbound(encode("DATA 1 " + "x" * 1000)[:100])
    unsupported = encode("BLOCK 2 h 0 1 0")
    assert relay.from_inbound(unsupported * 2).close is None
    assert relay.from_inbound(unsupported).close == Close("limit", "partner", "more than 2 requests open")


ASKED = """\
partner -> OPENDIR 1 /
target <- OPENDIR 1 /
partner -> READ 2 h 0 4
target <- READ 2 h 0 4
partner -> REMOVE 3 /a
target <- REMOVE 3 /a
partner -> EXTENDED 4 limits@openssh.com
target <- EXTENDED 4 limits@openssh.com
"""


@pytest.mark.parametrize(
    "answer",
    [
        "STATUS 9 0 ok en",  # nobody asked
        "DATA 1 x",  # not what was asked for
        "HANDLE 2 x",
        "REPLY 3 00000000",
        "HANDLE 1 h",  # a handle that is open
        "HANDLE 1 " + "x" * 257,
        "STATUS 1 0 ok en",
        "DATA 2 12345",  # more than was asked for
        "RAW 0000000b 67 00000002 00000001 7878",  # data longer than it says
        "RAW 00000005 65 00000001",  # STATUS without a code
        "REPLY 4 00000000",
        "RAW 00040001 11",
        "VERSION 3",
        "RAW 0000000a 12 00000001 00000000 00",  # a request, from the target
    ],
)
def test_a_target_that_lies(answer: str) -> None:
    check(OPEN_READ + ASKED + f"target -> {answer}\nclose target protocol_error")


def test_what_was_right_before_the_error_has_passed() -> None:
    relay = opened()
    good, bad = encode("STAT 1 ."), encode("RAW 00000000")
    step = relay.from_inbound(good + bad)
    assert b"".join(step.to_outbound) == good
    assert step.close == Close("protocol_error", "partner", "a packet of 0 bytes")
    assert relay.from_inbound(good) == ((), (), (), step.close)
    assert relay.from_outbound(good) == ((), (), (), step.close)
    assert relay.inbound_eof().close == step.close


def test_the_end_of_the_stream() -> None:
    check("partner -> STAT 1 .\ntarget <- STAT 1 .\npartner -> EOF")
    relay = opened()
    relay.from_inbound(encode("WRITE 1 h 0 " + "x" * 100)[:50])
    assert relay.inbound_eof().close == Close("protocol_error", "partner", "the stream ends in the middle of a packet")


def test_finish_tells_what_was_left_open_or_unanswered() -> None:
    check(
        OPEN
        + OPENED_DIR
        + """\
partner -> WRITE 1 h 0 abcd
target <- WRITE 1 h 0 abcd
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
partner -> WRITE 2 h 4 x
target <- WRITE 2 h 4 x
partner -> STAT 3 .
target <- STAT 3 .
partner -> REMOVE 4 /a
target <- REMOVE 4 /a
partner -> OPEN 5 /b 0x2 -
target <- OPEN 5 /b 2 -
finish
record Changed(op='remove', paths=(b'/a',), status=None, attrs=None)
record Opened(path=b'/b', directory=False, reads=False, writes=True, status=None)
record FileClosed(path=b'/file', reads=False, writes=True, bytes_read=0, bytes_written=4, failures=0, status=None)
finish
"""
    )


def test_finish_while_a_close_is_on_its_way() -> None:
    relay = opened()
    relay.from_inbound(encode("CLOSE 1 h"))
    assert relay.finish() == [FileClosed(b"/file", False, True, 0, 0, 0, None)]


# What is told of a file besides its bytes


def told(*turns: bytes | str, size: int = 1 << 20, hashed: bool = False) -> list[Record]:
    """The records of a conversation on an open file: lines from the partner (`>`) or the target (`<`), cut into pieces
    of that size. The clock ticks with each question."""
    ticks = itertools.count(1)
    relay = Relay(spent=lambda: Spent(float(next(ticks))), hashed=hashed)
    records: list[Record] = []
    for turn in turns:
        packet = turn if isinstance(turn, bytes) else encode(turn[2:])
        feed = relay.from_outbound if isinstance(turn, str) and turn[0] == "<" else relay.from_inbound
        for at in range(0, len(packet), size):
            step = feed(packet[at : at + size])
            assert step.close is None
            records += step.records
    return [*records, *relay.finish()]


GREET = ("> INIT 3", "< VERSION 3")
READING = (*GREET, "> OPEN 1 /f 0x1 -", "< HANDLE 1 h")
WRITING = (*GREET, "> OPEN 1 /f 0x1a -", "< HANDLE 1 h")
BIG = "x" * 2000


@pytest.mark.parametrize("size", [1, 7, 700, 1 << 20])
def test_files_are_hashed_as_they_pass(size: int) -> None:
    put = told(
        *WRITING, f"> WRITE 1 h 0 {BIG}", "> WRITE 2 h 2000 end", "< STATUS 1 0 ok en", "< STATUS 2 0 ok en",
        "> CLOSE 3 h", "< STATUS 3 0 ok en", size=size, hashed=True,
    )[-1]  # fmt: skip
    got = told(
        *READING, "> READ 1 h 0 2000", "> READ 2 h 2000 50", f"< DATA 1 {BIG}", "< DATA 2 end", "> READ 3 h 2003 50",
        "< STATUS 3 1 EOF en", "> CLOSE 3 h", "< STATUS 3 0 ok en", size=size, hashed=True,
    )[-1]  # fmt: skip
    for record in (put, got):
        assert isinstance(record, FileClosed)
        assert record.sha256 == hashlib.sha256(BIG.encode() + b"end").hexdigest()
        assert (record.complete, record.spent.total, record.unhashed) == (True, 1.0, "")
    assert isinstance(got, FileClosed)
    assert got.eof


def test_what_comes_in_another_order_is_not_hashed() -> None:
    closed = told(
        *READING, "> READ 1 h 0 3", "> READ 2 h 3 3", "< DATA 2 def", "< DATA 1 abc", hashed=True
    )[-1]  # fmt: skip
    assert isinstance(closed, FileClosed)
    assert (closed.sha256, closed.unhashed, closed.complete) == ("", "not sequential", True)


def test_a_buffer_that_is_meant_in_part_is_hashed_in_part() -> None:
    write = encode("WRITE 1 h 0 abcdef")
    at = write.index(b"abcdef") - 4
    meant = write[:at] + u32(3) + write[at + 4 :]  # six bytes, of which three are meant
    closed = told(*WRITING, meant, "< STATUS 1 0 ok en", hashed=True)[-1]
    assert isinstance(closed, FileClosed)
    assert closed.sha256 == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_the_targets_words_about_what_failed(size: int) -> None:
    opened, closed, removed = told(
        *WRITING, "> CLOSE 1 h", "< STATUS 1 4 full en", "> REMOVE 2 /f", "< STATUS 2 3 denied en", size=size
    )  # fmt: skip
    assert isinstance(opened, Opened)
    assert isinstance(closed, FileClosed)
    assert isinstance(removed, Changed)
    assert (opened.text, closed.text, removed.text) == (b"", b"full", b"denied")


def test_answers_are_held_to_version_3() -> None:
    """What cannot be read ends the session; what version 3 does not have is left out. (`test_answers` has it all.)"""
    asked = "partner -> STAT 1 /a\ntarget <- STAT 1 /a\n"
    check(asked + "target -> RAW 0000000e 69 00000001 00000010 0000000000\npartner <- ATTRS 1 00000000")
    check(asked + 'target -> RAW 00000009 65 00000001 00000004\npartner <- STATUS 1 4 "" ""')
    check(asked + "target -> RAW 00000009 69 00000001 00000001\nclose target protocol_error")
    check(asked + "target -> RAW 0000000d 65 00000001 00000004 00000001\nclose target protocol_error")


# The table, in both directions: every operation takes every answer that it should and no other

VALUES = {"PATH": string(b"p"), "TILDE_PATH": string(b"~"), "TEXT": string(b"x"), "U64": u64(0), "HANDLE": string(b"h")}
VALUES |= {"U32": u32(9), "PFLAGS": u32(1), "ATTRS": u32(0)}
ANSWERS = {
    Packet.STATUS: u32(0) + string(b"") + string(b""),
    Packet.HANDLE: string(b"new"),
    Packet.DATA: string(b"x"),
    Packet.NAME: u32(1) + string(b"n") + string(b"") + u32(0),
    Packet.ATTRS: u32(0),
    Packet.EXTENDED_REPLY: bytes(88),
}


@pytest.mark.parametrize("op", [*OPS.values(), *EXTENSIONS.values()], ids=lambda op: op.name)
def test_every_operation_with_every_answer(op: Op) -> None:
    name = string(op.name.encode()) if op.kind == Packet.EXTENDED else b""
    request = packet(op.kind, u32(1), name, *(VALUES[field.name] for field in op.fields))
    for kind, rest in ANSWERS.items():
        relay = opened()
        assert relay.from_inbound(request).to_outbound == [request]
        accepted = kind is (op.answer or Packet.STATUS)
        assert (relay.from_outbound(packet(kind, u32(1), rest)).close is None) == accepted
    relay = opened()
    relay.from_inbound(request)
    refusal = encode("STATUS 1 4 no en")
    assert relay.from_outbound(refusal).to_inbound == [refusal]


# Without copies


def test_whole_chunks_of_data_leave_as_the_same_object() -> None:
    relay = opened()
    writes = b"".join(encode(f"WRITE {i} h 0 " + "x" * 700) for i in range(5))
    cuts = [0, 1000, 2000, 3000, len(writes)]
    for start, end in pairwise(cuts):
        chunk = writes[start:end]
        step = relay.from_inbound(chunk)
        assert step.to_outbound[-1] is chunk or len(chunk) - len(step.to_outbound[-1]) < 60
    relay = opened()
    relay.from_inbound(encode("READ 1 h 0 1000"))
    data = encode("DATA 1 " + "x" * 1000)
    assert relay.from_outbound(data).to_inbound[0] is data
    view = memoryview(bytearray(encode("WRITE 2 h 0 " + "x" * 700)))
    assert relay.from_inbound(view).to_outbound[0] is view


# Properties


@settings(max_examples=40, deadline=None)
@given(conversation.TURNS, conversation.CUTS)
def test_it_is_independent_of_chunking(turns: list[str | int], cuts: list[int]) -> None:
    assert conversation.play(turns, cuts) == conversation.play(turns)


@settings(max_examples=60, deadline=None)
@given(conversation.TURNS)
def test_each_request_gets_one_reply_and_nothing_denied_reaches_the_target(turns: list[str | int]) -> None:
    played = conversation.play(turns)
    assert played.replies() == dict.fromkeys(range(1, played.asked + 1), 1)
    assert conversation.SECRET not in played.to_target


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=8), st.booleans())
def test_garbage_only_closes(chunks: list[tuple[bool, bytes]], greeted: bool) -> None:
    conversation.feed_all(opened() if greeted else Relay(), list(chunks))


# The virtual root (see `test_root` for all of it)


def test_with_a_root_the_partners_paths_are_another_than_the_targets() -> None:
    check(
        f"""
        partner -> REALPATH 1 .
        target <- REALPATH 1 /partners/acme
        target -> NAME 1 00000001 0000000e {b"/partners/acme".hex()} 0000000e {b"/partners/acme".hex()} 00000000
        partner <- NAME 1 00000001000000012f000000012f00000000
        partner -> REMOVE 2 ../x
        target <- REMOVE 2 /partners/acme/x
        target -> STATUS 2 2 "no /partners/acme/x" en
        partner <- STATUS 2 2 "No such file" en
        record Changed(op='remove', paths=(b'/x',), status=2, attrs=None)
        partner -> RMDIR 3 ..
        partner <- STATUS 3 3 "the root cannot be moved, removed or linked" en
        record Denied(op='rmdir', paths=(b'/',), status=3, reason='the root cannot be moved, removed or linked')
        partner -> EXTENDED 4 home-directory me
        partner <- NAME 4 00000001000000012f000000012f00000000
        """,
        root=lambda: Root(b"/partners/acme"),
    )


def test_a_policy_is_told_the_time_when_it_asks() -> None:
    class Clock(AllowAll):
        def decide(self, request: Request, context: Context, /) -> Decision:
            return Deny(text=f"it is {context.now():.0f}")

    relay = Relay(Clock(), now=lambda: 77.0)
    relay.from_inbound(encode("INIT 3"))
    relay.from_outbound(encode("VERSION 3"))
    assert b"it is 77" in b"".join(relay.from_inbound(encode("STAT 1 /")).to_inbound)


def test_nothing_needs_to_be_done_when_the_partner_goes() -> None:
    relay = opened()
    assert relay.abandon() == ((), (), (), None)
    assert relay.settled


def test_what_is_open_now() -> None:
    relay = opened()
    assert relay.file is not None
    assert relay.file.path == b"/file"
    relay.from_inbound(encode("CLOSE 1 h"))
    assert relay.file is None


def test_a_refusal_does_not_come_before_version() -> None:
    check(
        """
        partner -> INIT 3
        target <- INIT 3
        partner -> BLOCK 1 h 0 1 0
        record Denied(op='packet type 22', paths=(), status=8, reason='Operation unsupported')
        """,
        before="",
    )
    relay = Relay(limits=Limits(requests=2))
    for text in ("INIT 3", "BLOCK 1 h 0 1 0", "BLOCK 2 h 0 1 0"):
        assert not relay.from_inbound(encode(text)).to_inbound
    greeted = b"".join(map(bytes, relay.from_outbound(encode("VERSION 3")).to_inbound))
    refused = [encode(f'STATUS {number} 8 "Operation unsupported" en') for number in (1, 2)]
    assert greeted == encode("VERSION 3") + b"".join(refused)


def test_refusals_that_wait_for_version_are_bounded() -> None:
    relay = Relay(limits=Limits(requests=2))
    relay.from_inbound(encode("INIT 3"))
    steps = [relay.from_inbound(encode(f"BLOCK {number} h 0 1 0")) for number in range(3)]
    assert [step.close and step.close.outcome for step in steps] == [None, None, "limit"]


def test_whether_the_target_owes_an_answer() -> None:
    relay = opened()
    owes = [relay.waiting]
    relay.from_inbound(encode("STAT 1 ."))
    owes.append(relay.waiting)
    relay.from_outbound(encode("ATTRS 1 00000000"))
    owes.append(relay.waiting)
    assert owes == [False, True, False]
