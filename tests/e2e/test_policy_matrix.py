"""Every operation and every rule of a policy, allowed, denied and observed, at a real target: OpenSSH's sftp-server
with nothing but a Relay before it. What counts is what is in its directory afterwards. No SSH, no daemons."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sftp.playbook import encode
from usp.policy import Mode, OpClass, Policy
from usp.sftp.ops import EXTENSIONS, OPS, Packet, Status
from usp.sftp.policy import ALLOW_ALL, Compiled
from usp.sftp.records import Denied, Observed, Record
from usp.sftp.relay import Relay
from usp.sftp.root import Root
from usp.sftp.wire import Bytes

SERVER = Path("/usr/lib/openssh/sftp-server")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not SERVER.exists(), reason="needs openssh-sftp-server")]

Tree = dict[str, tuple[int, bytes]]
"""Path -> its mode, and its content or where it leads."""


def tree(directory: Path) -> Tree:
    return {path.relative_to(directory).as_posix(): _entry(path) for path in directory.rglob("*")}


def _entry(path: Path) -> tuple[int, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return mode, os.readlink(path).encode()
    return mode, path.read_bytes() if stat.S_ISREG(mode) else b""


class Partner:
    """Who asks through a relay, one thing after the other. It has a root, and the handles `r`, `w` and `dir`."""

    def __init__(self, directory: Path, child: subprocess.Popen[bytes], policy: Policy) -> None:
        self.records: list[Record] = []
        self.reached = 0  # bytes that the target got
        self._child = child
        self._relay = Relay(ALLOW_ALL, root=Root(str(directory).encode()))
        self._back = b""
        self.ask("INIT 3")
        names = {"r": "OPEN 90 /a 1 -", "w": "OPEN 91 /w 2 -", "dir": "OPENDIR 92 /d"}
        self._handles = {
            name: "".join(f"\\x{byte:02x}" for byte in self.ask(line)[13:]) for name, line in names.items()
        }
        self._relay._policy = compiled = Compiled(policy)
        self._relay._max_size, self._relay._holds_to_open = compiled.max_size, compiled.holds_to_open
        self.records.clear()
        self.reached = 0

    def ask(self, line: str) -> bytes:
        """The answer to a request, `{r}` being a handle."""
        data = encode(line.format(**getattr(self, "_handles", {})))
        step = self._relay.from_inbound(data)
        assert step.close is None, step.close
        self._take(step.records, step.to_inbound)
        assert self._child.stdin
        assert self._child.stdout
        for piece in step.to_outbound:
            self.reached += len(piece)
            self._child.stdin.write(piece)
        self._child.stdin.flush()
        while len(self._back) < 4 or len(self._back) < 4 + int.from_bytes(self._back[:4], "big"):
            step = self._relay.from_outbound(os.read(self._child.stdout.fileno(), 1 << 16))
            assert step.close is None, step.close
            self._take(step.records, step.to_inbound)
        answer, self._back = self._back, b""
        return answer

    def _take(self, records: Any, to_partner: Any) -> None:
        self.records += records
        pieces: list[Bytes] = list(to_partner)
        self._back += b"".join(bytes(piece) for piece in pieces)


def _escaped(handle: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in handle)


@contextmanager
def partner(directory: Path, **policy: Any) -> Iterator[Partner]:
    """In a directory with the files a, w and a.exe, the directories d and e, and the link l."""
    directory.mkdir()
    for name in ("a", "w", "a.exe"):
        (directory / name).write_text(f"of {name}")
        (directory / name).chmod(0o644)
    for name in ("d", "e"):
        (directory / name).mkdir(mode=0o755)
    (directory / "l").symlink_to("a")
    with subprocess.Popen([SERVER, "-u", "022"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as child:
        try:
            yield Partner(directory, child, Policy.model_validate(policy))
        finally:
            assert child.stdin
            child.stdin.close()


def status(answer: bytes) -> int | None:
    return int.from_bytes(answer[9:13], "big") if answer[4] == Packet.STATUS else None


FILE, LINK, GONE = 0o100000, 0o120777, None
NEW = FILE | 0o644, b""
OLD = FILE | 0o644, b"of a"
OPERATIONS: list[tuple[str, str, str, dict[str, tuple[int, bytes] | None]]] = [
    # what is asked, its name, the classes that it needs, and what it changes
    ("OPEN 1 /a 1 -", "open", "read", {}),
    ("OPEN 1 /a 0 -", "open", "read", {}),
    ("OPEN 1 /n 42 0o644", "open", "write create", {"n": NEW}),
    ("OPEN 1 /a 2 -", "open", "write overwrite", {}),
    ("OPEN 1 /n 43 0o644", "open", "read write create", {"n": NEW}),
    ("OPENDIR 1 /d", "opendir", "list", {}),
    ("READDIR 1 {dir}", "readdir", "list", {}),
    ("STAT 1 /a", "stat", "stat", {}),
    ("LSTAT 1 /a", "lstat", "stat", {}),
    ("FSTAT 1 {r}", "fstat", "stat", {}),
    ("SETSTAT 1 /a 0o600", "setstat", "setstat", {"a": (FILE | 0o600, b"of a")}),
    ("FSETSTAT 1 {r} 0o600", "fsetstat", "setstat", {"a": (FILE | 0o600, b"of a")}),
    ("RAW 00000018 09 00000001 00000003 2f2f61 00000001 0000000000000002", "setstat", "setstat overwrite",
     {"a": (FILE | 0o644, b"of")}),
    ("REMOVE 1 /a", "remove", "delete", {"a": GONE}),
    ("MKDIR 1 /n 0o700", "mkdir", "mkdir", {"n": (0o40700, b"")}),
    ("RMDIR 1 /e", "rmdir", "rmdir", {"e": GONE}),
    ("REALPATH 1 /a", "realpath", "stat", {}),
    ("RENAME 1 /a /n", "rename", "rename create", {"a": GONE, "n": OLD}),
    ("READLINK 1 /l", "readlink", "readlink", {}),
    ("SYMLINK 1 /a /n", "symlink", "link", {"n": (LINK, b"{}/a")}),
    ("EXTENDED 1 limits@openssh.com", "limits@openssh.com", "other", {}),
    ("EXTENDED 1 statvfs@openssh.com /a", "statvfs@openssh.com", "stat", {}),
    ("EXTENDED 1 fstatvfs@openssh.com {r}", "fstatvfs@openssh.com", "stat", {}),
    ("EXTENDED 1 posix-rename@openssh.com /a /w", "posix-rename@openssh.com", "rename create overwrite",
     {"a": GONE, "w": OLD}),
    ("EXTENDED 1 hardlink@openssh.com /a /n", "hardlink@openssh.com", "link", {"n": OLD}),
    ("EXTENDED 1 fsync@openssh.com {w}", "fsync@openssh.com", "other", {}),
    ("EXTENDED 1 lsetstat@openssh.com /a 0o600", "lsetstat@openssh.com", "setstat", {"a": (FILE | 0o600, b"of a")}),
    ("EXTENDED 1 expand-path@openssh.com ~/a", "expand-path@openssh.com", "stat", {}),
    ("EXTENDED 1 copy-data {r} 0 4 {w} 0", "copy-data", "read write", {"w": OLD}),
    ("EXTENDED 1 home-directory me", "home-directory", "stat", {}),
    ('EXTENDED 1 users-groups-by-id@openssh.com "" ""', "users-groups-by-id@openssh.com", "other", {}),
]  # fmt: skip
HERE = {"home-directory"}
"""Answered by the relay, as there is a root."""


def test_all_operations_are_there() -> None:
    by_handle = {"read", "write", "close"}  # see test_what_a_file_was_opened_for
    assert {row[1] for row in OPERATIONS} | by_handle == {op.name for op in (*OPS.values(), *EXTENSIONS.values())}


def changed(before: Tree, directory: Path, change: dict[str, tuple[int, bytes] | None]) -> Tree:
    after = dict(before)
    for name, entry in change.items():
        if entry is None:
            del after[name]
        else:
            after[name] = entry[0], entry[1].replace(b"{}", str(directory).encode())
    return after


@pytest.mark.parametrize(("line", "op", "classes", "change"), OPERATIONS, ids=[row[0][:45] for row in OPERATIONS])
def test_operations(tmp_path: Path, line: str, op: str, classes: str, change: dict[str, Any]) -> None:
    needed = [OpClass(each) for each in classes.split()]
    others = tuple(each for each in OpClass if each not in needed)
    allowed = tmp_path / "allowed"
    with partner(allowed, deny=others) as asking:
        before = tree(allowed)
        assert status(asking.ask(line)) in (None, Status.OK)
        assert (asking.reached > 0) == (op not in HERE)
    assert tree(allowed) == changed(before, allowed, change)
    assert not [record for record in asking.records if isinstance(record, Denied | Observed)]
    for number, lacking in enumerate(needed):
        denied = tmp_path / f"denied-{number}"
        with partner(denied, deny=(lacking,)) as asking:
            before = tree(denied)
            assert status(asking.ask(line)) == Status.PERMISSION_DENIED
            assert asking.reached == 0
        assert tree(denied) == before
        assert [(type(each), getattr(each, "op", "")) for each in asking.records] == [(Denied, op)]
        observed = tmp_path / f"observed-{number}"
        with partner(observed, deny=(lacking,), mode=Mode.OBSERVE) as asking:
            before = tree(observed)
            assert status(asking.ask(line)) in (None, Status.OK)
        assert tree(observed) == changed(before, observed, change)
        assert [each.op for each in asking.records if isinstance(each, Observed)] == [op]


@pytest.mark.parametrize("mode", Mode)
def test_what_a_file_was_opened_for(tmp_path: Path, mode: Mode) -> None:
    directory = tmp_path / "files"
    with partner(directory, deny=(OpClass.LINK,), mode=mode) as asking:
        assert status(asking.ask("WRITE 1 {w} 0 x")) == Status.OK
        assert status(asking.ask("READ 2 {r} 0 4")) is None
        reached = asking.reached
        for line in ("READ 3 {w} 0 4", "WRITE 4 {r} 0 x"):
            refused = status(asking.ask(line)) == Status.PERMISSION_DENIED
            assert (refused, asking.reached == reached) == ((True, True) if mode is Mode.ENFORCE else (False, False))
        assert status(asking.ask("CLOSE 5 {w}")) == Status.OK
    assert ((directory / "a").read_bytes(), (directory / "w").read_bytes()) == (b"of a", b"xf w")


DENY_A = ({"path": "/a", "access": "deny"},)
RULES: list[tuple[str, dict[str, Any], str, dict[str, tuple[int, bytes] | None]]] = [
    # a rule, as it is written, what it forbids, and what that would change
    ("path", {"paths": DENY_A}, "REMOVE 1 /d/../a", {"a": GONE}),
    ("path, on the way out", {"paths": DENY_A}, "RENAME 1 /a /n", {"a": GONE, "n": OLD}),
    ("path, by a link", {"paths": DENY_A}, "EXTENDED 1 hardlink@openssh.com /a /n", {"n": OLD}),
    ("path, from the home", {"paths": ({"path": "~/a", "access": "deny"},)}, "REMOVE 1 a", {"a": GONE}),
    ("class of a path", {"paths": ({"path": "/a", "access": "deny", "classes": ("delete",)},)}, "REMOVE 1 /a",
     {"a": GONE}),
    ("name", {"forbidden_names": ("*.exe",)}, "OPEN 1 /N.EXE 42 0o644", {"N.EXE": NEW}),
    ("name, by a rename", {"forbidden_names": ("*.exe",)}, "RENAME 1 /a /n.exe", {"a": GONE, "n.exe": OLD}),
    ("size", {"max_file_size": 5}, "WRITE 1 {w} 4 xx", {"w": (FILE | 0o644, b"of wxx")}),
    ("size, by a copy", {"max_file_size": 3}, "EXTENDED 1 copy-data {r} 0 4 {w} 0", {"w": OLD}),
    ("handles", {"max_open_handles": 3}, "OPEN 1 /n 42 0o644", {"n": NEW}),
    ("read-only window", {"windows": ({"access": "read_only"},)}, "REMOVE 1 /a", {"a": GONE}),
    ("closed window", {"windows": ({"access": "closed"},)}, "MKDIR 1 /n 0o700", {"n": (0o40700, b"")}),
    ("preset", {"preset": "download_only"}, "REMOVE 1 /a", {"a": GONE}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "policy", "line", "change"), RULES, ids=[row[0] for row in RULES])
def test_rules(tmp_path: Path, rule: str, policy: dict[str, Any], line: str, change: dict[str, Any]) -> None:
    written = Policy.model_validate(policy, strict=False).model_dump()
    for name, fields, happens in (
        ("without", {}, True),
        ("enforced", written, False),
        ("observed", {**written, "mode": Mode.OBSERVE}, True),
    ):
        directory = tmp_path / name
        with partner(directory, **fields) as asking:
            before = tree(directory)
            code = status(asking.ask(line))
            assert code in (None, Status.OK) if happens else code == Status.PERMISSION_DENIED
        assert tree(directory) == (changed(before, directory, change) if happens else before)
        kinds = {"without": [], "enforced": [Denied], "observed": [Observed]}[name]
        assert [type(each) for each in asking.records if isinstance(each, Denied | Observed)] == kinds
