"""A file crosses the whole suite: OpenSSH's sftp -> usp-server -> tunnel -> usp-client -> OpenSSH's sshd."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.suite import Suite, random_file, sha256


def test_100_mb_put_and_get_are_identical(suite: Suite, tmp_path: Path) -> None:
    digest = random_file(tmp_path / "up", 100_000_000)
    done = suite.sftp(f"put {tmp_path}/up big\nget big {tmp_path}/down\n")
    assert done.returncode == 0, done.stderr
    assert sha256(suite.files / "big") == digest
    assert sha256(tmp_path / "down") == digest
    (suite.files / "big").unlink()


def test_the_files_story_is_in_the_audit_log(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x" * 12345)
    assert suite.sftp(f"put {tmp_path}/up story\nrm story\n").returncode == 0
    assert suite.sftp("pwd\n").returncode == 0
    session = next(e for e in suite.audit("file.closed") if e["path"].endswith("story"))["session"]
    mine = [entry for entry in suite.audit() if entry.get("session") == session]
    closed = next(entry for entry in mine if entry["event"] == "file.closed")
    assert (closed["bytes_written"], closed["username"]) == (12345, "partner")
    assert any(entry["event"] == "file.remove" and entry["path"].endswith("story") for entry in mine)
    ends = [entry for entry in mine if entry["event"] == "session.ended"]
    assert [entry["outcome"] for entry in ends] == ["completed"]


def test_every_ordinary_operation(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    done = suite.sftp(
        f"mkdir d\nput -p {tmp_path}/f d/f\nrename d/f d/g\nchmod 600 d/g\nln -s g d/link\nls -l d\n"
        f"get d/link {tmp_path}/back\nrm d/link\nrm d/g\nrmdir d\n"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_text() == "hello"
    assert not (suite.files / "d").exists()


def test_several_channels_on_one_connection(suite: Suite, tmp_path: Path) -> None:
    """OpenSSH's connection sharing: a second sftp over the same SSH connection."""
    control = ("-o", f"ControlPath={tmp_path}/c", "-o", "ControlMaster=auto", "-o", "ControlPersist=20")
    (tmp_path / "f").write_bytes(b"y" * 70000)
    for name in ("one", "two"):
        done = suite.sftp(f"put {tmp_path}/f {name}\n", *control)
        assert done.returncode == 0, done.stderr
        assert (suite.files / name).read_bytes() == b"y" * 70000
    suite.ssh(options=("-o", f"ControlPath={tmp_path}/c", "-O", "exit"))
