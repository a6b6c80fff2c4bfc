"""Whatever dies, only the sessions on it end, and the next login works."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.command_line import await_manager
from tests.e2e.suite import Suite, alive, random_file, sha256, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.once]


def slots_in_use(suite: Suite) -> int:
    server = suite.ready["servers"][0]["name"]
    return len({session["slot"] for session in suite.api("GET", "/sessions")["items"] if session["server"] == server})


def test_a_killed_worker_takes_only_its_own_sessions(own_suite: Suite, tmp_path: Path) -> None:
    suite = own_suite
    digest = random_file(tmp_path / "up", 30_000_000)
    slow = ("-l", "64000")  # kbit/s: about four seconds each
    transfers = [suite.start_sftp(f"put {tmp_path}/up up{n}\n", *slow) for n in range(2)]
    wait_until(
        lambda: all((suite.files / f"up{n}").exists() and (suite.files / f"up{n}").stat().st_size for n in range(2)),
        10,
        "both transfers run",
    )
    killed, before = suite.workers()[0], len(suite.audit("session.ended"))
    os.kill(killed, signal.SIGKILL)
    took = suite.wait_for_login(within=2)
    codes = [transfer.wait(60) for transfer in transfers]
    for transfer in transfers:
        assert transfer.stdout
        transfer.stdout.close()
    assert sorted(code == 0 for code in codes) == [False, True], codes
    assert sha256(suite.files / f"up{codes.index(0)}") == digest
    outcomes = {entry["outcome"] for entry in suite.audit("session.ended")[before:]}
    assert "internal" in outcomes, "the sessions of the killed worker are accounted for"
    print(f"login after worker kill: {took:.2f} s")

    # The slot gets a new worker, which takes sessions again.
    wait_until(lambda: len({*suite.workers()} - {killed}) == 2, 5, "the worker is back")
    for _ in range(6):
        assert suite.sftp("pwd\n").returncode == 0


def test_a_killed_client_comes_back(own_suite: Suite) -> None:
    suite = own_suite
    with suite.restartable("clients") as client:
        client.kill()
        refused = suite.sftp("pwd\n")
        assert refused.returncode != 0
        client.start()
        took = suite.wait_for_login(within=5)
        print(f"login after usp-client restart: {took:.2f} s")


def test_logins_go_on_without_the_manager(own_suite: Suite) -> None:
    suite = own_suite
    with suite.restartable("managers") as manager:
        manager.kill(signal.SIGTERM)
        time.sleep(1.5)
        for _ in range(3):
            assert suite.sftp("pwd\n").returncode == 0
    await_manager(suite)


def test_a_restarted_server_is_served_again_by_the_manager(own_suite: Suite) -> None:
    suite = own_suite
    with suite.restartable("servers") as server:
        server.kill()
        server.start()
        took = suite.wait_for_login(within=5)
        print(f"login after usp-server restart: {took:.2f} s")


def test_a_terminated_server_lets_a_transfer_finish(own_suite: Suite, tmp_path: Path) -> None:
    suite = own_suite
    digest = random_file(tmp_path / "up", 15_000_000)
    transfer = suite.start_sftp(f"put {tmp_path}/up drained\n", "-l", "40000")
    wait_until(lambda: (suite.files / "drained").exists(), 10, "the transfer runs")
    with suite.restartable("servers") as server:
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert suite.sftp("pwd\n").returncode != 0, "a draining server takes nobody new"
        assert transfer.wait(30) == 0
        assert transfer.stdout
        transfer.stdout.close()
        assert sha256(suite.files / "drained") == digest
        wait_until(lambda: not alive(server.pid), 15, "the server ends")
    suite.wait_for_login(within=30)
