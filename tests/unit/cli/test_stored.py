"""What `usp login` keeps."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from usp.cli import stored
from usp.cli.stored import Stored
from usp.errors import UspError

LOGIN = Stored("https://manager:8443", "alice", "ust_secret", "/ca.pem")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_it_comes_back_and_nobody_else_reads_it(tmp_path: Path) -> None:
    assert stored.read() is None
    stored.write(LOGIN)
    assert stored.read() == LOGIN
    stored.write(Stored("https://other", "bob", "ust_other"))
    assert stored.read() == Stored("https://other", "bob", "ust_other", None)
    assert [path.name for path in (tmp_path / "usp").iterdir()] == ["login.json"]
    assert stat.S_IMODE((tmp_path / "usp" / "login.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "usp").stat().st_mode) == 0o700
    stored.forget()
    stored.forget()
    assert stored.read() is None


def test_without_xdg_it_is_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stored.path() == tmp_path / ".config" / "usp" / "login.json"


def test_one_that_others_could_read_is_not_used() -> None:
    stored.write(LOGIN)
    stored.path().chmod(0o640)
    with pytest.raises(UspError, match="can be read by others") as caught:
        stored.read()
    assert "ust_secret" not in str(caught.value)
    assert "ust_secret" not in repr(LOGIN)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"{}", b"\xff"])
def test_what_is_no_login(content: bytes) -> None:
    stored.write(LOGIN)
    stored.path().write_bytes(content)
    with pytest.raises(UspError, match="log in again"):
        stored.read()


def test_nowhere_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(UspError, match="cannot write"):
        stored.write(LOGIN)
