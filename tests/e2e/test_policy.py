"""What a Rule's policy allows, end to end: OpenSSH's sftp as the partner, its sshd as the target, the bytes on its disk
and the lines of the audit log."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.e2e.command_line import usp
from tests.e2e.suite import Suite, random_file, sha256, wait_until

Told = list[tuple[str, str, str, str]]
"""Event, the path's last name, outcome, reason."""


@pytest.fixture(scope="module")
def enforced(suite: Suite) -> Iterator[Callable[..., None]]:
    """Give the partners' Rule, or their Account, a policy and push it; at the end all is as it was."""

    def put(of: str = "rules/partners", **policy: Any) -> None:
        suite.api("PUT", f"/items/{of}", {**suite.api("GET", f"/items/{of}"), "policy": policy})
        suite.api("POST", "/servers/usp-server-1/push?wait=10")

    with suite.restored():
        yield put


@pytest.fixture(autouse=True)
def swept(suite: Suite) -> Iterator[None]:
    """What a test leaves at the target is removed."""
    before = set(suite.files.iterdir())
    yield
    for left in set(suite.files.iterdir()) - before:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def play(suite: Suite, *commands: str) -> tuple[str, Told]:
    """Run all commands, whether they succeed or not: what the client said, and what was denied or observed."""
    before = len(suite.audit())
    done = suite.sftp("".join(f"-{command}\n" for command in commands))
    assert done.returncode == 0, done.stderr

    def heard() -> list[dict[str, Any]]:
        return suite.audit()[before:]

    wait_until(lambda: any(each["event"] == "session.ended" for each in heard()), 5, "the session ends")
    told = [
        (each["event"], Path(each["path"]).name, each["outcome"], each["reason"])
        for each in heard()
        if each.get("outcome") in ("denied", "observed")
    ]
    return done.stderr, told


def test_upload_only(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    (suite.files / "theirs").write_text("of another partner")
    digest = random_file(tmp_path / "up", 3_000_000)
    enforced(preset="upload_only")
    said, told = play(
        suite, f"put -p {tmp_path}/up mine", f"get theirs {tmp_path}/got", "ls", "rm theirs", "rename theirs x"
    )
    assert sha256(suite.files / "mine") == digest
    assert (suite.files / "theirs").read_text() == "of another partner"
    assert not (tmp_path / "got").exists()
    assert said.count("Permission denied") == 4
    assert ("file.open", "theirs", "denied", "read is not allowed") in told
    assert ("file.opendir", suite.files.name, "denied", "list is not allowed") in told
    assert ("file.remove", "theirs", "denied", "delete is not allowed") in told
    assert [each for each in told if each[0] == "file.posix-rename"] == [
        ("file.posix-rename", "theirs", "denied", "rename is not allowed")
    ]
    assert not [each for each in told if each[1] == "mine"]


def test_nothing_is_overwritten(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    first, second = random_file(tmp_path / "1", 100_000), random_file(tmp_path / "2", 50_000)
    enforced(preset="upload_only", deny=["overwrite"])
    said, told = play(suite, f"put {tmp_path}/1 once", f"put {tmp_path}/2 once", f"put {tmp_path}/2 twice")
    assert sha256(suite.files / "once") == first
    assert sha256(suite.files / "twice") == second
    assert "once" in said
    assert told == []  # it was the target that refused
    failed = [each for each in suite.audit("file.opened") if each["path"].endswith("/once")]
    assert [each["outcome"] for each in failed] == ["failed"]


def test_paths_however_they_are_written(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    for directory in ("closed", "open"):
        (suite.files / directory).mkdir()
        (suite.files / directory / "f").write_text(directory)
    (tmp_path / "evil").write_text("evil")
    enforced(paths=[{"path": "~/closed/**", "access": "deny"}, {"path": f"{suite.files}/open/w", "access": "deny"}])
    ways = ["closed/f", "open/../closed/f", f"/{suite.files}//closed/./f", "open/x/../../closed//f"]
    said, told = play(
        suite,
        *(f"get {way} {tmp_path}/got" for way in ways),
        *(f"put {tmp_path}/evil {way}" for way in ways),
        "rename closed elsewhere",
        "rename closed/f open/g",
        f"put {tmp_path}/evil open/w",
        f"get open/f {tmp_path}/allowed",
    )
    assert "Permission denied" in said
    assert (tmp_path / "allowed").read_text() == "open"
    assert not (tmp_path / "got").exists()
    assert sorted(path.relative_to(suite.files).as_posix() for path in suite.files.glob("[co][lp]*/*")) == [
        "closed/f",
        "open/f",
    ]
    assert (suite.files / "closed" / "f").read_text() == "closed"
    assert len(told) >= len(ways) + 3
    assert {outcome for _, _, outcome, _ in told} == {"denied"}


def test_the_size_of_files(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    small = random_file(tmp_path / "small", 500_000)
    random_file(tmp_path / "large", 2_000_000)
    enforced(max_file_size=500_000, forbidden_names=["*.exe"])
    _, told = play(
        suite, f"put {tmp_path}/small small", f"put {tmp_path}/large large", f"put {tmp_path}/small Small.EXE"
    )
    assert sha256(suite.files / "small") == small
    kept = (suite.files / "large").read_bytes()
    assert 0 < len(kept) <= 500_000
    assert (tmp_path / "large").read_bytes().startswith(kept)
    assert not (suite.files / "Small.EXE").exists()
    assert told == [
        ("file.write", "large", "denied", "a file may have 500000 bytes at most"),
        ("file.open", "Small.EXE", "denied", "a file of this name is not allowed"),
    ]
    closed = [each for each in suite.audit("file.closed") if each["path"].endswith("/large")]
    assert [each["outcome"] for each in closed] == ["failed"]


def test_the_partners_root(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    home = suite.files / "partner"
    (home / "in").mkdir(parents=True)
    (suite.files / "theirs").write_text("of another partner")
    (home / "out").symlink_to(suite.files / "theirs")
    digest = random_file(tmp_path / "up", 300_000)
    enforced(root=f"{suite.files}/{{account}}", paths=[{"path": "/keep", "access": "deny", "classes": ["delete"]}])
    before = len(suite.audit("file.closed"))
    batch = [
        "pwd", "cd in", f"put {tmp_path}/up one", "rename one two", "ln two hard", "ln -s two soft", "pwd",
        "cd ../../../..", "pwd", "ls -l", f"get /in/soft {tmp_path}/down", f"get /../theirs {tmp_path}/theirs",
        f"put {tmp_path}/up /keep", "rm keep", "rmdir /",
    ]  # fmt: skip
    done = suite.sftp("".join(f"-{command}\n" for command in batch))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Remote working directory: /\n") == 2
    assert "Remote working directory: /in\n" in done.stdout
    assert str(suite.files) not in done.stdout + done.stderr
    assert sha256(home / "in" / "two") == sha256(home / "in" / "hard") == sha256(tmp_path / "down") == digest
    assert os.readlink(home / "in" / "soft") == f"{home}/in/two"
    assert sha256(home / "keep") == digest
    assert home.is_dir()
    assert not (tmp_path / "theirs").exists()
    expected = {(path, str(home)) for path in ("/in/one", "/in/soft", "/keep")}

    def closed() -> set[tuple[str, str]]:
        return {(each["path"], each["root"]) for each in suite.audit("file.closed")[before:]}

    wait_until(lambda: closed() == expected, 5, "the files are in the audit log, with the root")


def test_links_and_answers_within_the_root(suite: Suite, enforced: Callable[..., None]) -> None:
    """With a client that asks for what OpenSSH's does not."""
    home = suite.files / "acme"
    home.mkdir()
    (suite.files / "theirs").write_text("of another partner")
    (home / "out").symlink_to(suite.files / "theirs")
    (home / "f").write_text("f")
    enforced(root=str(home))

    async def ask() -> None:
        partner = suite.ready["partner"]
        async with (
            asyncssh.connect(
                partner["host"], partner["port"], config=None, username=partner["username"],
                password=partner["password"], known_hosts=partner["known_hosts"], client_keys=None, agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip
            await sftp.symlink(
                "/l", "f"
            )  # towards servers that do not say OpenSSH, asyncssh has it the other way round
            assert await sftp.readlink("l") == "/f"
            assert await sftp.realpath("l") == "/f"
            assert await sftp.realpath("out") == "/out"  # where it leads is not told
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.readlink("out")
            entries = await sftp.readdir("/")
            assert str(suite.files) not in "".join(map(repr, entries))
            assert {str(entry.filename) for entry in entries} == {".", "..", "f", "l", "out"}
            await sftp.posix_rename("f", "../g")
            assert (await sftp.statvfs("/")).bsize > 0

    asyncio.run(ask())
    assert (home / "g").read_text() == "f"
    assert os.readlink(home / "l") == f"{home}/f"


def test_read_only_at_a_time_and_then_closed(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    digest = random_file(suite.files / "there", 10_000)
    enforced(windows=[{"access": "read_only"}])
    _, told = play(suite, f"get there {tmp_path}/got", "rm there", f"put {tmp_path}/got new")
    reason = "read-only from 00:00 to 24:00 (UTC)"
    assert sha256(tmp_path / "got") == sha256(suite.files / "there") == digest
    assert not (suite.files / "new").exists()
    assert {each[3] for each in told} == {reason}
    enforced(windows=[{"access": "closed"}])
    _, told = play(suite, f"get there {tmp_path}/again")
    assert not (tmp_path / "again").exists()
    assert {each[3] for each in told} == {"closed from 00:00 to 24:00 (UTC)"}


def test_a_policy_from_what_was_done(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    """What is suggested allows the same again, and little else."""
    (suite.files / "job").mkdir()
    digest = random_file(tmp_path / "up", 50_000)
    enforced(root=str(suite.files / "job"))
    done = [f"put {tmp_path}/up one", "ls -l", f"get one {tmp_path}/back"]
    assert play(suite, *done)[1] == []
    (session,) = {each["session"] for each in suite.audit("file.closed") if each["path"] == "/one"}

    def stored() -> int:
        found = suite.api("GET", f"/events?session={session}&action=file.")["items"]
        return sum(each["action"] == "file.closed" for each in found)

    wait_until(lambda: stored() == 2, 20, "the managers have what was done")
    suggested = usp(suite, "policy", "suggest", "--rule", "partners", "--days", "1", "--json").rpartition("usp: from")[
        0
    ]
    (rule,) = json.loads(suggested)["items"]["rules"]
    assert rule["policy"]["root"] == str(suite.files / "job")
    (tmp_path / "set.json").write_text(suggested)
    assert "1 changed" in usp(suite, "apply", "-f", str(tmp_path / "set.json"))
    suite.api("POST", "/servers/usp-server-1/push?wait=10")
    assert play(suite, *done)[1] == []
    assert sha256(tmp_path / "back") == digest
    _, told = play(suite, "mkdir d", "rm one", f"put {tmp_path}/up two")
    assert [each[:3] for each in told] == [("file.mkdir", "d", "denied"), ("file.remove", "one", "denied")]
    assert sorted(each.name for each in (suite.files / "job").iterdir()) == ["one", "two"]


def test_observed_and_as_the_account_says(suite: Suite, enforced: Callable[..., None], tmp_path: Path) -> None:
    digest = random_file(tmp_path / "up", 100_000)
    enforced(preset="download_only", max_file_size=10, mode="observe")
    said, told = play(suite, f"put {tmp_path}/up seen", "rename seen seen2")
    assert said == ""
    assert sha256(suite.files / "seen2") == digest
    assert told == [
        ("file.open", "seen", "observed", "write, create, overwrite are not allowed"),
        ("file.write", "seen", "observed", "a file may have 10 bytes at most"),
        ("file.posix-rename", "seen", "observed", "create, overwrite, rename are not allowed"),
    ]
    enforced("accounts/partner", preset="download_only")  # the last test: the Rule's policy is nothing to it now
    said, told = play(suite, "rm seen2", f"get seen2 {tmp_path}/down")
    assert told == [("file.remove", "seen2", "denied", "delete is not allowed")]
    assert sha256(suite.files / "seen2") == sha256(tmp_path / "down") == digest
