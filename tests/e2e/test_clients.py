"""Other people's clients: rclone and lftp list, put, get, rename, delete and set times through the proxy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.suite import Suite

MODIFIED = 1_600_000_000


@pytest.fixture
def rclone(suite: Suite, tmp_path: Path) -> list[str]:
    partner = suite.ready["partner"]
    config = tmp_path / "rclone.conf"
    obscured = subprocess.run(
        ["rclone", "obscure", "-"], input=partner["password"], capture_output=True, text=True, check=True
    ).stdout.strip()
    config.write_text(
        f"[usp]\ntype = sftp\nhost = {partner['host']}\nport = {partner['port']}\nuser = {partner['username']}\n"
        f"pass = {obscured}\nknown_hosts_file = {partner['known_hosts']}\nshell_type = none\n"
    )
    return ["rclone", "--config", str(config), "--retries", "1"]


def run(argv: list[str], **env: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False, env={**os.environ, **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rclone(suite: Suite, rclone: list[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number in range(40):
        (source / "sub" / f"f{number}").write_bytes(os.urandom(5000 + number))
    (source / "big").write_bytes(os.urandom(3_000_000))
    for file in [*source.rglob("*")]:
        os.utime(file, (MODIFIED, MODIFIED))

    run([*rclone, "sync", str(source), "usp:rc"])
    assert (suite.files / "rc" / "big").read_bytes() == (source / "big").read_bytes()
    assert int((suite.files / "rc" / "sub" / "f7").stat().st_mtime) == MODIFIED
    # Debian's rclone 1.60 lists every file twice, of a local directory too; so no purge below
    assert len(set(run([*rclone, "lsf", "-R", "usp:rc"]).splitlines())) == 42

    run([*rclone, "moveto", "usp:rc/big", "usp:rc/bigger"])
    assert not (suite.files / "rc" / "big").exists()
    run([*rclone, "copy", "usp:rc", str(tmp_path / "back")])
    assert (tmp_path / "back" / "bigger").read_bytes() == (source / "big").read_bytes()
    assert (tmp_path / "back" / "sub" / "f39").read_bytes() == (source / "sub" / "f39").read_bytes()

    (tmp_path / "empty").mkdir()
    run([*rclone, "sync", str(tmp_path / "empty"), "usp:rc"])
    run([*rclone, "rmdirs", "usp:rc"])
    assert not (suite.files / "rc").exists()


def test_lftp(suite: Suite, tmp_path: Path) -> None:
    partner = suite.ready["partner"]
    (tmp_path / "up").write_bytes(os.urandom(2_000_000))
    os.utime(tmp_path / "up", (MODIFIED, MODIFIED))
    ssh = f"ssh -a -x -F none -o UserKnownHostsFile={partner['known_hosts']} -o StrictHostKeyChecking=yes"
    script = (
        f'set sftp:connect-program "{ssh}"; set net:max-retries 1; set cmd:fail-exit yes; '
        f"open --env-password -u {partner['username']} -p {partner['port']} sftp://{partner['host']}; "
        f"mkdir lf; put {tmp_path}/up -o lf/up; cls -l lf; mv lf/up lf/moved; get lf/moved -o {tmp_path}/down; "
        "chmod 640 lf/moved; ls lf; "
    )
    out = run(["lftp", "-c", script], LFTP_PASSWORD=partner["password"], HOME=str(tmp_path))
    assert "moved" in out
    landed = suite.files / "lf" / "moved"
    assert landed.read_bytes() == (tmp_path / "up").read_bytes() == (tmp_path / "down").read_bytes()
    assert int(landed.stat().st_mtime) == MODIFIED
    run(
        ["lftp", "-c", script.split("mkdir")[0] + "rm lf/moved; rmdir lf"],
        LFTP_PASSWORD=partner["password"],
        HOME=str(tmp_path),
    )
    assert not (suite.files / "lf").exists()
