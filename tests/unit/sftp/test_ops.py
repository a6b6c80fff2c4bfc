from __future__ import annotations

import pytest

from usp.policy import OpClass
from usp.sftp.ops import EXTENSIONS, OPEN, OPS, READ, WRITE, Field, OpenFlag, Packet, open_classes

ALL = [*OPS.values(), *EXTENSIONS.values()]


def test_every_request_of_version_3_is_there_and_nothing_else() -> None:
    assert sorted(OPS) == list(range(3, 21))
    assert all(op.kind == Packet.EXTENDED for op in EXTENSIONS.values())


def test_names_are_unique() -> None:
    assert len({op.name for op in ALL}) == len(ALL)


def test_whatever_changes_something_is_known_to_write() -> None:
    harmless = {op.name for op in ALL if not op.writes}
    assert harmless == {
        *("open", "close", "read", "lstat", "fstat", "opendir", "readdir", "realpath", "stat", "readlink"),
        *("limits@openssh.com", "statvfs@openssh.com", "fstatvfs@openssh.com", "fsync@openssh.com"),
        *("expand-path@openssh.com", "home-directory", "users-groups-by-id@openssh.com"),
    }


def test_every_row_has_a_class_but_open() -> None:
    assert [op for op in ALL if not op.classes] == [OPEN]


def test_what_writes_names_a_path_or_a_handle() -> None:
    named = {Field.PATH, Field.HANDLE}
    assert all(named & set(op.fields) for op in ALL if op.writes)


def test_reads_and_writes_are_the_only_ones_with_data() -> None:
    assert [op for op in ALL if op.answer is Packet.DATA] == [READ]
    assert [op for op in OPS.values() if Field.TEXT in op.fields] == [WRITE]


R, W, A, C, T, X = OpenFlag
c = OpClass


@pytest.mark.parametrize(
    ("flags", "classes"),
    [
        (R, {c.READ}),
        (W, {c.WRITE, c.OVERWRITE}),
        (A, {c.READ, c.WRITE, c.OVERWRITE}),
        (W | C | T, {c.WRITE, c.CREATE, c.OVERWRITE}),
        (W | C | X, {c.WRITE, c.CREATE}),
        (W | X, {c.WRITE, c.OVERWRITE}),
        (R | T, {c.READ, c.OVERWRITE}),
        (R | C, {c.READ, c.CREATE}),
        (0, {c.READ}),
        (C, {c.READ, c.CREATE}),
        (T, {c.READ, c.OVERWRITE}),
    ],
)
def test_what_opening_may_do(flags: int, classes: set[OpClass]) -> None:
    assert open_classes(flags) == classes
