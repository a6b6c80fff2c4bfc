"""One right event for every file of an rclone sync with deletes and renames, in the audit log and at the manager; and a
line that was removed shows, and where. `USP_AUDIT_FILES=2000` makes it a larger one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import usp
from tests.e2e.suite import Suite, wait_until
from tests.e2e.test_clients import rclone as rclone
from tests.e2e.test_clients import run

FILES = int(os.environ.get("USP_AUDIT_FILES", "200"))
SERVER = "usp-server-1"


@pytest.fixture
def hashed(suite: Suite) -> Iterator[None]:
    """The partners' Rule wants a SHA-256 of each file."""
    with suite.restored():
        rule = suite.api("GET", "/items/rules/partners")
        suite.api("PUT", "/items/rules/partners", {**rule, "content_hash": True})
        suite.api("POST", f"/servers/{SERVER}/push?wait=10")
        yield
    shutil.rmtree(suite.files / "audited", ignore_errors=True)


def told(suite: Suite, since: int, event: str) -> list[dict[str, Any]]:
    found = [each for each in suite.audit()[since:] if each["event"] == event]
    return [each for each in found if "/audited/" in each["path"]]


def named(told: list[dict[str, Any]], field: str = "path") -> Counter[str]:
    return Counter(each[field].rpartition("/audited/")[2] for each in told)


@pytest.mark.usefixtures("hashed")
def test_every_file_has_one_right_event(suite: Suite, rclone: list[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    content: dict[str, bytes] = {}
    for number in range(FILES):
        content[f"d{number % 7}/f{number}"] = os.urandom(2_000_000 if number == 0 else 1000 + number)
    for number, (name, data) in enumerate(content.items()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
        os.utime(source / name, (1_600_000_000 + number, 1_600_000_000 + number))
    sync = [*rclone, "sync", "--track-renames", "--track-renames-strategy", "modtime", str(source), "usp:audited"]

    begin = len(suite.audit())
    run(sync)
    wait_until(lambda: len(told(suite, begin, "file.closed")) >= FILES, 5, "the files are told")
    uploads = told(suite, begin, "file.closed")
    assert named(uploads) == dict.fromkeys(content, 1)
    for each in uploads:
        data = content[each["path"].rpartition("/audited/")[2]]
        assert (each["direction"], each["bytes_written"], each["ranges"]) == ("upload", len(data), "complete")
        assert (each["outcome"], each["sha256"]) == ("ok", hashlib.sha256(data).hexdigest())
        assert (each["username"], each["rule"], each["target"]) == ("partner", "partners", "target")
        waited = sum(each.get(f"waited_{side}", 0) for side in ("partner", "target", "tunnel", "gateway"))
        assert abs(waited - each["seconds"]) < 0.001

    names = list(content)
    gone, moved, changed = names[10:20], names[30:40], names[50:60]
    for name in gone:
        (source / name).unlink()
    for name in moved:
        (source / name).rename(source / f"{name}-moved")
    for name in changed:
        (source / name).write_bytes(b"changed " + name.encode())
    middle = len(suite.audit())
    run(sync)
    wait_until(lambda: len(told(suite, middle, "file.remove")) >= len(gone), 5, "the deletes are told")
    renamed = [*told(suite, middle, "file.rename"), *told(suite, middle, "file.posix-rename")]
    assert named(told(suite, middle, "file.remove")) == dict.fromkeys(gone, 1)
    assert named(renamed) == dict.fromkeys(moved, 1)
    assert named(renamed, "to") == dict.fromkeys([f"{name}-moved" for name in moved], 1)
    assert named(told(suite, middle, "file.closed")) == dict.fromkeys(changed, 1)
    landed = {str(file.relative_to(suite.files / "audited")) for file in (suite.files / "audited").rglob("f*")}
    assert landed == (set(content) - {*gone, *moved}) | {f"{name}-moved" for name in moved}

    session = uploads[0]["session"]
    mine = [each["event"] for each in suite.audit()[begin:] if each.get("session") == session]
    stored = wait_stored(suite, session, len(mine))
    assert [each["action"] for each in reversed(stored)] == mine
    query = ("events", "--server", SERVER, "--action", "file.closed", "--account", "partner", "--limit", "100000")
    at_manager = json.loads(usp(suite, *query, "--path", str(suite.files / "audited"), "--json"))["items"]
    assert named([each["detail"] for each in at_manager]) == named([*uploads, *told(suite, middle, "file.closed")])


def wait_stored(suite: Suite, session: str, count: int) -> list[dict[str, Any]]:
    def stored() -> list[dict[str, Any]]:
        found = usp(suite, "events", "--session", session, "--limit", "100000", "--json")
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    wait_until(lambda: len(stored()) >= count, 30, "the manager has stored the session's events")
    return stored()


def test_a_line_that_is_missing_shows(suite: Suite, tmp_path: Path) -> None:
    assert suite.sftp("pwd\n").returncode == 0
    audit = Path(suite.ready["servers"][0]["audit"])

    def stored() -> bool:
        (newest, *_) = suite.api("GET", f"/events/chains?server={SERVER}")["items"]
        return bool(newest["seq"] == suite.audit()[-1]["seq"])

    wait_until(lambda: suite.audit()[-1]["event"] == "session.ended", 5, "the session has ended")
    wait_until(stored, 10, "the manager has stored it")
    lines = audit.read_bytes().splitlines(keepends=True)
    assert f"{len(lines)} lines are as they were written" in usp(suite, "events", "verify", str(audit))
    assert "lines are as they were written" in usp(suite, "events", "verify", "--server", SERVER)

    number = len(lines) // 2
    cut = tmp_path / "cut"
    cut.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
    missing = json.loads(lines[number])["seq"]
    said = usp(suite, "events", "verify", str(cut), code=1)
    assert f"{cut}:{number + 1}: a line is missing before it (seq {missing})" in said
    assert f"1 of {len(lines) - 1} lines" in said
    cut.write_bytes(b"".join(lines[:-2]))
    assert "are as they were written" in usp(suite, "events", "verify", str(cut))
    assert "lines are missing at its end" in usp(suite, "events", "verify", "--server", SERVER, str(cut), code=1)
