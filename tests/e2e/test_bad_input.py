"""Each sentence under "Bad input" of the walking skeleton, with real processes and OpenSSH."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import ENV, Suite, alive, wait_until
from usp.ssh import keys

pytestmark = pytest.mark.once

WRONG = "a-wrong-Password-8931"


@contextmanager
def outbound_node(suite: Suite, **changes: object) -> Iterator[None]:
    """The suite's Outbound Node changed and pushed; put back afterwards."""
    node = suite.api("GET", "/items/outbound-nodes/target")
    _put_node(suite, {**node, **changes})
    try:
        yield
    finally:
        _put_node(suite, node)
        suite.wait_for_login(within=5)


def _put_node(suite: Suite, node: dict[str, object]) -> None:
    fields = {name: node[name] for name in ("name", "host", "port", "host_keys")}
    suite.api("PUT", "/items/outbound-nodes/target", fields)
    suite.api("POST", "/servers/usp-server-1/push?wait=10")


def new_error_lines(suite: Suite, before: str) -> list[str]:
    return [line for line in suite.logs()[len(before) :].splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]


def server_log(suite: Suite) -> str:
    return Path(suite.ready["servers"][0]["log"]).read_text()


def ends(suite: Suite) -> int:
    """How many session.ended there are, now that every session which started has its own."""

    def sessions(event: str) -> set[object]:
        return {line["session"] for line in suite.audit(event)}

    wait_until(lambda: sessions("session.started") <= sessions("session.ended"), 5, "the sessions before are over")
    return len(suite.audit("session.ended"))


def ended(suite: Suite, count: int) -> list[dict[str, object]]:
    """The last session.ended events, once there are more than `count`."""
    wait_until(lambda: len(suite.audit("session.ended")) > count, 5, "the session's end is audited")
    return suite.audit("session.ended")[count:]


def test_a_wrong_password_is_refused_by_the_target(suite: Suite) -> None:
    before, target_log = ends(suite), suite.dir / "log" / "target.log"
    seen = len(target_log.read_text())
    done = suite.sftp("pwd\n", password=WRONG, port=suite.ready["listeners"]["passthrough"]["port"])
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
    said = target_log.read_text()[seen:]
    assert said.count("Failed password for partner") == 1, "the target itself decided, once"
    (end,) = ended(suite, before)
    assert end["outcome"] == "target_denied"
    assert WRONG not in suite.logs()
    assert suite.ready["partner"]["password"] not in suite.logs()


def test_a_wrong_password_of_an_account_does_not_reach_the_target(suite: Suite) -> None:
    before, target_log = ends(suite), suite.dir / "log" / "target.log"
    seen = len(target_log.read_text())
    assert suite.sftp("pwd\n", password=WRONG).returncode != 0
    (end,) = ended(suite, before)
    assert end["outcome"] == "auth_denied"
    assert target_log.read_text()[seen:] == ""


def test_a_target_that_the_clients_allow_list_does_not_name(suite: Suite) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with outbound_node(suite, port=unused.getsockname()[1]):
            _assert_refused(suite, "target_unreachable", "tunnel.not_allowed")


def test_a_target_that_is_down(own_suite: Suite) -> None:
    suite = own_suite
    os.kill(suite.ready["target"]["pid"], signal.SIGKILL)
    wait_until(lambda: not alive(suite.ready["target"]["pid"]), 5, "the target is dead")
    _assert_refused(suite, "target_unreachable", "target.unreachable")


def test_a_tunnel_that_is_down(own_suite: Suite) -> None:
    """Without a link there is no way to the target: the connection is closed before any banner."""
    suite = own_suite
    with suite.restartable("clients") as client:
        client.kill()
        wait_until(lambda: _banner(suite.port()) == b"", 5, "the banner is withheld")
        before = server_log(suite)
        done = suite.sftp("pwd\n", timeout=20)
        assert done.returncode != 0
        assert "Traceback" not in suite.logs()
        wait_until(lambda: "tunnel.down" in server_log(suite)[len(before) :], 5, "one line says why")
    suite.wait_for_login(within=30)


def test_a_changed_host_key_is_refused(suite: Suite) -> None:
    _, other = keys.generate()
    suite.api("POST", "/items/public-keys", {"name": "other", "public_key": other})
    with outbound_node(suite, host_keys=["other"]):
        _assert_refused(suite, "host_key_mismatch", "target.host_key_mismatch")


def _assert_refused(suite: Suite, outcome: str, code: str) -> None:
    """The partner gets a clean SSH failure, the log has one line with the code."""
    known, before = ends(suite), server_log(suite)
    started = time.monotonic()
    done = suite.sftp("pwd\n")
    assert done.returncode != 0
    assert time.monotonic() - started < 15
    assert "Connection closed" in done.stderr or "disconnect" in done.stderr, done.stderr
    assert "127.0.0.1 port " not in done.stderr.replace(f"port {suite.ready['partner']['port']}", ""), "tells little"
    assert [end["outcome"] for end in ended(suite, known)] == [outcome]

    def lines() -> list[str]:
        return [line for line in server_log(suite)[len(before) :].splitlines() if f"code={code} " in line]

    wait_until(lambda: bool(lines()), 5, f"the log says {code}")
    assert len(lines()) == 1, lines()
    assert "Traceback" not in suite.logs()


def test_a_snapshot_with_an_unbindable_port_is_rejected(suite: Suite) -> None:
    import urllib.error

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listener = {
            "name": "unbindable", "address": "127.0.0.1", "port": port, "type": "sftp",
            "route": "partners", "default_outbound_node": "target",
        }  # fmt: skip
        suite.api("POST", "/items/listeners", listener)
        suite.api(
            "POST",
            "/items/deployments",
            {"name": "unbindable", "listener": "unbindable", "proxy_server": "usp-server-1"},
        )
        version = suite.api("GET", "/servers/usp-server-1")["version"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            suite.api("POST", "/servers/usp-server-1/push?wait=10")
        answer = refused.value.read().decode()
        refused.value.close()
        assert refused.value.code == 409
        assert all(word in answer for word in ("unbindable", str(port), "in use")), answer
    status = suite.api("GET", "/servers/usp-server-1")
    assert (status["state"], status["version"]) == ("rejected", version)
    assert suite.sftp("pwd\n").returncode == 0, "the old configuration stays in force"
    suite.api("DELETE", "/items/deployments/unbindable")
    suite.api("DELETE", "/items/listeners/unbindable")
    suite.api("POST", "/servers/usp-server-1/push?wait=10")
    assert suite.api("GET", "/servers/usp-server-1")["state"] == "running"


@pytest.mark.parametrize("daemon", ["server", "client", "manager"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = \n", r":\d+:\d+: .+"),
        ('name = "a"\nname = "b"\n', r":2:1: name: .*(twice|duplicate|already)"),
        ('nmae = "a"\n', r":1:1: nmae: .*name"),
        ("name = 7\n", r":1:1: name: must be a text"),
        ("\x00\x01garbage{{{", r":\d+:\d+: .+"),
    ],
)
def test_a_garbage_hcl_file(daemon: str, text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "usp.hcl"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", f"usp.{daemon}.main", "-config", str(file)],
        env=ENV, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(re.escape(str(file)) + problem, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_banner_probe_leaves_no_error_line(suite: Suite) -> None:
    before = suite.logs()
    for _ in range(3):
        assert _banner(suite.ready["partner"]["port"]).startswith(b"SSH-2.0-")
    time.sleep(0.5)
    assert new_error_lines(suite, before) == []
    assert suite.sftp("pwd\n").returncode == 0


def _banner(port: int) -> bytes:
    """What HAProxy's check does: connect, read the identification, hang up."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
        try:
            return probe.recv(64)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize(
    ("what", "options", "command"),
    [
        ("shell", ("-T",), ()),
        ("pty", ("-tt",), ()),
        ("exec", (), ("id",)),
        ("subsystem", ("-s",), ("netconf",)),
    ],
)
def test_only_sftp(suite: Suite, what: str, options: tuple[str, ...], command: tuple[str, ...]) -> None:
    done = suite.ssh(*command, options=options)
    assert done.returncode != 0
    assert "uid=" not in done.stdout


def test_no_forwarding(suite: Suite) -> None:
    partner = suite.ready["partner"]
    done = suite.ssh(options=("-W", f"127.0.0.1:{suite.ready['target']['port']}"))
    assert done.returncode != 0
    assert b"SSH-2.0" not in done.stdout.encode()
    remote = suite.ssh(options=("-N", "-R", "0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes"))
    assert remote.returncode != 0
    assert partner["password"] not in remote.stderr
