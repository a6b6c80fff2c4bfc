"""What an administrator starts and stops stays so, whoever restarts."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.command_line import await_manager, usp
from tests.e2e.suite import Suite, running, wait_until

pytestmark = pytest.mark.once

SERVER = "usp-server-1"
DEPLOYMENT = "partners-on-usp-server-1"


@pytest.fixture(scope="module")
def shared() -> Iterator[Suite]:
    with running("--workers", "1") as suite:
        yield suite


@pytest.fixture
def suite(shared: Suite) -> Iterator[Suite]:
    """Daemons are killed and configurations spoiled, and all of it is mended."""
    with shared.restored():
        yield shared
    shared.wait_for_login(within=30)


def port_of(suite: Suite, name: str, part: str = "listeners") -> Any:
    (found,) = [each for each in suite.api("GET", f"/servers/{SERVER}")[part] if each["name"] == name]
    return found


def wait_for(suite: Suite, name: str, state: str, part: str = "listeners") -> None:
    wait_until(lambda: port_of(suite, name, part)["state"] == state, 10, f"{name} is {state}")


def worker(suite: Suite) -> int:
    """The pid of the server's worker: another one tells that the server was restarted and seen since."""
    slots = suite.api("GET", f"/servers/{SERVER}")["slots"]
    return slots[0]["pid"] or 0 if slots else 0


def wait_for_restart(suite: Suite, before: int) -> None:
    wait_until(
        lambda: worker(suite) not in (0, before) and suite.api("GET", f"/servers/{SERVER}")["state"] == "running",
        20,
        "the restarted server has its configuration again",
    )


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def never_open(port: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not is_open(port)
        time.sleep(0.005)


def test_a_stopped_listener_stays_stopped(suite: Suite) -> None:
    port = suite.ready["partner"]["port"]
    assert suite.sftp("pwd\n").returncode == 0
    usp(suite, "stop", DEPLOYMENT)
    wait_for(suite, "partners", "stopped")
    assert not is_open(port)
    assert "an administrator stopped it" in usp(suite, "status", SERVER)
    before = worker(suite)

    with suite.restartable("servers") as server, suite.restartable("managers") as manager:
        server.kill()
        server.start()
        never_open(port, 0.5)
        wait_for_restart(suite, before)
        assert port_of(suite, "partners")["state"] == "stopped"
        assert port_of(suite, "passthrough")["state"] == "running"
        never_open(port, 1.0)

        manager.kill(signal.SIGTERM)
        manager.start()
        await_manager(suite)
        time.sleep(1.5)
        assert port_of(suite, "partners")["state"] == "stopped"
        never_open(port, 0.5)
        usp(suite, "push", SERVER, "--force", "--wait")
        assert port_of(suite, "partners")["state"] == "stopped", "a push starts nothing that was stopped"

        usp(suite, "start", DEPLOYMENT)
        wait_for(suite, "partners", "running")
        suite.wait_for_login(within=10)


def test_a_manual_listener_starts_stopped_and_stays_started(suite: Suite) -> None:
    """The other listener: nobody ever started it, and what an administrator says lasts."""
    deployment, login = "passthrough-on-usp-server-1", suite.ready["listeners"]["passthrough"]
    found = suite.api("GET", f"/items/deployments/{deployment}")
    suite.api("PUT", f"/items/deployments/{deployment}", {**found, "startup": "manual"})
    assert "startup: auto -> manual" in usp(suite, "diff", SERVER)
    usp(suite, "push", SERVER, "--wait")
    wait_for(suite, "passthrough", "stopped")
    assert not is_open(login["port"])
    assert "its start-up is manual" in usp(suite, "status", SERVER)

    usp(suite, "start", deployment)
    wait_for(suite, "passthrough", "running")
    before = worker(suite)
    with suite.restartable("servers") as server:
        server.kill()
        server.start()
        wait_for_restart(suite, before)
        wait_for(suite, "passthrough", "running")
        suite.wait_for_login(within=10)
        assert suite.sftp("pwd\n", password=login["password"], port=login["port"]).returncode == 0


def test_a_stopped_tunnel_has_no_links(suite: Suite) -> None:
    usp(suite, "stop", "tunnel-1", "--tunnel")
    wait_for(suite, "tunnel-1", "stopped", "tunnels")
    wait_until(lambda: not port_of(suite, "tunnel-1", "tunnels")["links"], 5, "its links are closed")
    assert suite.sftp("pwd\n", timeout=20).returncode != 0
    before = worker(suite)
    with suite.restartable("servers") as server:
        server.kill()
        server.start()
        wait_for_restart(suite, before)
        assert port_of(suite, "tunnel-1", "tunnels")["state"] == "stopped"
        usp(suite, "start", "tunnel-1", "--tunnel")
        wait_for(suite, "tunnel-1", "running", "tunnels")
        suite.wait_for_login(within=15)


def test_a_start_that_fails_is_tried_again(suite: Suite) -> None:
    port = suite.ready["partner"]["port"]
    usp(suite, "stop", DEPLOYMENT)
    wait_for(suite, "partners", "stopped")
    with socket.create_server(("127.0.0.1", port)):
        usp(suite, "start", DEPLOYMENT)
        wait_for(suite, "partners", "failed")
        assert "in use" in usp(suite, "status", SERVER)
    suite.wait_for_login(within=10)
