"""What cannot be planted in a configuration. (The others: test_doctor.py.)"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.server.support import settings
from usp.cli import checks


def test_files() -> None:
    effective = settings(workers=2, max_sessions=1000)
    assert list(checks.files(effective, 1200)) == []
    (found,) = checks.files(effective, 1199)
    assert "need 1200 open files, 1199 are allowed" in found.message


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    (found,) = checks.writable("log.path", str(tmp_path / "log"))
    assert "has 5 MB left" in found.message


def test_a_directory_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = checks.writable("log.path", str(tmp_path / "log"))
    assert "cannot be written (chown" in found.message


def test_whose_a_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.touch()

    def user(uid: int) -> None:
        monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=uid))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_uid=4711))
    user(4711)
    assert list(checks.private("key", str(key))) == []
    user(4712)
    (found,) = checks.private("key", str(key))
    assert "belongs to user 4711, not to usp (chown usp" in found.message
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_uid=0))
    (found,) = checks.private("key", str(key))
    assert "cannot read it" in found.message


@pytest.mark.parametrize(("state", "count"), [(0, 0), (checks.UNSYNCHRONISED, 1)])
def test_the_kernels_clock(state: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel: Any = SimpleNamespace(adjtimex=lambda buffer: state)
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: kernel)
    assert len(list(checks.clock())) == count
