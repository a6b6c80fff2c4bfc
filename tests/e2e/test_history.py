"""Push, bad push, rollback, diff, history, and pushes to several servers, with real daemons and `usp`."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.command_line import await_manager, usp
from tests.e2e.suite import Suite, running, wait_until

pytestmark = pytest.mark.once

ONE, TWO = "usp-server-1", "usp-server-2"


@pytest.fixture(scope="module")
def shared() -> Iterator[Suite]:
    with running("--servers", "2", "--workers", "1") as suite:
        yield suite


@pytest.fixture
def suite(shared: Suite) -> Iterator[Suite]:
    """Daemons are killed and configurations spoiled, and all of it is mended."""
    with shared.restored():
        yield shared
    shared.wait_for_login(within=30)


def version(suite: Suite, server: str) -> int:
    return int(suite.api("GET", f"/servers/{server}")["version"])


def describe(suite: Suite, text: str) -> None:
    """A change that reaches every server: the banner of their Inbound Node."""
    node = suite.api("GET", "/items/inbound-nodes/partners")
    suite.api("PUT", "/items/inbound-nodes/partners", {**node, "banner": text})


def test_push_bad_push_and_rollback(suite: Suite) -> None:
    first = version(suite, ONE)
    assert "nothing has changed" in usp(suite, "push", ONE, "--wait")
    assert version(suite, ONE) == first
    assert "nothing has changed" in usp(suite, "diff", ONE)

    describe(suite, "hello")
    diff = usp(suite, "diff", ONE)
    assert "Inbound Node 'partners' changed; banner: nothing -> hello" in diff
    assert "Live sessions keep the configuration" in diff
    usp(suite, "push", ONE, "--wait", "--comment", "say hello")
    second = version(suite, ONE)
    assert second == first + 1

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = {
            "name": "bad", "address": "127.0.0.1", "port": port, "route": "partners",
            "default_outbound_node": "target",
        }  # fmt: skip
        suite.api("POST", "/items/listeners", listener)
        suite.api("POST", "/items/deployments", {"name": "bad", "listener": "bad", "proxy_server": ONE})
        assert f"Opens 127.0.0.1:{port} for Listener 'bad'." in usp(suite, "diff", ONE)
        refused = usp(suite, "push", ONE, "--wait", code=1)
        assert "push.rejected" in refused
        assert "in use" in refused
    assert version(suite, ONE) == second
    assert suite.sftp("pwd\n").returncode == 0, "the old configuration stays in force"
    assert "rejected" in usp(suite, "versions", ONE)

    node = suite.api("GET", "/items/inbound-nodes/partners")
    rule = suite.api("GET", f"/items/rules/{node['rule']}")
    suite.api("PUT", f"/items/rules/{node['rule']}", {**rule, "enabled": False})
    assert "compile.invalid" in usp(suite, "push", ONE, code=1)
    usp(suite, "rollback", ONE, str(first), "--wait")
    back = suite.api("GET", f"/servers/{ONE}/versions/{version(suite, ONE)}")
    old = suite.api("GET", f"/servers/{ONE}/versions/{first}")
    assert (back["version"], back["digest"], back["content"]) == (first + 3, old["digest"], old["content"])
    assert suite.api("GET", f"/servers/{ONE}")["state"] == "running"
    suite.wait_for_login(within=5)
    assert "banner: hello -> nothing" in usp(suite, "diff", ONE, str(second), str(first + 3))


def test_history_tells_who_and_what_and_no_secret(suite: Suite) -> None:
    describe(suite, "one")
    describe(suite, "two")
    told = usp(suite, "history", "inbound-nodes", "partners")
    assert "banner: one -> two" in told
    assert f"update by {suite.ready['admin']['username']}" in told
    suite.api("POST", "/items/private-keys", {"name": "gone", "generate": "ed25519"})
    suite.api("DELETE", "/items/private-keys/gone")
    gone = usp(suite, "history", "private-keys", "gone")
    assert "delete by" in gone
    assert "private_key changed" in gone
    everything = gone + told + usp(suite, "versions", ONE, "1", "--json") + usp(suite, "diff", ONE, "0", "--json")
    assert "***" in everything
    assert "PRIVATE KEY" not in everything
    assert suite.ready["partner"]["password"] not in everything
    assert "argon2" not in everything


def test_a_canary_that_refuses_saves_the_others(suite: Suite) -> None:
    before = version(suite, ONE), version(suite, TWO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = suite.api("GET", "/items/listeners/partners")
        port = {"port": taken.getsockname()[1]}
        suite.api("PUT", "/items/listeners/partners", {**listener, **port})
        describe(suite, "canary")
        told = usp(suite, "push", ONE, TWO, "--canary", "--wait", code=1)
    assert f"{ONE}: rejected" in told
    assert f"{TWO}: skipped" in told
    assert (version(suite, ONE), version(suite, TWO)) == before
    assert len(suite.api("GET", f"/servers/{TWO}/versions")["items"]) == before[1]

    suite.api("PUT", "/items/listeners/partners", listener)
    told = usp(suite, "push", "--all", "--canary", "--wait")
    assert f"{ONE}: applied" in told
    assert f"{TWO}: applied" in told
    assert version(suite, TWO) == before[1] + 1
    again = json.loads(usp(suite, "push", "--all", "--wait", "--json"))
    assert [step["unchanged"] for step in again["servers"]] == [True, True]


def test_a_push_to_many_outlives_its_manager(suite: Suite) -> None:
    describe(suite, "later")
    with suite.restartable("servers") as server, suite.restartable("managers") as manager:
        server.kill()
        body = {"servers": [ONE, TWO], "canary": True, "wait": 60}
        id = suite.api("POST", "/push", body)["id"]
        wait_until(lambda: suite.api("GET", f"/pushes/{id}")["servers"][0]["state"] == "pushing", 10, "it has begun")
        manager.kill(signal.SIGKILL)
        server.start()
        manager.start()
        await_manager(suite)
        took = wait_until(lambda: suite.api("GET", f"/pushes/{id}")["state"] != "running", 40, "it ends")
        found = suite.api("GET", f"/pushes/{id}")
        assert [step["state"] for step in found["servers"]] == ["applied", "applied"], found
        assert "later" in json.dumps(suite.api("GET", f"/servers/{TWO}/versions/{version(suite, TWO)}")["content"])
        suite.wait_for_login(within=10)
    print(f"manager killed in the middle of a push to two servers: applied on both {took:.1f} s after its return")
