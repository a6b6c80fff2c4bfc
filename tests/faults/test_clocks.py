"""A host's clock jumps an hour ahead, and back: nobody is locked out, no lease is torn, nothing expires too early.

libfaketime moves the wall clock of one daemon while it runs; its monotonic clock goes on, as on a real host.
"""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import ENV, Suite, running, wait_until
from tests.faults.places import SERVER, Outcomes, status
from tests.faults.transfers import Uploads

pytestmark = [pytest.mark.once, pytest.mark.long]

HOUR = 3600
LOOK = 2.0  # seconds: managers look at their servers this often, and date what they saw by their own clock


def library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1") as suite:
        yield suite


def manager_is_back(suite: Suite) -> None:
    def answers() -> bool:
        try:
            return bool(suite.api("GET", "/servers")["items"])
        except urllib.error.URLError:
            return False

    wait_until(answers, 60, "the manager answers")


@contextmanager
def moved(suite: Suite, daemon: str, file: Path) -> Iterator[None]:
    """The daemon started anew with a clock that the file moves."""
    if not library():
        pytest.skip("libfaketime is not installed: run tests/packages")
    file.write_text("+0\n")
    env = {
        "LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1",
    }  # fmt: skip
    with suite.restartable(daemon) as found:
        found.kill(15)
        ENV.update(env)
        try:
            found.start()
        finally:
            for name in env:
                del ENV[name]
        manager_is_back(suite)
        wait_until(lambda: status(suite)["state"] == "running", 60, "it is seen")
        suite.wait_for_login(within=60)
        yield
        found.kill(15)
        found.start()
    manager_is_back(suite)
    suite.wait_for_login(within=60)


@pytest.mark.parametrize("daemon", ["servers", "clients", "managers"])
def test_a_clock_jumps_an_hour_and_back(suite: Suite, tmp_path: Path, daemon: str) -> None:
    clock = tmp_path / "clock"
    with moved(suite, daemon, clock):
        outcomes = Outcomes(suite)
        version = status(suite)["version"]
        uploads = Uploads(suite, tmp_path, 2, size=22_000_000, rate=8_000)  # twenty-two seconds
        uploads.under_way()
        oldest = 0.0
        for jump in (HOUR, -HOUR, 0):
            clock.write_text(f"{jump:+d}\n")
            jumped = time.monotonic()
            while (past := time.monotonic() - jumped) < 5:
                found = status(suite)
                assert found["state"] == "running", found
                if past > LOOK:  # what was seen before the jump seems an hour old until the next look
                    oldest = max(oldest, found["age"])
                time.sleep(0.2)
            assert suite.sftp("pwd\n").returncode == 0, "partners come in"
            suite.api("GET", "/sessions")  # administrators stay logged in
        assert uploads.finish() == [True, True]
        suite.api("POST", f"/servers/{SERVER}/push?wait=20", {"force": True})
        assert status(suite)["version"] == version + 1
        assert set(outcomes.count()) <= {"completed", "partner_closed"}, outcomes.facts()
        assert oldest < 10, "status does not seem old"
    print(
        f"clock of {daemon} +1 h, -1 h, back: 2 uploads whole, 3 logins, a push; "
        f"{LOOK:.0f} s after a jump no status is older than {oldest:.1f} s"
    )
