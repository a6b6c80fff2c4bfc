"""Disks that are full or read-only: at the target, whose own words reach the partner; and under our own logs, where
service goes on and says what it lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.e2e.suite import Suite, random_file, running, sha256, wait_until
from tests.faults.places import config_of
from tests.faults.transfers import round_trip

pytestmark = [pytest.mark.once, pytest.mark.long]

SIZE = 1 << 20


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", "--direct") as suite:
        yield suite


@contextmanager
def mounted(folder: Path, options: str = f"size={SIZE}") -> Iterator[Path]:
    """A small file system there."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def with_quota(folder: Path) -> Iterator[Path]:
    """A file system with room, and a quota that binds root, too."""
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("needs btrfs-progs")
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(128 << 20)
        for argv in (("mkfs.btrfs", "-q", image.name), ("mount", "-o", "loop", image.name, str(folder))):
            done = subprocess.run(argv, capture_output=True, check=False)
            if done.returncode:
                pytest.skip(f"no btrfs can be mounted here: {done.stderr.decode()}")
        try:
            subprocess.run(["btrfs", "quota", "enable", str(folder)], check=True)
            subprocess.run(["btrfs", "qgroup", "limit", str(SIZE), str(folder)], check=True)
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def straight(suite: Suite, batch: str) -> str:
    """What OpenSSH's sftp says when it asks the target itself, as the gateway does."""
    target, etc = suite.ready["target"], suite.dir / "etc"
    user = suite.ready["partner"]["username"]
    argv = [
        "sftp", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-q",
        "-i", str(etc / "gateway_key"), "-b", "-", "-P", str(target["port"]), f"{user}@127.0.0.1",
    ]  # fmt: skip
    return words(subprocess.run(argv, input=batch, capture_output=True, text=True, timeout=60, check=False).stderr)


def words(stderr: str) -> str:
    return "\n".join(line for line in stderr.splitlines() if "Warning" not in line and line.strip())


Place: TypeAlias = Callable[[Path], AbstractContextManager[Path]]
REFUSED: dict[str, tuple[Place, str, str]] = {
    "disk full": (mounted, "put {file} full/big", "write remote"),
    "quota": (with_quota, "put {file} full/big", "write remote"),
    "read-only": (partial(mounted, options=f"ro,size={SIZE}"), "put {file} full/big", "full/big"),
    "no such directory": (mounted, "put {file} full/nowhere/big", "No such file"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_target_says_reaches_the_partner(suite: Suite, tmp_path: Path, fault: str) -> None:
    place, batch, expected = REFUSED[fault]
    random_file(tmp_path / "big", 3 * SIZE)
    command = batch.format(file=tmp_path / "big") + "\n"
    written = expected == "write remote"
    with place(suite.files / "full") as folder:
        before = len(suite.audit())
        own = straight(suite, command)
        if written:  # as it was before
            (folder / "big").unlink()
            subprocess.run(["sync", "-f", str(folder)], check=True)
        done = suite.sftp(command)
        assert done.returncode == 1
        assert words(done.stderr) == own, "word for word"
        assert expected in own
        event = "file.closed" if written else "file.opened"

        def told() -> list[dict[str, Any]]:
            return [fact for fact in suite.audit()[before:] if fact["event"] == event and "/full/" in fact["path"]]

        wait_until(lambda: bool(told()), 5, f"{event} is in the audit log")
        assert not written or told()[-1]["failures"] > 0
    round_trip(suite, tmp_path, 100_000)
    print(f"{fault}: the partner reads what the target says: {own.splitlines()[-1]!r}")


def test_permission_at_the_target(suite: Suite, tmp_path: Path) -> None:
    """Immutable: also for root, as whom the tests may run."""
    file = suite.files / "immutable"
    file.write_text("as it was")
    done = subprocess.run(["chattr", "+i", str(file)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the file system knows no immutable files")
    try:
        for command in ("rm immutable\n", "rename immutable other\n"):
            found = suite.sftp(command)
            assert found.returncode == 1
            assert words(found.stderr) == straight(suite, command)
        assert file.read_text() == "as it was"
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=True)
    print(f"permission denied: {words(found.stderr).splitlines()[-1]!r}")


def metric(suite: Suite, name: str) -> float:
    with urllib.request.urlopen(suite.ready["servers"][0]["metrics"]) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)", text, re.MULTILINE))


def test_our_logs_are_full_and_service_goes_on(suite: Suite, tmp_path: Path) -> None:
    """Log and audit log on a file system that is full; then there is room again."""
    with mounted(tmp_path / "small", "size=256k") as small, suite.restartable("servers") as server:
        config = config_of(server)
        before = config.read_text()
        audit = Path(suite.ready["servers"][0]["audit"])
        text = (
            before.replace(str(audit), str(small / "audit"))
            + f'\nlog {{\n  path = "{small}/log"\n  level = "DEBUG"\n}}\n'
        )
        try:
            server.kill()
            config.write_text(text)
            server.start()
            suite.wait_for_login(within=60)
            subprocess.run(["dd", "if=/dev/zero", f"of={small}/filler", "bs=4k"], capture_output=True, check=False)
            for number in range(4):
                round_trip(suite, tmp_path, 2_000_000, name=f"while-full-{number}")
            wait_until(lambda: metric(suite, "usp_log_dropped_lines") > 0, 10, "the log says what it lost")
            wait_until(lambda: metric(suite, "usp_audit_dropped_total") > 0, 10, "so does the audit log")
            log, audit_lost = metric(suite, "usp_log_dropped_lines"), metric(suite, "usp_audit_dropped_total")
            (small / "filler").unlink()
            round_trip(suite, tmp_path, 100_000, name="room-again")
            wait_until(lambda: "audit.dropped" in (small / "audit").read_text(), 10, "the audit log tells the gap")
            stored = suite.api("GET", "/events?action=file.closed&limit=200")["items"]
            paths = {each["detail"].get("path", "") for each in stored}
            assert {f"/while-full-{number}" for number in range(4)} <= {path[path.rfind("/") :] for path in paths}, (
                "the managers have what the file has not"
            )
        finally:
            config.write_text(before)
            server.kill()
            server.start()
    suite.wait_for_login(within=60)
    print(f"our disk full: {log:.0f} log lines and {audit_lost:.0f} audit lines lost, told; all files whole")


def test_our_logs_are_read_only_and_service_goes_on(suite: Suite, tmp_path: Path) -> None:
    with mounted(tmp_path / "small") as small, suite.restartable("servers") as server:
        config = config_of(server)
        before = config.read_text()
        audit = Path(suite.ready["servers"][0]["audit"])
        try:
            server.kill()
            config.write_text(before.replace(str(audit), str(small / "audit")))
            server.start()
            suite.wait_for_login(within=60)
            held = (small / "audit").read_text().count("\n")
            subprocess.run(["mount", "-o", "remount,ro,force", str(small)], capture_output=True, check=False)
            round_trip(suite, tmp_path, 1_000_000, name="while-read-only")
            assert sha256(suite.files / "while-read-only")
            ro = (small / "audit").read_text().count("\n") == held
        finally:
            config.write_text(before)
            server.kill()
            server.start()
    suite.wait_for_login(within=60)
    print(f"our disk {'read-only' if ro else 'remounted'}: files pass, whole")
