"""OpenSSH's sftp and OpenSSH's sftp-server with nothing but the Relay between them: no SSH, no daemons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path("/usr/lib/openssh/sftp-server")
REPOSITORY = Path(__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not SERVER.exists(), reason="needs openssh-sftp-server")]


def sftp(directory: Path, *commands: str, options: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """Run `commands`; what sftp printed, and the records."""
    records = directory / "records"
    relay = f"{sys.executable} -m tests.e2e.relay_server {SERVER} {records}"
    done = subprocess.run(
        ["sftp", *options, "-b", "-", "-D", relay],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, records.read_text().splitlines()


@pytest.mark.parametrize("options", [(), ("-B", "261120"), ("-B", "1000", "-R", "500")], ids=" ".join)
def test_a_file_goes_there_and_back(tmp_path: Path, options: tuple[str, ...]) -> None:
    source, remote, back = (tmp_path / name for name in ("source", "remote \N{SNOWMAN}", "back"))
    source.write_bytes(os.urandom(3_000_001))
    _, records = sftp(tmp_path, f'put {source} "{remote}"', f'get "{remote}" {back}', options=options)
    assert remote.read_bytes() == source.read_bytes() == back.read_bytes()
    closed = [line for line in records if line.startswith("FileClosed")]
    assert len(closed) == 2
    assert "bytes_read=0, bytes_written=3000001, failures=0, status=0" in closed[0]
    assert "bytes_read=3000001, bytes_written=0, failures=0, status=0" in closed[1]


def test_everything_else_that_sftp_does(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    printed, records = sftp(
        tmp_path,
        f"cd {tmp_path}/./x/..",
        "pwd",
        "mkdir d",
        "rename a d/b",
        "ln -s d/../d/b link",
        "ln d/b hard",
        "chmod 600 d/b",
        "cp d/b copy",
        "ls -l d/",
        "df",
        "-get missing /dev/null",
        "rm hard",
        "-rmdir d",
    )
    assert f"Remote working directory: {tmp_path}" in printed
    assert "d/b" in printed
    assert (tmp_path / "copy").read_text() == "text"
    assert (tmp_path / "d/b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").readlink() == Path("d/b")
    text = "\n".join(records)
    for op in (
        "mkdir",
        "posix-rename@openssh.com",
        "symlink",
        "hardlink@openssh.com",
        "setstat",
        "copy-data",
        "remove",
    ):
        assert f"Changed(op='{op}'" in text
    assert f"Changed(op='rmdir', paths=(b'{tmp_path}/d',), status=4" in text
