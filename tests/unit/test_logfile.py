"""Lines reach the file whole, whoever else writes, rotates or blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from usp import logfile
from usp.errors import UspError
from usp.logfile import LogFile, Writer, packed


@contextmanager
def appending(path: Path, max_size: int = 0, max_backups: int = 0, max_age: int = 0) -> Iterator[LogFile]:
    file = LogFile(str(path), max_size, max_backups, max_age)
    try:
        yield file
    finally:
        file.close()


def backups(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if file != path)


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("before\n")
    writer = Writer(str(path))
    assert writer.put(b"one\n")
    assert writer.put(b"two \\udcff\n")
    writer.close()
    assert path.read_text() == "before\none\ntwo \\udcff\n"
    assert writer.dropped == 0


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UspError, match=r"cannot write .*: No such file"):
        Writer(str(tmp_path / "missing" / "x.log"))


def test_rotation_by_size_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    (tmp_path / "x.log.old").write_text("not ours")
    with appending(path, max_size=10, max_backups=2) as file:
        for number in range(5):
            file.write(b"line %d\n" % number)
            time.sleep(0.001)
    assert path.read_text() == "line 4\n"
    *rotated, foreign = backups(path)
    assert [file.read_text() for file in rotated] == ["line 2\n", "line 3\n"]
    assert all(re.fullmatch(r"x\.log\.\d{8}T\d{6}\.\d{6}Z", file.name) for file in rotated)
    assert foreign.name == "x.log.old"


def test_a_line_larger_than_the_limit_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with appending(path, max_size=3) as file:
        file.write(b"a long line\n")
    assert path.read_text() == "a long line\n"
    assert backups(path) == []


def test_rotated_files_grow_old(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    old = tmp_path / "x.log.20200101T000000.000000Z"
    old.write_text("old")
    os.utime(old, (0, 0))
    with appending(path, max_size=3, max_age=1) as file:
        file.write(b"one\n")
        file.write(b"two\n")
    assert [file.read_text() for file in backups(path)] == ["one\n"]


def test_others_notice_the_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LOOK_INTERVAL", 0.0)
    path = tmp_path / "x.log"
    with appending(path, max_size=20) as rotating, appending(path) as other:
        rotating.write(b"0123456789\n")
        other.write(b"other 1\n")
        rotating.write(b"0123456789\n")
        other.write(b"other 2\n")
        path.unlink()
        other.write(b"other 3\n")
    assert [file.read_text() for file in backups(path)] == ["0123456789\nother 1\n"]
    assert path.read_text() == "other 3\n"


def test_reopen_looks_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with appending(path) as file:
        file.write(b"one\n")
        path.rename(tmp_path / "moved")
        file.write(b"two\n")
        file.stale = True
        file.write(b"three\n")
    assert (tmp_path / "moved").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_many_writers_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    writers = [Writer(str(path)) for _ in range(4)]
    for number in range(500):
        for name, writer in enumerate(writers):
            writer.put(f"{name} {number} {'x' * 50}\n".encode())
    for writer in writers:
        writer.close()
    lines = path.read_text().splitlines()
    assert len(lines) == 2000
    for name in range(4):
        mine = [int(line.split()[1]) for line in lines if line.startswith(f"{name} ")]
        assert mine == list(range(500))


def test_a_blocked_output_drops_and_counts_but_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(logfile, "STDOUT", writing)
    writer = Writer("", limit=100, on_dropped=lambda count: b"dropped %d\n" % count)
    started = time.monotonic()
    line = b"x" * 1023 + b"\n"
    results = [writer.put(line) for _ in range(1000)]
    assert time.monotonic() - started < 1
    assert writer.dropped == results.count(False) > 500
    writer.close(timeout=0.01)  # gives up: nobody reads

    received = bytearray()

    def read() -> None:
        while data := os.read(reading, 65536):
            received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    writer.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    assert received.count(b"x\n") == 1000 - writer.dropped
    assert b"dropped %d\n" % writer.dropped in received


def test_a_non_blocking_output_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monkeypatch.setattr(logfile, "STDOUT", writing)
    writer = Writer("")
    writer.put(b"x" * 200_000)
    received = 0
    while received < 200_000:
        received += len(os.read(reading, 65536))
    writer.close()
    os.close(reading)
    os.close(writing)


def test_a_broken_output_is_counted(tmp_path: Path) -> None:
    writer = Writer("/dev/full")
    writer.put(b"x\n")
    writer.close()
    assert writer.dropped == 1


FULL_DISK = """
import resource, sys
from usp.logfile import Writer

writer = Writer(sys.argv[1])
writer.put(b"whole\\n")
writer.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
writer = Writer(sys.argv[1])
writer.put(b"cut off\\n")
writer.put(b"lost\\n")
while writer.dropped < 2:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.put(b"next\\n")
writer.close()
"""


def test_after_a_full_disk_the_next_line_is_whole(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "x.log")], check=True, timeout=30)
    assert (tmp_path / "x.log").read_text().split() == ["whole", "cut", "next"]


def test_lines_that_come_while_it_rests_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "REST", 0.5)
    reading, writing = os.pipe()
    monkeypatch.setattr(logfile, "STDOUT", writing)
    writer = Writer("")
    writer.put(b"alone\n")
    assert os.read(reading, 65536) == b"alone\n"
    time.sleep(0.1)  # it rests
    for number in range(4):
        writer.put(b"%d\n" % number)
    assert os.read(reading, 65536) == b"0\n1\n2\n3\n"
    writer.close()
    os.close(reading)
    os.close(writing)


def test_what_is_written_together_fits_a_pipe_in_one_piece() -> None:
    short, long = b"x" * 1000, b"x" * 5000
    assert [len(lines) for lines in packed([short] * 9)] == [4, 4, 1]
    assert list(packed([short, long, short])) == [[short], [long], [short]]
    assert list(packed([b"one"])) == [[b"one"]]


def test_a_file_that_cannot_be_rotated_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in a directory that became read-only."""

    def refused(self: Path, target: str) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "rename", refused)
    path = tmp_path / "x.log"
    with appending(path, max_size=10) as file:
        file.write(b"line 1\n")
        file.write(b"line 2\n")
    assert path.read_text() == "line 1\nline 2\n"
    assert backups(path) == []
