r"""The virtual root: by playbooks, and whatever is asked or answered stays within it."""

from __future__ import annotations

import posixpath
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sftp.playbook import GREETING, check, cut, encode, feed
from usp.policy import Access, OpClass, PathRule, Policy
from usp.scan import Finding
from usp.sftp.ops import EXTENSIONS, OPS, Op
from usp.sftp.packets import Request, decode_request, encode_request, find_op
from usp.sftp.policy import AllowAll, Compiled
from usp.sftp.records import Denied, LeftBehind, Scanned
from usp.sftp.relay import Relay
from usp.sftp.root import Root, place
from usp.sftp.wire import string, u32

ROOT = b"/partners/acme"


def rooted(script: str, policy: AllowAll | Compiled | None = None, root: bytes = ROOT) -> None:
    """Each piece of the conversation, with a root of its own: it learns."""
    check(script, policy=policy or AllowAll(), root=lambda: Root(root))


def name(*entries: tuple[str, str]) -> str:
    """A NAME's entries in hex."""
    parts = [u32(len(entries))]
    parts += [string(file.encode()) + string(long.encode()) + u32(0) for file, long in entries]
    return b"".join(parts).hex()


def only(path: str) -> str:
    return name((path, path))


@pytest.mark.parametrize(
    ("template", "account", "path"),
    [
        ("/partners/acme", "anyone at/all..", b"/partners/acme"),
        ("/partners/{account}", "acme", b"/partners/acme"),
        ("/{account}/in-{account}", "a.b@c", b"/a.b@c/in-a.b@c"),
        ("/partners/{account}", "..", None),
        ("/partners/x{account}", ".", None),
        ("/partners/{account}", "a/../b", None),
        ("/partners/{account}", "a\n", None),
        ("/partners/{account}", "", None),
        ("/partners/{account}", "{account}", None),
        ("/caf\u00e9", "x", "/caf\u00e9".encode()),
    ],
)
def test_where_the_root_is(template: str, account: str, path: bytes | None) -> None:
    assert place(template, account) == path


REQUESTS = [
    # what is asked, and what the target gets
    ("OPEN 1 /a 1 -", "OPEN 1 /partners/acme/a 1 -"),
    ("OPEN 1 a/../../b 26 0o600", "OPEN 1 /partners/acme/b 26 0o600"),
    ("OPENDIR 1 /", "OPENDIR 1 /partners/acme"),
    ('OPENDIR 1 ""', "OPENDIR 1 /partners/acme"),
    ("STAT 1 .", "STAT 1 /partners/acme"),
    ("STAT 1 ../../etc/passwd", "STAT 1 /partners/acme/etc/passwd"),
    ("LSTAT 1 /a/", "LSTAT 1 /partners/acme/a/"),
    ("SETSTAT 1 / 0o700", "SETSTAT 1 /partners/acme 0o700"),
    ("REMOVE 1 a", "REMOVE 1 /partners/acme/a"),
    ("MKDIR 1 /d 0o700", "MKDIR 1 /partners/acme/d 0o700"),
    ("RMDIR 1 /d", "RMDIR 1 /partners/acme/d"),
    ("REALPATH 1 .", "REALPATH 1 /partners/acme"),
    ("RENAME 1 a /b", "RENAME 1 /partners/acme/a /partners/acme/b"),
    ("READLINK 1 /l", "READLINK 1 /partners/acme/l"),
    ("SYMLINK 1 /a /d/l", "SYMLINK 1 /partners/acme/a /partners/acme/d/l"),
    ("SYMLINK 1 a /d/l", "SYMLINK 1 /partners/acme/d/a /partners/acme/d/l"),
    ("SYMLINK 1 ../../../x d/l", "SYMLINK 1 /partners/acme/x /partners/acme/d/l"),
    ("EXTENDED 1 statvfs@openssh.com .", "EXTENDED 1 statvfs@openssh.com /partners/acme"),
    ("EXTENDED 1 posix-rename@openssh.com a b",
     "EXTENDED 1 posix-rename@openssh.com /partners/acme/a /partners/acme/b"),
    ("EXTENDED 1 hardlink@openssh.com a b", "EXTENDED 1 hardlink@openssh.com /partners/acme/a /partners/acme/b"),
    ("EXTENDED 1 lsetstat@openssh.com /a 0o600", "EXTENDED 1 lsetstat@openssh.com /partners/acme/a 0o600"),
    ("EXTENDED 1 expand-path@openssh.com ~", "EXTENDED 1 expand-path@openssh.com /partners/acme"),
    ("EXTENDED 1 expand-path@openssh.com ~/../a", "EXTENDED 1 expand-path@openssh.com /partners/acme/a"),
    ("EXTENDED 1 expand-path@openssh.com a", "EXTENDED 1 expand-path@openssh.com /partners/acme/a"),
    ("EXTENDED 1 expand-path@openssh.com ~root/a", "EXTENDED 1 expand-path@openssh.com /partners/acme/~root/a"),
    ("EXTENDED 1 users-groups-by-id@openssh.com a b", "EXTENDED 1 users-groups-by-id@openssh.com a b"),
    ("EXTENDED 1 limits@openssh.com", "EXTENDED 1 limits@openssh.com"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "sent"), REQUESTS)
def test_what_the_target_gets(asked: str, sent: str) -> None:
    rooted(f"partner -> {asked}\ntarget <- {sent}")


def test_all_operations_with_paths_are_there() -> None:
    kinds = {encode(asked)[4] for asked, _ in REQUESTS}
    assert kinds >= {op.kind for op in OPS.values() if any(field.name.endswith("PATH") for field in op.fields)}
    text = " ".join(asked for asked, _ in REQUESTS)
    for op in EXTENSIONS.values():
        assert op.name in text or not any(field.name.endswith("PATH") for field in op.fields), op


def test_a_root_that_is_the_targets_own() -> None:
    rooted(
        f"""
        partner -> REALPATH 1 ../a
        target <- REALPATH 1 /a
        target -> NAME 1 {only("/a")}
        partner <- NAME 1 {only("/a")}
        partner -> STAT 1 .
        target <- STAT 1 /
        """,
        root=b"/",
    )


def test_handles_and_records_have_the_path_as_the_partner_sees_it() -> None:
    rooted(
        """
        partner -> OPEN 1 in/f 26 -
        target <- OPEN 1 /partners/acme/in/f 26 -
        target -> HANDLE 1 h
        partner <- HANDLE 1 h
        record Opened(path=b'/in/f', directory=False, reads=False, writes=True, status=0)
        partner -> FSETSTAT 2 h 0o600
        target <- FSETSTAT 2 h 0o600
        target -> STATUS 2 0 ok en
        partner <- STATUS 2 0 ok en
        record Changed(op='fsetstat', paths=(b'/in/f',), status=0, attrs=Attrs(size=None, owner=None, permissions=384, times=None))
        partner -> EXTENDED 3 copy-data h 0 5 h 5
        target <- EXTENDED 3 copy-data h 0 5 h 5
        """  # noqa: E501
    )


def test_the_root_itself_stays() -> None:
    text = "the root cannot be moved, removed or linked"
    for line, op, paths in (
        ("RMDIR 1 /", "rmdir", "(b'/',)"),
        ("RENAME 1 . /x", "rename", "(b'/', b'/x')"),
        ("EXTENDED 1 posix-rename@openssh.com x ..", "posix-rename@openssh.com", "(b'/x', b'/')"),
        ("SYMLINK 1 / /l", "symlink", "(b'/', b'/l')"),
        ("REMOVE 1 ../", "remove", "(b'/',)"),
    ):
        rooted(
            f"""
            partner -> {line}
            partner <- STATUS 1 3 "{text}" en
            record Denied(op='{op}', paths={paths}, status=3, reason='{text}')
            """
        )


def test_home_is_known_here() -> None:
    rooted(
        f"""
        partner -> EXTENDED 1 home-directory other
        partner <- NAME 1 {only("/")}
        """
    )
    rooted(
        """
        partner -> EXTENDED 1 home-directory ""
        partner <- STATUS 1 3 "stat is not allowed" en
        record Denied(op='home-directory', paths=(), status=3, reason='stat is not allowed')
        """,
        Compiled(Policy(deny=(OpClass.STAT,))),
    )


@pytest.mark.parametrize(
    ("asked", "sent", "answer", "told"),
    [
        ("REALPATH 1 a/../b", "REALPATH 1 /partners/acme/b", "/partners/acme/c", "/c"),  # a link within
        ("REALPATH 1 /b", "REALPATH 1 /partners/acme/b", "/secret/b", "/b"),
        ("REALPATH 1 /b", "REALPATH 1 /partners/acme/b", "/partners/acmes", "/b"),
        ("REALPATH 1 /b", "REALPATH 1 /partners/acme/b", "/partners/acme/../other", "/b"),
        ("REALPATH 1 /b", "REALPATH 1 /partners/acme/b", "", "/b"),
        ("REALPATH 1 /b", "REALPATH 1 /partners/acme/b", "/partners/acme", "/"),
        ("REALPATH 1 .", "REALPATH 1 /partners/acme", "not/whole", "/"),
        ("EXTENDED 1 expand-path@openssh.com ~", "EXTENDED 1 expand-path@openssh.com /partners/acme",
         "/partners/acme/", "/"),
        ("READLINK 1 /l", "READLINK 1 /partners/acme/l", "/partners/acme/x/../y", "/y"),
        ("READLINK 1 /d/l", "READLINK 1 /partners/acme/d/l", "../x", "../x"),
        ("READLINK 1 /d/l", "READLINK 1 /partners/acme/d/l", "./a//b/", "./a//b/"),
    ],
)  # fmt: skip
def test_paths_in_answers(asked: str, sent: str, answer: str, told: str) -> None:
    rooted(
        f"""
        partner -> {asked}
        target <- {sent}
        target -> NAME 1 {only(answer)}
        partner <- NAME 1 {only(told)}
        """
    )


@pytest.mark.parametrize("text", ["/etc/passwd", "/partners/other/x", "../../other/x", "a/../../../acme/x", ".."])
def test_where_a_link_leads_is_not_told_if_it_leads_out(text: str) -> None:
    link = "/l" if text == ".." else "/d/l"
    rooted(
        f"""
        partner -> READLINK 1 {link}
        target <- READLINK 1 /partners/acme{link}
        target -> NAME 1 {only(text)}
        partner <- STATUS 1 3 "Permission denied" en
        """
    )


def test_a_root_that_leads_elsewhere_is_learned() -> None:
    rooted(
        f"""
        partner -> REALPATH 1 .
        target <- REALPATH 1 /partners/acme
        target -> NAME 1 {only("/data/7")}
        partner <- NAME 1 {only("/")}
        partner -> REALPATH 1 in
        target <- REALPATH 1 /partners/acme/in
        target -> NAME 1 {only("/data/7/inbox")}
        partner <- NAME 1 {only("/inbox")}
        partner -> READLINK 2 l
        target <- READLINK 2 /partners/acme/l
        target -> NAME 2 {only("/data/7/x")}
        partner <- NAME 2 {only("/x")}
        """
    )


def test_a_listing_says_nothing_of_where_links_lead() -> None:
    listed = name(
        ("plain", "-rw-r--r-- 1 me us 5 Jan 1 plain"),
        ("l", "lrwxrwxrwx 1 me us 5 Jan 1 l -> /partners/other/x"),
        ("q", "lrwxrwxrwx 1 me us 5 Jan 1 'q' -> /secret"),
        ("a -> b", "-rw-r--r-- 1 me us 5 Jan 1 a -> b"),
        ("a -> b", "lrw-r--r-- 1 me us 5 Jan 1 a -> b -> /secret"),
        ("/partners/acme/odd", "/partners/acme/odd"),
    )
    told = name(
        ("plain", "-rw-r--r-- 1 me us 5 Jan 1 plain"),
        ("l", "lrwxrwxrwx 1 me us 5 Jan 1 l"),
        ("q", "lrwxrwxrwx 1 me us 5 Jan 1 'q'"),
        ("a -> b", "-rw-r--r-- 1 me us 5 Jan 1 a -> b"),
        ("a -> b", "lrw-r--r-- 1 me us 5 Jan 1 a -> b"),
        ("odd", "odd"),
    )
    rooted(
        f"""
        partner -> OPENDIR 1 .
        target <- OPENDIR 1 /partners/acme
        target -> HANDLE 1 d
        partner <- HANDLE 1 d
        record Opened(path=b'/', directory=True, reads=False, writes=False, status=0)
        partner -> READDIR 2 d
        target <- READDIR 2 d
        target -> NAME 2 {listed}
        partner <- NAME 2 {told}
        partner -> READDIR 2 d
        target <- READDIR 2 d
        target -> STATUS 2 1 "/partners/acme ends" en
        partner <- STATUS 2 1 "/partners/acme ends" en
        """
    )


def test_a_targets_texts_are_not_passed_on() -> None:
    rooted(
        """
        partner -> STAT 1 x
        target <- STAT 1 /partners/acme/x
        target -> STATUS 1 2 "open /partners/acme/x: no such file" en
        partner <- STATUS 1 2 "No such file" en
        partner -> STAT 2 x
        target <- STAT 2 /partners/acme/x
        target -> STATUS 2 77 "/partners/acme/x is odd" en
        partner <- STATUS 2 77 Failure en
        partner -> MKDIR 3 /d -
        target <- MKDIR 3 /partners/acme/d -
        target -> STATUS 3 0 fine en
        partner <- STATUS 3 0 fine en
        record Changed(op='mkdir', paths=(b'/d',), status=0, attrs=Attrs(size=None, owner=None, permissions=None, times=None))
        """  # noqa: E501
    )


@pytest.mark.parametrize("body", ["00000000", "00000002 00000001 61 00000001 61 00000000"])
@pytest.mark.parametrize("asked", ["REALPATH", "READLINK"])
def test_answers_without_a_name_end_the_session(asked: str, body: str) -> None:
    rooted(
        f"""
        partner -> {asked} 1 /a
        target <- {asked} 1 /partners/acme/a
        target -> NAME 1 {body}
        close target protocol_error
        """
    )


def test_a_policy_is_about_what_the_partner_sees() -> None:
    rules = [("/in/**", Access.ALLOW), ("~/out/**", Access.ALLOW), ("/**", Access.DENY)]
    made = Compiled(Policy(paths=tuple(PathRule(path=path, access=access) for path, access in rules)))
    text = "delete is not allowed on this path"
    rooted(
        f"""
        partner -> REMOVE 1 in/a
        target <- REMOVE 1 /partners/acme/in/a
        partner -> REMOVE 2 /out/a
        target <- REMOVE 2 /partners/acme/out/a
        partner -> REMOVE 3 in/../a
        partner <- STATUS 3 3 "{text}" en
        record Denied(op='remove', paths=(b'/a',), status=3, reason='{text}')
        partner -> REALPATH 4 .
        target <- REALPATH 4 /partners/acme
        """,
        made,
    )


PARTS = st.lists(st.sampled_from(["a", "l", "..", ".", "", "partners", "acme", "~", "~root"]), max_size=6)
PATHS = PARTS.map("/".join)
LINES = st.sampled_from([asked for asked, _ in REQUESTS if "users-groups" not in asked and "limits" not in asked])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(LINES, PATHS, PATHS), min_size=1, max_size=6))
def test_no_request_leaves_the_root(turns: list[tuple[str, str, str]]) -> None:
    relay = greeted()
    for number, (line, first, second) in enumerate(turns):
        data = bytearray(encode(line.replace(" 1 ", f" {number} ", 1)))
        op = find_op(bytes(data[4:]))
        assert isinstance(op, Op)
        paths = [path.encode() for path in (first, second)]
        values = decode_request(op, bytes(data[4:])).values
        fields = zip(op.fields, values, strict=True)
        given = tuple(paths.pop() if field.name.endswith("PATH") else value for field, value in fields)

        # as it is written, in no normal form
        for sent in cut(b"".join(feed(relay, "partner", encode_request(Request(op, number, given))).to_outbound)):
            for path in decode_request(op, sent[4:]).paths:
                within = posixpath.normpath(path)
                assert within == ROOT or within.startswith(ROOT + b"/"), (line, first, second)
                assert b".." not in path.split(b"/")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["REALPATH 1 x", "READLINK 1 /a/l", "EXTENDED 1 expand-path@openssh.com ~"]), PARTS)
def test_no_answer_names_what_is_outside(asked: str, parts: list[str]) -> None:
    relay = greeted()
    feed(relay, "partner", encode(asked))
    outside = "/".join(["/secret", *parts, "more"])
    answer = encode(f"NAME 1 {only(outside)}")
    told = b"".join(feed(relay, "target", answer).to_inbound)
    if not posixpath.normpath(outside).startswith(ROOT.decode() + "/"):
        assert b"secret" not in told
        assert b"partners" not in told


def greeted() -> Relay:
    relay = Relay(root=Root(ROOT))
    for line in GREETING.splitlines():
        side, arrow, text = line.partition(" -> ")
        if arrow:
            feed(relay, side, encode(text))
    return relay


def test_what_is_told_of_the_target_is_told_as_the_partner_sees_it() -> None:
    root = Root(ROOT)
    scanned = Scanned(b"/partners/acme/in/f", Finding.CLEAN, "", 5, True)
    assert root.seen_in(scanned) == replace(scanned, path=b"/in/f")
    left = LeftBehind(b"/partners/acme/.tmp", b"/elsewhere/f", 4)
    assert root.seen_in(left) == LeftBehind(b"/.tmp", b"/elsewhere/f", 4)
    denied = Denied("stat", (b"/partners/acme",), 3, "no")
    assert root.seen_in(denied) is denied
