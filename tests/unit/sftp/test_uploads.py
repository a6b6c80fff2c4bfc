"""Uploads in quarantine: the steps of one, by playbooks (see `stage`)."""

from __future__ import annotations

import pytest

from tests.unit.sftp.stage import CLEAN, CLOSED, GREETING, OPENED, RENAME, RENAMED, WRITTEN, check, scanned
from usp.sftp.uploads import HELD, IN_PLACE, reserved, reserved_in

READ_BACK = """\
target <- OPEN 3 /in/.usp-scan-T 1 -
target -> HANDLE 3 r
target <- READ 3 r 0 32768
"""
REMOVE = "target <- REMOVE 3 /in/.usp-scan-T\n"
GONE = 'partner <- STATUS 3 4 "the upload was abandoned" en\n'
REFUSED = 'target -> STATUS 3 0 ok en\npartner <- STATUS 3 3 "refused by the content scan" en\n'
ANEW = """\
partner -> WRITE 4 h 0 x
target <- WRITE 4 h 0 x
order Drop(number=1)
target -> STATUS 4 0 ok en
partner <- STATUS 4 0 ok en
partner -> CLOSE 3 h
target <- CLOSE 3 h
target -> STATUS 3 0 ok en
"""
"""What was written is written anew: so it is read back."""


@pytest.mark.parametrize(
    ("path", "is_reserved"),
    [
        (b"/in/.usp-scan-1", True),
        (b".USP-Scan-1/x", True),
        (b"in\\.usp-scan-1:s", True),
        (b"/in/.usp-scans", False),
        (b"/x.usp-scan-1", False),
    ],
)
def test_reserved_names(path: bytes, is_reserved: bool) -> None:
    assert reserved(path) is is_reserved
    assert reserved_in(b"packet" + path) or not is_reserved


# It is opened


@pytest.mark.parametrize(
    ("attrs", "mode"),
    [
        ("0000000d 0000000000000005 000081a4 00000001 00000002", "0o644"),  # a regular file
        ("00000004 00000dff", "0o777"),  # the type is not told; setuid stays behind
        ("00000000", "-"),
    ],
)
def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(attrs: str, mode: str) -> None:
    check(
        f"""
        partner -> OPEN 1 /in/a 0x1a 0o600
        target <- LSTAT 1 /in/a
        target -> ATTRS 1 {attrs}
        target <- OPEN 1 /in/.usp-scan-T 42 {mode if mode != "-" else "0o600"}
        """,
        settled=False,
    )


@pytest.mark.parametrize(
    ("pflags", "attrs", "answer"),
    [
        ("0x1a", "00000004 000041ed", '4 "not a regular file: uploads are scanned here, and replace none but those"'),
        ("0x2a", "00000000", '4 "the file is there already"'),
        ("0x0a", "00000001 0000000000000001", f'3 "{IN_PLACE}"'),  # OpenSSH's reput
        ("0x02", "00000004 000081a4", f'3 "{IN_PLACE}"'),
        ("0x0e", "00000001 0000000000000001", f'3 "{IN_PLACE}"'),
    ],
)
def test_what_cannot_be_replaced(pflags: str, attrs: str, answer: str) -> None:
    check(f"""
        partner -> OPEN 1 /in/a {pflags} -
        target <- LSTAT 1 /in/a
        target -> ATTRS 1 {attrs}
        partner <- STATUS 1 {answer} en
        """)


def test_an_empty_file_may_be_resumed_and_what_cannot_be_seen_may_be_new() -> None:
    check(
        """
        partner -> OPEN 1 a 0x02 -
        target <- LSTAT 1 a
        target -> ATTRS 1 00000001 0000000000000000
        target <- OPEN 1 .usp-scan-T 42 -
        target -> STATUS 1 4 full en
        partner <- STATUS 1 4 full en
        partner -> OPEN 2 /b/ 0x03 -
        target <- LSTAT 2 /b
        target -> STATUS 2 2 none en
        partner <- STATUS 2 2 none en
        partner -> OPEN 3 /c 0x03 -
        target <- LSTAT 3 /c
        target -> STATUS 3 3 closed en
        target <- OPEN 3 /.usp-scan-T 43 -
        """,
        settled=False,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "target -> STATUS 1 0 ok en\nwrong STATUS OK without what was asked for",
        "target -> DATA 1 x\nwrong an answer of type 103",
        "target -> RAW 00000009 69 00000001 00000001\nwrong the packet is shorter than what it claims to hold",
        "target -> STATUS 1 2 none en\ntarget <- OPEN 1 /in/.usp-scan-T 42 -\n"
        "target -> STATUS 1 0 ok en\nwrong STATUS OK without what was asked for",
    ],
)
def test_a_target_that_makes_no_sense(wrong: str) -> None:
    check(f"partner -> OPEN 1 /in/a 0x1a -\ntarget <- LSTAT 1 /in/a\n{wrong}", settled=False)


# It is written and closed


def test_what_is_clean_gets_its_name() -> None:
    check(WRITTEN + CLOSED + "judged 1 clean\n" + RENAME + CLEAN + RENAMED)


def test_what_is_infected_is_removed() -> None:
    check(WRITTEN + CLOSED + "judged 1 infected Eicar\n" + REMOVE + scanned("infected", text="Eicar") + REFUSED)


def test_without_a_verdict() -> None:
    failed = WRITTEN + CLOSED + "judged 1 failed away\n"
    check(
        failed
        + REMOVE
        + scanned("failed", text="away")
        + 'target -> STATUS 3 0 ok en\npartner <- STATUS 3 4 "the content scan is not available, try again later" en\n'
    )
    check(failed + RENAME + scanned("failed", text="away", passed=True) + RENAMED, on_failure="allow")


def test_a_verdict_before_the_end() -> None:
    closed = CLOSED.replace("order End(number=1)\n", "")
    check(WRITTEN + "judged 1 clean\n" + closed + RENAME + CLEAN + RENAMED)
    check(
        WRITTEN
        + "judged 1 infected\n"
        + """\
partner -> WRITE 4 h 3 def
partner <- STATUS 4 3 "refused by the content scan" en
"""
        + closed
        + REMOVE
        + scanned("infected")
        + REFUSED
    )


def test_a_clean_beginning_that_is_written_anew_is_judged_anew() -> None:
    check(
        WRITTEN
        + "judged 1 clean\n"
        + """\
partner -> WRITE 4 h 3 defg
target <- WRITE 4 h 3 defg
target -> STATUS 4 0 ok en
partner <- STATUS 4 0 ok en
"""
        + ANEW.replace("order Drop(number=1)\n", "")
        + READ_BACK,
        settled=False,
    )


def test_writes_that_overtake_each_other_are_put_in_order() -> None:
    check(
        OPENED
        + """\
partner -> WRITE 2 h 4 efg
target <- WRITE 2 h 4 efg
partner -> WRITE 3 h 2 cd
target <- WRITE 3 h 2 cd
partner -> WRITE 4 h 0 ""
target <- WRITE 4 h 0 ""
partner -> WRITE 5 h 0 ab
target <- WRITE 5 h 0 ab
order Begin(number=1, path=b'/in/a')
order Content(number=1, data=b'ab')
order Content(number=1, data=b'cd')
order Content(number=1, data=b'efg')
""",
        settled=False,
    )


def test_writes_that_overlap_what_is_held() -> None:
    check(
        OPENED
        + """\
partner -> WRITE 2 h 2 cd
target <- WRITE 2 h 2 cd
partner -> WRITE 3 h 0 abc
target <- WRITE 3 h 0 abc
order Begin(number=1, path=b'/in/a')
order Content(number=1, data=b'abc')
order Drop(number=1)
partner -> WRITE 4 h 3 x
target <- WRITE 4 h 3 x
""",
        settled=False,
    )


@pytest.mark.parametrize(
    "written",
    [
        "partner -> WRITE 2 h 5 x\ntarget <- WRITE 2 h 5 x\n"
        "target -> STATUS 2 0 ok en\npartner <- STATUS 2 0 ok en\n",  # a gap
        f"partner -> WRITE 2 h {HELD} {{0}}\ntarget <- WRITE 2 h {HELD} {{0}}\n"
        "target -> STATUS 2 4 full en\npartner <- STATUS 2 4 full en\n",  # and a write that failed
        "partner -> WRITE 2 h 0 x\ntarget <- WRITE 2 h 0 x\norder Begin(number=1, path=b'/in/a')\n"
        "order Content(number=1, data=b'x')\ntarget -> STATUS 2 4 full en\npartner <- STATUS 2 4 full en\n"
        "order Drop(number=1)\n",
    ],
    ids=["gap", "gap that failed", "failed"],
)
def test_what_is_not_what_was_sent_is_read_back(written: str) -> None:
    closed = CLOSED.replace("order End(number=1)\n", "")
    check(OPENED + written.format("x" * 9) + closed + READ_BACK, settled=False)


def test_more_than_can_be_held() -> None:
    data = "x" * 200_000
    lines = [
        line
        for number in range(11)
        for line in (
            f"partner -> WRITE {number + 10} h {1 + number * 200_000} {data}",
            f"target <- WRITE {number + 10} h {1 + number * 200_000} {data}",
        )
    ]
    closed = CLOSED.replace("order End(number=1)\n", "")
    check(OPENED + "\n".join(lines) + "\n" + closed + READ_BACK, settled=False, pieces=(0,))


def test_a_write_that_the_target_answers_after_the_close() -> None:
    late = WRITTEN.replace("target -> STATUS 2 0 ok en\npartner <- STATUS 2 0 ok en\n", "")
    opened, *rest = READ_BACK.splitlines(keepends=True)
    check(late + CLOSED + opened + "order Drop(number=1)\n" + "".join(rest), settled=False)


def test_nothing_is_scanned_of_an_empty_file() -> None:
    closed = CLOSED.replace("order End(number=1)\n", "")
    check(OPENED + closed + RENAME + scanned(text="empty", size=0, passed=True) + RENAMED)


def test_a_close_that_fails() -> None:
    check(
        WRITTEN
        + CLOSED.replace("target -> STATUS 3 0 ok en\n", "target -> STATUS 3 4 quota en\n")
        + REMOVE
        + "order Drop(number=1)\n"
        + "target -> STATUS 3 0 ok en\npartner <- STATUS 3 4 quota en\n"
    )


def test_a_file_that_is_too_large() -> None:
    more = """\
partner -> WRITE 4 h 3 de
"""
    closed = CLOSED.replace("order End(number=1)\n", "")
    text = 'STATUS {} 3 "the file is too large to be scanned" en\n'
    check(
        WRITTEN
        + more
        + "partner <- "
        + text.format(4)
        + "order Drop(number=1)\n"
        + closed
        + REMOVE
        + scanned("too_large", text="more than 4 bytes", size=5)
        + "target -> STATUS 3 0 ok en\npartner <- "
        + text.format(3),
        max_size=4,
    )
    check(
        WRITTEN
        + more
        + "target <- WRITE 4 h 3 de\norder Drop(number=1)\n"
        + "partner -> WRITE 5 h 0 x\ntarget <- WRITE 5 h 0 x\n"
        + "target -> STATUS 4 0 ok en\npartner <- STATUS 4 0 ok en\n"
        + "target -> STATUS 5 0 ok en\npartner <- STATUS 5 0 ok en\n"
        + closed
        + RENAME
        + scanned("too_large", text="more than 4 bytes", size=5, passed=True)
        + RENAMED,
        max_size=4,
        on_oversize="allow",
    )


# It is read back


def test_read_back() -> None:
    check(
        WRITTEN
        + ANEW
        + READ_BACK
        + """\
target -> DATA 3 xb
order Begin(number=2, path=b'/in/a')
order Content(number=2, data=b'xb')
more 1
more 2
target <- READ 3 r 2 32768
more 2
target -> DATA 3 c
order Content(number=2, data=b'c')
more 2
target <- READ 3 r 3 32768
target -> STATUS 3 1 end en
target <- CLOSE 3 r
order End(number=2)
target -> STATUS 3 0 ok en
judged 2 clean
"""
        + RENAME
        + CLEAN
        + RENAMED
    )


def test_a_verdict_while_it_is_read_back() -> None:
    reading = WRITTEN + ANEW + READ_BACK + "target -> DATA 3 xb\norder Begin(number=2, path=b'/in/a')\n"
    reading += "order Content(number=2, data=b'xb')\n"
    end = "target -> STATUS 3 0 ok en\n" + REMOVE + scanned("infected") + REFUSED
    check(reading + "judged 2 infected\ntarget <- CLOSE 3 r\n" + end)
    check(
        reading
        + "more 2\ntarget <- READ 3 r 2 32768\njudged 2 infected\ntarget -> DATA 3 c\ntarget <- CLOSE 3 r\n"
        + end
    )


def test_a_verdict_while_its_last_part_is_read() -> None:
    reading = WRITTEN + ANEW + READ_BACK + "target -> DATA 3 xb\norder Begin(number=2, path=b'/in/a')\n"
    reading += "order Content(number=2, data=b'xb')\nmore 2\ntarget <- READ 3 r 2 32768\njudged 2 infected\n"
    end = "target <- CLOSE 3 r\ntarget -> STATUS 3 0 ok en\n" + REMOVE
    check(reading + "target -> STATUS 3 1 end en\n" + end + scanned("infected") + REFUSED)
    check(reading + "target -> DATA 3 cde\n" + end + scanned("infected", size=5) + REFUSED, max_size=4)


def test_it_is_empty_or_too_large_when_it_is_read_back() -> None:
    check(
        WRITTEN
        + ANEW
        + READ_BACK
        + "target -> STATUS 3 1 end en\ntarget <- CLOSE 3 r\ntarget -> STATUS 3 0 ok en\n"
        + RENAME
        + scanned(text="empty", passed=True)
        + RENAMED
    )
    check(
        WRITTEN
        + ANEW
        + READ_BACK
        + "target -> DATA 3 abcde\ntarget <- CLOSE 3 r\ntarget -> STATUS 3 0 ok en\n"
        + REMOVE
        + scanned("too_large", text="more than 4 bytes", size=5)
        + 'target -> STATUS 3 0 ok en\npartner <- STATUS 3 3 "the file is too large to be scanned" en\n',
        max_size=4,
    )


def test_it_cannot_be_read_back() -> None:
    away = 'target -> STATUS 3 0 ok en\npartner <- STATUS 3 4 "the content scan is not available, try again later" en\n'
    told = scanned("failed", text="it cannot be read back: status 3")
    opened, rest = READ_BACK.split("target -> HANDLE")[0], READ_BACK
    check(WRITTEN + ANEW + opened + "target -> STATUS 3 3 no en\n" + REMOVE + told + away)
    check(
        WRITTEN
        + ANEW
        + rest
        + "target -> STATUS 3 3 no en\ntarget <- CLOSE 3 r\ntarget -> STATUS 3 0 ok en\n"
        + REMOVE
        + told
        + away
    )
    check(
        WRITTEN + ANEW + rest + 'target -> DATA 3 ""\nwrong DATA is empty, or longer than was asked for', settled=False
    )


# It ends


def test_a_name_that_it_cannot_have() -> None:
    check(
        WRITTEN
        + CLOSED
        + "judged 1 clean\n"
        + RENAME
        + CLEAN
        + "target -> STATUS 3 2 gone en\n"
        + REMOVE
        + """\
target -> STATUS 3 4 gone en
partner <- STATUS 3 2 gone en
record LeftBehind(path=b'/in/.usp-scan-T', real=b'/in/a', status=4)
"""
    )


PLAIN = GREETING.replace(" posix-rename@openssh.com 1", "")
VERSION_3 = "target <- RENAME 3 /in/.usp-scan-T /in/a\n"
INSTEAD = "target -> STATUS 3 4 there en\ntarget <- REMOVE 3 /in/a\ntarget -> STATUS 3 0 ok en\n"


def test_without_posix_rename() -> None:
    named = WRITTEN + CLOSED + "judged 1 clean\n" + VERSION_3 + CLEAN
    check(named + RENAMED, before=PLAIN)
    check(named + INSTEAD + VERSION_3 + RENAMED, before=PLAIN)
    check(
        named
        + INSTEAD
        + VERSION_3
        + "target -> STATUS 3 4 again en\n"
        + REMOVE
        + "target -> STATUS 3 0 ok en\npartner <- STATUS 3 4 again en\n",
        before=PLAIN,
    )


def test_what_must_be_new_never_replaces() -> None:
    exclusive = WRITTEN.replace("0x1a", "0x2a") + CLOSED + "judged 1 clean\n" + VERSION_3 + CLEAN
    check(
        exclusive
        + "target -> STATUS 3 4 there en\n"
        + REMOVE
        + "target -> STATUS 3 0 ok en\npartner <- STATUS 3 4 there en\n"
    )


# The partner goes


def test_it_goes_while_it_is_opened() -> None:
    asked, *rest = OPENED.splitlines(keepends=True)
    check(
        asked + rest[0] + 'abandon\ntarget -> STATUS 1 2 none en\npartner <- STATUS 1 4 "the upload was abandoned" en'
    )
    check(
        asked
        + "".join(rest[:3])
        + """\
eof
target -> HANDLE 1 h
target <- CLOSE 2 h
partner <- STATUS 1 4 "the upload was abandoned" en
target -> STATUS 2 0 ok en
target <- REMOVE 2 /in/.usp-scan-T
target -> STATUS 2 0 ok en
"""
    )


@pytest.mark.parametrize("how", ["eof", "abandon"])
def test_it_goes_while_it_writes(how: str) -> None:
    check(
        WRITTEN
        + f"""\
partner -> WRITE 2 h 3 d
target <- WRITE 2 h 3 d
order Content(number=1, data=b'd')
{how}
target <- CLOSE 3 h
order Drop(number=1)
{how}
target -> STATUS 2 0 ok en
partner <- STATUS 2 0 ok en
target -> STATUS 3 4 no en
target <- REMOVE 3 /in/.usp-scan-T
target -> STATUS 3 0 ok en
"""
    )


def test_it_goes_before_the_verdict() -> None:
    gone = "target -> STATUS 3 0 ok en\n" + GONE
    check(WRITTEN + CLOSED + "eof\njudged 1 clean\n" + RENAME + CLEAN + "abandon\n" + RENAMED)
    check(WRITTEN + CLOSED + "abandon\n" + REMOVE + "order Drop(number=1)\n" + gone)
    closing = CLOSED.replace("target -> STATUS 3 0 ok en\n", "abandon\ntarget -> STATUS 3 0 ok en\n")
    check(WRITTEN + closing + REMOVE + "order Drop(number=1)\n" + gone)


def test_it_goes_while_it_is_read_back() -> None:
    paused = "target -> DATA 3 xb\norder Begin(number=2, path=b'/in/a')\norder Content(number=2, data=b'xb')\n"
    gone = "target -> STATUS 3 0 ok en\n" + GONE
    end = "target <- CLOSE 3 r\ntarget -> STATUS 3 0 ok en\n" + REMOVE
    check(WRITTEN + ANEW + READ_BACK + "abandon\ntarget -> DATA 3 xb\n" + end + gone)
    check(WRITTEN + ANEW + READ_BACK + paused + "abandon\n" + end + "order Drop(number=2)\n" + gone)
