"""Limits of bandwidth, end to end: two workers share one, a push changes it for sessions that live. A limit is never
exceeded by more than what is told in docs/bandwidth.md; how much slower it is, is this machine's affair."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import Suite, random_file, sha256, wait_until

MB = 1_000_000


@pytest.fixture(scope="module")
def limited(suite: Suite) -> Iterator[Callable[..., None]]:
    def put(of: str, **bandwidth: int) -> None:
        path = f"/items/{of}"
        fields = {name: value for name, value in suite.api("GET", path).items() if name != "bandwidth"}
        suite.api("PUT", path, {**fields, "bandwidth": bandwidth})
        suite.api("POST", "/servers/usp-server-1/push?wait=10")

    with suite.restored():
        yield put


def test_sessions_on_two_workers_share_the_limit_of_a_rule(
    suite: Suite, limited: Callable[..., Any], tmp_path: Path
) -> None:
    digest = random_file(tmp_path / "up", 3 * MB)
    limited("rules/partners", upload=2 * MB)
    started = time.monotonic()
    uploads = [suite.start_sftp(f"put {tmp_path}/up up-{number}\n") for number in range(2)]
    for upload in uploads:
        upload.communicate(timeout=60)
        assert upload.returncode == 0
    # 6 MB at 2 MB/s; a quarter of a second of it is there at once, and each worker may begin with a half for a second
    assert time.monotonic() - started >= 1.5
    for number in range(2):
        assert sha256(suite.files / f"up-{number}") == digest
        (suite.files / f"up-{number}").unlink()


def test_a_push_changes_the_limit_of_a_live_session(suite: Suite, limited: Callable[..., Any], tmp_path: Path) -> None:
    digest = random_file(suite.files / "large", 8 * MB)
    limited("accounts/partner", download=50_000)  # that would take more than two minutes
    download = suite.start_sftp(f"get large {tmp_path}/large\n")
    wait_until(lambda: (tmp_path / "large").exists(), 10, "the download begins")
    limited("accounts/partner")
    download.communicate(timeout=60)
    assert download.returncode == 0
    assert sha256(tmp_path / "large") == digest
    (suite.files / "large").unlink()


def test_a_listener_in_direct_mode(suite: Suite, limited: Callable[..., Any], tmp_path: Path) -> None:
    digest = random_file(suite.files / "direct", 2 * MB)
    limited("listeners/tcp", download=MB)
    login = suite.ready["listeners"]["passthrough"]
    partner = {**suite.ready["partner"], "username": login["username"]}
    to_target = Suite(suite.popen, {**suite.ready, "partner": partner})
    port = suite.ready["listeners"]["tcp"]["port"]
    started = time.monotonic()
    done = to_target.sftp(f"get {suite.files}/direct {tmp_path}/direct\n", password=login["password"], port=port)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started >= 1.2
    assert sha256(tmp_path / "direct") == digest
    (suite.files / "direct").unlink()
