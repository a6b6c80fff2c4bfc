"""Policies by playbooks: each operation and each of its classes allowed, denied and observed; paths, names, sizes."""

from __future__ import annotations

import json
import posixpath
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sftp.playbook import GREETING, OPEN, OPEN_READ, OPENED_DIR, check, cut, encode, feed
from usp import policy as written
from usp.policy import OpClass
from usp.sftp.ops import EXTENSIONS, OPS, Op, OpenFlag, Status
from usp.sftp.packets import Request, decode_request, find_op
from usp.sftp.policy import ALLOW_ALL, Allow, AllowAll, Compiled, Context, Deny, Policy
from usp.sftp.records import Denied, Observed
from usp.sftp.relay import Relay


def policy(**fields: object) -> Compiled:
    return Compiled(written.Policy.model_validate_json(json.dumps(fields)))


def rules(*lines: str) -> list[dict[str, object]]:
    """`deny read,list /a/**`; `*`: all classes."""
    return [
        {"access": access, "classes": [] if classes == "*" else classes.split(","), "path": path}
        for access, classes, path in map(str.split, lines)
    ]


def test_allow_all_is_a_policy_and_allows() -> None:
    made: Policy = AllowAll()
    assert made.decide(Request(OPS[13], 1, (b"/a",), (b"/a",)), Context()) == Allow()
    assert (made.max_size, made.root) == (None, None)
    assert policy(root="/partners/{account}").root == "/partners/{account}"


def test_a_denial_tells_the_partner_little() -> None:
    assert (Deny().status, Deny().text) == (Status.PERMISSION_DENIED, "Permission denied")
    assert ALLOW_ALL.too_large() == Deny()


# Every operation, each of its classes


OPERATIONS: list[tuple[str, str, str, str]] = [
    # what is asked, its name, what it needs, the paths in the record
    ("OPEN 1 /a 1 -", "open", "read", "b'/a',"),
    ("OPEN 1 /a 0 -", "open", "read", "b'/a',"),
    ("OPEN 1 /a 42 -", "open", "write create", "b'/a',"),
    ("OPEN 1 /a 2 -", "open", "write overwrite", "b'/a',"),
    ("OPEN 1 /a 43 -", "open", "read write create", "b'/a',"),
    ("OPENDIR 1 /a", "opendir", "list", "b'/a',"),
    ("READDIR 1 d", "readdir", "list", "b'/dir',"),
    ("STAT 1 /a", "stat", "stat", "b'/a',"),
    ("LSTAT 1 /a", "lstat", "stat", "b'/a',"),
    ("FSTAT 1 h", "fstat", "stat", "b'/file',"),
    ("SETSTAT 1 /a 0o600", "setstat", "setstat", "b'/a',"),
    ("FSETSTAT 1 h 0o600", "fsetstat", "setstat", "b'/file',"),
    ("REMOVE 1 /a", "remove", "delete", "b'/a',"),
    ("MKDIR 1 /a 0o700", "mkdir", "mkdir", "b'/a',"),
    ("RMDIR 1 /a", "rmdir", "rmdir", "b'/a',"),
    ("REALPATH 1 /a", "realpath", "stat", "b'/a',"),
    ("RENAME 1 /a /b", "rename", "rename create", "b'/a', b'/b'"),
    ("READLINK 1 /a", "readlink", "readlink", "b'/a',"),
    ("SYMLINK 1 /a /b", "symlink", "link", "b'/a', b'/b'"),
    ("EXTENDED 1 limits@openssh.com", "limits@openssh.com", "other", ""),
    ("EXTENDED 1 statvfs@openssh.com /a", "statvfs@openssh.com", "stat", "b'/a',"),
    ("EXTENDED 1 fstatvfs@openssh.com h", "fstatvfs@openssh.com", "stat", "b'/file',"),
    ("EXTENDED 1 posix-rename@openssh.com /a /b", "posix-rename@openssh.com", "rename create overwrite",
     "b'/a', b'/b'"),
    ("EXTENDED 1 hardlink@openssh.com /a /b", "hardlink@openssh.com", "link", "b'/a', b'/b'"),
    ("EXTENDED 1 fsync@openssh.com h", "fsync@openssh.com", "other", "b'/file',"),
    ("EXTENDED 1 lsetstat@openssh.com /a 0o600", "lsetstat@openssh.com", "setstat", "b'/a',"),
    ("EXTENDED 1 expand-path@openssh.com ~/a", "expand-path@openssh.com", "stat", "b'~/a',"),
    ("EXTENDED 1 copy-data h 0 9 h 0", "copy-data", "read write", "b'/file', b'/file'"),
    ("EXTENDED 1 home-directory me", "home-directory", "stat", ""),
    ("EXTENDED 1 users-groups-by-id@openssh.com a b", "users-groups-by-id@openssh.com", "other", ""),
]  # fmt: skip
CASES = [(*row[:3], row[3], needed) for row in OPERATIONS for needed in row[2].split()]


def opened(made: Policy) -> Relay:
    """A relay with the handles h and d."""
    relay = Relay(made)
    for line in (GREETING + OPEN + OPENED_DIR).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            feed(relay, side, encode(text))
    return relay


def test_all_operations_are_there() -> None:
    closed = {"read", "write", "close"}  # decided with the OPEN, or always allowed
    assert {row[1] for row in OPERATIONS} | closed == {op.name for op in (*OPS.values(), *EXTENSIONS.values())}


@pytest.mark.parametrize(("line", "op", "classes", "paths", "needed"), CASES)
def test_an_operation_needs_each_of_its_classes(line: str, op: str, classes: str, paths: str, needed: str) -> None:
    packet = encode(line)
    text = f"{needed} is not allowed"
    recorded = eval(f"({paths})")

    def step(**fields: object) -> tuple[bytes, bytes, list[object]]:
        relay = opened(ALLOW_ALL)
        relay._policy = policy(**fields)
        done = feed(relay, "partner", packet)
        assert done.close is None
        return b"".join(done.to_outbound), b"".join(done.to_inbound), list(done.records)

    others = [each for each in OpClass if each not in classes.split()]
    assert step(deny=others) == (packet, b"", [])  # allowed: it needs no other
    refusal = encode(f'STATUS 1 3 "{text}" en')
    assert step(deny=[needed]) == (b"", refusal, [Denied(op, recorded, 3, text)])
    assert step(deny=[needed], mode="observe") == (packet, b"", [Observed(op, recorded, text)])


@pytest.mark.parametrize(
    ("preset", "passes", "refused"),
    [
        (
            "upload_only",
            ["OPEN 1 /a 26 -", "STAT 1 /a", "MKDIR 1 /a -", "FSETSTAT 1 h 0o600", "REALPATH 1 ."],
            ["OPEN 1 /a 1 -", "OPEN 1 /a 3 -", "OPENDIR 1 /", "REMOVE 1 /a", "RENAME 1 /a /b", "READLINK 1 /a"],
        ),
        (
            "download_only",
            ["OPEN 1 /a 1 -", "OPENDIR 1 /a", "STAT 1 /a", "READLINK 1 /a", "REALPATH 1 ."],
            ["OPEN 1 /a 26 -", "OPEN 1 /a 3 -", "MKDIR 1 /a -", "SETSTAT 1 /a 0o600", "REMOVE 1 /a", "SYMLINK 1 a b"],
        ),
    ],
)
def test_presets(preset: str, passes: list[str], refused: list[str]) -> None:
    for line in passes + refused:
        relay = opened(ALLOW_ALL)
        relay._policy = policy(preset=preset)
        done = feed(relay, "partner", encode(line))
        assert (b"".join(done.to_outbound) == encode(line)) is (line in passes), line
        assert bool(done.records) is (line in refused)


def test_a_handle_serves_only_for_what_it_was_opened() -> None:
    """Some targets read from what was opened to write, and the other way round."""
    check(
        OPEN
        + OPENED_DIR
        + """\
partner -> READ 1 h 0 9
partner <- STATUS 1 3 "the file is not open to read" en
record Denied(op='read', paths=(b'/file',), status=3, reason='the file is not open to read')
partner -> WRITE 2 h 0 x
target <- WRITE 2 h 0 x
partner -> READ 3 d 0 9
partner <- STATUS 3 3 "the file is not open to read" en
record Denied(op='read', paths=(b'/dir',), status=3, reason='the file is not open to read')
""",
        policy=policy(deny=["read"]),
    )
    write = "partner -> WRITE 1 h 0 x\n"
    told = "the file is not open to write"
    refused = f"record Denied(op='write', paths=(b'/file',), status=3, reason='{told}')\n"
    check(OPEN_READ + write + f'partner <- STATUS 1 3 "{told}" en\n' + refused, policy=policy(deny=["write"]))
    check(OPEN_READ + write + "target <- WRITE 1 h 0 x\n", policy=policy(deny=["write"], mode="observe"))


def test_setting_a_size_is_overwriting() -> None:
    sized = dedent(
        """
        partner -> RAW 00000016 09 00000001 00000001 61 00000001 0000000000000000
        partner <- STATUS 1 3 "overwrite is not allowed" en
        record Denied(op='setstat', paths=(b'a',), status=3, reason='overwrite is not allowed')
        """
    )
    check(sized, policy=policy(deny=["overwrite"]))


def test_an_open_that_need_not_overwrite_becomes_one_that_cannot() -> None:
    """Only the target knows whether the file is there."""
    script = """
        partner -> OPEN 1 /a 26 -
        target <- OPEN 1 /a 58 -
        partner -> OPEN 2 /a 2 -
        partner <- STATUS 2 3 "{0}" en
        record Denied(op='open', paths=(b'/a',), status=3, reason='{0}')
        """
    check(script.format("overwrite is not allowed"), policy=policy(deny=["overwrite"]))
    by_path = policy(paths=rules("deny overwrite /a"))
    check(script.format("overwrite is not allowed on this path"), policy=by_path)
    check(
        """
        partner -> OPEN 1 /a 26 -
        target <- OPEN 1 /a 26 -
        record Observed(op='open', paths=(b'/a',), reason='overwrite is not allowed')
        """,
        policy=policy(deny=["overwrite"], mode="observe"),
    )


# Paths


HOME = """\
partner -> REALPATH 99 .
target <- REALPATH 99 .
target -> NAME 99 00000001 00000005 2f686f6d65 00000000 00000000
partner <- NAME 99 00000001000000052f686f6d650000000000000000
"""
REMOVE = OPS[13]


def removes(made: Policy, path: bytes, home: bytes | None = None) -> bool:
    return made.decide(Request(REMOVE, 1, (path,), (path,)), Context(home)) == Allow()


@pytest.mark.parametrize(
    ("lines", "allowed", "denied"),
    [
        (["deny * /secret/**"], [b"/", b"/a", b"/secrets"], [b"/secret", b"/secret/", b"/secret/a/b"]),
        (["allow * /in/**", "deny * /**"], [b"/in", b"/in/a"], [b"/", b"/a", b"/inn", b"rel", b"../x"]),
        (["deny delete /a", "allow * /a"], [b"/b"], [b"/a"]),
        (["allow delete /a", "deny * /a"], [b"/a"], []),
        (["deny read /a"], [b"/a"], []),
        (["deny * /*.csv"], [b"/a/b.csv"], [b"/b.csv"]),
        (["deny * /caf\u00e9"], [b"/cafe", b"/caf\xe9"], ["/caf\u00e9".encode()]),
    ],
)
def test_the_first_rule_that_fits_decides(lines: list[str], allowed: list[bytes], denied: list[bytes]) -> None:
    made = policy(paths=rules(*lines))
    for path in allowed + denied:
        assert removes(made, path, b"/home") is (path in allowed), path


@pytest.mark.parametrize(
    ("path", "home", "allowed"),
    [
        (b"in/a", None, True),
        (b"in/a", b"/home", True),
        (b"/home/in/a", b"/home", True),
        (b"/home/in/a", None, False),  # it cannot be known
        (b"../home/in", b"/home", True),
        (b"../home/in", None, False),
        (b"..x", None, False),
        (b"out", None, False),
        (b"/home/out", b"/home", False),
        (b"/homes/in", b"/home", False),
        (b"/in", b"/", True),
        (b"in", b"/", True),
    ],
)
def test_paths_below_the_home(path: bytes, home: bytes | None, allowed: bool) -> None:
    assert removes(policy(paths=rules("allow * ~/in/**", "deny * /**")), path, home) is allowed


def test_a_relative_path_is_judged_by_whole_ones_once_the_home_is_known() -> None:
    unknown = "the home is not known yet: give whole paths, or ask for the real path of . first"
    check(
        "\n".join(
            [
                "partner -> REMOVE 1 secret",
                f'partner <- STATUS 1 3 "{unknown}" en',
                f"record Denied(op='remove', paths=(b'secret',), status=3, reason='{unknown}')",
                "partner -> REMOVE 2 /secret",
                "target <- REMOVE 2 /secret",
                *HOME.splitlines(),
                "partner -> REMOVE 3 x/../secret",
                'partner <- STATUS 3 3 "delete is not allowed on this path" en',
                "record Denied(op='remove', paths=(b'secret',), status=3, reason='delete is not allowed on this path')",
                "partner -> REMOVE 4 other",
                "target <- REMOVE 4 other",
            ]
        ),
        policy=policy(paths=rules("deny * /home/secret")),
    )


@pytest.mark.parametrize("line", ["REALPATH 1 /x", "REALPATH 1 ."])
def test_only_the_targets_word_on_the_home_counts(line: str) -> None:
    """Not the real path of something else, nor a name that is no whole path."""
    relay = Relay(policy(paths=rules("deny * /home/secret")))
    for side, text in (("partner", "INIT 3"), ("target", "VERSION 3"), ("partner", line)):
        feed(relay, side, encode(text))
    name = "/home" if line.endswith("x") else "home"
    feed(relay, "target", encode(f"NAME 1 00000001 {len(name):08x} {name.encode().hex()} 00000000 00000000"))
    assert relay._home is None


def test_how_the_home_is_called_does_not_change() -> None:
    relay = Relay()
    for line in (GREETING + HOME).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            feed(relay, side, encode(text))
    feed(relay, "partner", encode("REALPATH 1 ."))
    feed(relay, "target", encode("NAME 1 00000001 00000001 2f 00000000 00000000"))
    assert relay._home == b"/home"


def test_a_tilde_is_decided_only_where_all_is() -> None:
    tilde = EXTENSIONS[b"expand-path@openssh.com"]

    def passes(path: bytes, *lines: str) -> bool:
        return policy(paths=rules(*lines)).decide(Request(tilde, 1, (path,), (path,)), Context(b"/home")) == Allow()

    assert passes(b"~/a", "allow * /**")
    assert not passes(b"~/a", "deny * /x")
    assert passes(b"/a", "deny * /x")


def test_names_without_case() -> None:
    made = policy(paths=rules("deny * /Secret/**", "deny * ~/Keys"), ignore_case=True)
    assert not removes(made, b"/sECRET/x", b"/Home")
    assert not removes(made, b"/hOME/kEYS", b"/Home")
    assert removes(policy(paths=rules("deny * /Secret/**")), b"/secret/x")


MOVES = [
    # rules, old, new, whether a rename passes
    (["deny read /secret/**"], b"/secret/a", b"/pub/a", False),  # it could be read there
    (["deny read /secret/**"], b"/secret/a", b"/secret/b", True),
    (["deny read /secret/**"], b"/pub/a", b"/secret/a", True),
    (["deny read /data/secret/**"], b"/data", b"/d2", False),  # what is below it would get out
    (["deny read /data/secret/**"], b"/data/x", b"/d2", True),
    (["deny write ~/keep"], b"/", b"/x", False),
    (["deny write ~/keep"], b"/home", b"/x", False),
    (["deny write ~/keep"], b"/other", b"/x", True),
    (["deny write ~/keep/**"], b"/home/keep/a", b"/home/a", False),
    (["deny * /**/*.key"], b"/data", b"/d2", True),  # it holds wherever they are
    (["allow * /in/**", "deny * /**"], b"/in/a", b"/in/b", True),
    (["allow * /in/**", "deny * /**"], b"/in/a", b"/out/b", False),
    (["deny rename /a"], b"/a", b"/b", False),
    (["deny rename /b"], b"/a", b"/b", False),
    (["deny create /b"], b"/a", b"/b", False),
]


@pytest.mark.parametrize(("lines", "old", "new", "passes"), MOVES)
@pytest.mark.parametrize("op", [OPS[18], EXTENSIONS[b"posix-rename@openssh.com"]], ids=lambda op: op.name)
def test_a_rename_gets_nothing_out(op: Op, lines: list[str], old: bytes, new: bytes, passes: bool) -> None:
    made = policy(paths=rules(*lines))
    decision = made.decide(Request(op, 1, (old, new), (old, new)), Context(b"/home"))
    assert (decision == Allow()) is passes


def test_the_new_name_of_a_rename_may_not_be_overwritten() -> None:
    made = policy(paths=rules("deny overwrite /a"))
    for op, old, new, passes in (
        (EXTENSIONS[b"posix-rename@openssh.com"], b"/b", b"/a", False),
        (OPS[18], b"/b", b"/a", True),
    ):
        assert (made.decide(Request(op, 1, (old, new), (old, new)), Context()) == Allow()) is passes


@pytest.mark.parametrize(
    ("paths", "passes"),
    [
        ((b"/secret/a", b"/pub/a"), False),
        ((b"/pub/a", b"/secret/a"), False),  # whichever of them is the link
        ((b"/pub/a", b"/pub/b"), True),
        ((b"/secret/a", b"/secret/b"), True),
        ((b"/", b"/pub/root"), False),
        ((b"../secret/a", b"/pub/a"), False),  # relative to where the link is
        ((b"a", b"/secret/b"), False),
        ((b"a", b"/pub/b"), True),
        ((b"a", b"b"), True),
    ],
)
def test_a_link_gives_no_access(paths: tuple[bytes, bytes], passes: bool) -> None:
    made = policy(paths=rules("deny read /secret/**"))
    decision = made.decide(Request(OPS[20], 1, paths, paths), Context(b"/home"))
    assert (decision == Allow()) is passes


def test_neither_does_a_hard_link() -> None:
    made, op = policy(paths=rules("deny read /secret/**")), EXTENSIONS[b"hardlink@openssh.com"]
    for paths, passes in (((b"/secret/a", b"/pub/a"), False), ((b"/pub/a", b"/pub/b"), True)):
        assert (made.decide(Request(op, 1, paths, paths), Context()) == Allow()) is passes


def test_a_copy_reads_one_and_writes_the_other() -> None:
    copy = EXTENSIONS[b"copy-data"]

    def copies(*lines: str) -> bool:
        request = Request(copy, 1, (b"h", 0, 1, b"i", 0), (b"/a", b"/b"), (b"h", b"i"))
        return policy(paths=rules(*lines)).decide(request, Context()) == Allow()

    assert copies("deny write /a", "deny read /b")
    assert not copies("deny read /a")
    assert not copies("deny write /b")


# Windows of time


def test_in_a_window_less_may_be_begun_and_what_was_begun_is_finished() -> None:
    now = [0.0]
    made = policy(windows=[{"access": "read_only", "start": "10:00", "end": "11:00"},
                           {"access": "closed", "start": "11:00", "end": "12:00"}])  # fmt: skip
    relay = Relay(made, now=lambda: now[0])
    for line in (GREETING + OPEN + OPENED_DIR).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            feed(relay, side, encode(text))

    def reasons(*lines: str) -> list[str]:
        told = []
        for number, line in enumerate(lines):
            done = feed(relay, "partner", encode(line.replace(" 1", f" {now[0] + number + 1:.0f}", 1)))
            told += [record.reason if isinstance(record, Denied) else "?" for record in done.records] or [""]
            assert bool(b"".join(done.to_outbound)) is (not done.records)
        return told

    writes = "OPEN 1 /a 26 -", "REMOVE 1 /a", "RENAME 1 /a /b", "MKDIR 1 /a -", "SETSTAT 1 /a 0o600", "SYMLINK 1 /a /b"
    reads = "OPEN 1 /a 1 -", "OPENDIR 1 /a", "STAT 1 /a", "READLINK 1 /a", "REALPATH 1 /a"
    always = "WRITE 1 h 0 x", "FSETSTAT 1 h 0o600", "READDIR 1 d", "REALPATH 1 .", "EXTENDED 1 limits@openssh.com"
    assert set(reasons(*writes, *reads, *always)) == {""}
    now[0] = 10 * 3600.0
    assert set(reasons(*writes)) == {"read-only from 10:00 to 11:00 (UTC)"}
    assert set(reasons(*reads, *always)) == {""}
    now[0] = 11 * 3600.0
    assert set(reasons(*writes, *reads)) == {"closed from 11:00 to 12:00 (UTC)"}
    assert set(reasons(*always, "CLOSE 1 h")) == {""}
    now[0] = 12 * 3600.0
    assert set(reasons(*writes, *reads)) == {""}


def test_a_window_is_observed() -> None:
    made = policy(windows=[{"access": "closed"}], mode="observe")
    request = Request(REMOVE, 1, (b"/a",), (b"/a",))
    denied = made.decide(request, Context())
    assert denied == Deny(text="closed from 00:00 to 24:00 (UTC)", enforced=False)


# Names


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        ("OPEN 1 /a/x.exe 26 -", False),
        ("OPEN 1 /a/X.EXE 26 -", False),
        (r"OPEN 1 /a/x.exe/ 26 -", False),
        ('OPEN 1 "/a/x.exe. ." 26 -', False),
        ("OPEN 1 /a/x.exe::$DATA 26 -", False),
        ("OPEN 1 x.exe 26 -", False),
        ("OPEN 1 /a/x.exe 1 -", True),  # reading
        ("OPEN 1 /x.exe/a 26 -", True),
        ("OPEN 1 /a/x.exec 26 -", True),
        ("MKDIR 1 /.ssh -", False),
        ("RENAME 1 /a /b.exe", False),
        ("RENAME 1 /b.exe /a", True),
        ("SYMLINK 1 /a /b.exe", False),
        ("REMOVE 1 /b.exe", True),
    ],
)
def test_names_that_may_not_be_written(line: str, passes: bool) -> None:
    relay = opened(ALLOW_ALL)
    relay._policy = policy(forbidden_names=["*.Exe", ".ssh"])
    done = feed(relay, "partner", encode(line))
    assert (b"".join(done.to_outbound) != b"") is passes
    reasons = [] if passes else ["a file of this name is not allowed"]
    assert [record.reason for record in done.records if isinstance(record, Denied)] == reasons


# Sizes and handles

LARGE = "a file may have 10 bytes at most"


def test_a_write_beyond_the_size_is_refused_and_told_once() -> None:
    check(
        OPEN
        + f"""\
partner -> WRITE 1 h 0 1234567890
target <- WRITE 1 h 0 1234567890
partner -> WRITE 2 h 9 xx
partner <- STATUS 2 3 "{LARGE}" en
record Denied(op='write', paths=(b'/file',), status=3, reason='{LARGE}')
partner -> WRITE 3 h 18446744073709551615 x
partner <- STATUS 3 3 "{LARGE}" en
target -> STATUS 1 0 ok en
partner <- STATUS 1 0 ok en
partner -> CLOSE 4 h
target <- CLOSE 4 h
target -> STATUS 4 0 ok en
partner <- STATUS 4 0 ok en
record FileClosed(path=b'/file', reads=False, writes=True, bytes_read=0, bytes_written=10, failures=2, status=0)
""",
        policy=policy(max_file_size=10),
    )


def test_a_write_beyond_the_size_is_observed_once() -> None:
    check(
        OPEN
        + f"""\
partner -> WRITE 1 h 9 xx
target <- WRITE 1 h 9 xx
record Observed(op='write', paths=(b'/file',), reason='{LARGE}')
partner -> WRITE 2 h 11 xx
target <- WRITE 2 h 11 xx
""",
        policy=policy(max_file_size=10, mode="observe"),
    )


def test_reading_has_no_size() -> None:
    script = OPEN_READ + "partner -> READ 1 h 100 4\ntarget <- READ 1 h 100 4\n"
    check(script, policy=policy(max_file_size=10))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("RAW 00000016 09 00000001 00000001 61 00000001 000000000000000b", LARGE),
        ("RAW 00000016 09 00000001 00000001 61 00000001 000000000000000a", ""),
        ("RAW 00000016 0a 00000001 00000001 68 00000001 000000000000000b", LARGE),
        ("RAW 0000001a 03 00000001 00000001 61 0000000a 00000001 000000000000000b", LARGE),
        ("OPEN 1 /a 12 -", "opening for append is not allowed: the size of files is limited"),
        ("OPEN 1 /a 10 -", ""),
        ("EXTENDED 1 copy-data h 0 5 h 5", ""),
        ("EXTENDED 1 copy-data h 0 5 h 6", LARGE),
        ("EXTENDED 1 copy-data h 0 0 h 0", "a copy of unknown length is not allowed: the size of files is limited"),
    ],
)
def test_every_way_to_a_larger_file(line: str, text: str) -> None:
    relay = opened(policy(max_file_size=10))
    done = feed(relay, "partner", encode(line))
    assert [record.reason for record in done.records if isinstance(record, Denied)] == ([text] if text else [])
    assert (b"".join(done.to_outbound) == b"") is bool(text)


def test_handles_are_counted_with_those_that_are_asked_for() -> None:
    text = "only 2 files and directories may be open at once"
    script = OPEN + (
        f"""\
partner -> OPENDIR 1 /
target <- OPENDIR 1 /
partner -> OPEN 2 /a 1 -
partner <- STATUS 2 3 "{text}" en
record Denied(op='open', paths=(b'/a',), status=3, reason='{text}')
target -> STATUS 1 4 no en
partner <- STATUS 1 4 no en
record Opened(path=b'/', directory=True, reads=False, writes=False, status=4)
partner -> OPEN 3 /a 1 -
target <- OPEN 3 /a 1 -
target -> HANDLE 3 x
partner <- HANDLE 3 x
record Opened(path=b'/a', directory=False, reads=True, writes=False, status=0)
partner -> OPENDIR 4 /
partner <- STATUS 4 3 "{text}" en
record Denied(op='opendir', paths=(b'/',), status=3, reason='{text}')
partner -> CLOSE 5 h
target <- CLOSE 5 h
partner -> OPENDIR 6 /
target <- OPENDIR 6 /
"""
    )
    check(script, policy=policy(max_open_handles=2))


# Properties

NAMES = st.sampled_from(["secret", "a", "b", "..", ".", "", "SECRET"])
LINES = st.sampled_from(
    ["OPEN {} {} 1 -", "OPEN {} {} 26 -", "REMOVE {} {}", "STAT {} {}", "RENAME {} {} /x", "RENAME {} /x {}",
     "SYMLINK {} {} /x", "MKDIR {} {} -", "OPENDIR {} {}", "READLINK {} {}",
     "EXTENDED {} posix-rename@openssh.com {} /x"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(LINES, st.lists(NAMES, min_size=1, max_size=7), st.booleans()), max_size=8))
def test_no_way_of_writing_a_path_reaches_what_is_denied(turns: list[tuple[str, list[str], bool]]) -> None:
    """What the target gets is never about the denied path, however it was written, from the root or from the home."""
    relay = Relay(policy(paths=rules("deny * /home/secret/**")))
    for line in (GREETING + HOME).splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            feed(relay, side, encode(text))
    for number, (line, parts, whole) in enumerate(turns):
        path = "/".join(parts)
        text = line.format(number, f'"/home/{path}"' if whole else f'"{path}"')
        for packet in cut(b"".join(feed(relay, "partner", encode(text)).to_outbound)):
            op = find_op(packet[4:])
            assert isinstance(op, Op)
            for reached in decode_request(op, packet[4:]).paths:
                assert posixpath.join(b"/home", reached).split(b"/")[1:3] != [b"home", b"secret"], text


def test_an_open_flag_is_added_and_none_is_lost() -> None:
    request = Request(OPS[3], 1, (b"/a", 26, b"\0" * 4), (b"/a",), (), 26)
    made = request.exclusive()
    assert made.pflags == made.values[1] == 26 | OpenFlag.EXCL
    assert (made.values[0], made.values[2]) == (b"/a", b"\0" * 4)
