"""Direct Mode with OpenSSH through it: whole files both ways, half-close, and what is told of it. USP_DIRECT_SIZE sets
the files' size in bytes."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.suite import Suite, alive, random_file, running, sha256, wait_until

SIZE = int(os.environ.get("USP_DIRECT_SIZE", "100_000_000"))


@pytest.fixture(scope="module", params=["--direct", "tunnel"])
def direct(request: pytest.FixtureRequest) -> Iterator[Suite]:
    flags = ["--direct"] if request.param == "--direct" else []
    with running("--workers", "1", *flags) as suite:
        yield suite


def test_the_demo_needs_no_client_without_a_tunnel(direct: Suite, request: pytest.FixtureRequest) -> None:
    assert len(direct.ready["clients"]) == (0 if request.node.callspec.params["direct"] == "--direct" else 1)
    assert direct.sftp("pwd\n").returncode == 0


def ended(suite: Suite) -> list[dict[str, object]]:
    return [event for event in suite.audit("session.ended") if event["listener"] == "tcp"]


def sftp(suite: Suite, batch: str, *options: str) -> subprocess.CompletedProcess[str]:
    """OpenSSH's sftp through the tcp listener, with the target's own login. It knows the target's host key only."""
    login = suite.ready["listeners"]["passthrough"]
    partner = {**suite.ready["partner"], "username": login["username"]}
    suite_to_target = Suite(suite.popen, {**suite.ready, "partner": partner})
    port = suite.ready["listeners"]["tcp"]["port"]
    return suite_to_target.sftp(batch, *options, password=login["password"], port=port)


def test_files_cross_whole_and_the_host_key_is_the_targets(direct: Suite, tmp_path: Path) -> None:
    known_hosts = Path(direct.ready["partner"]["known_hosts"]).read_text().splitlines()
    port = direct.ready["listeners"]["tcp"]["port"]
    keys = {line.split(maxsplit=1)[1] for line in known_hosts if f":{port} " in line}
    assert len(keys) == 1
    assert keys.isdisjoint(line.split(maxsplit=1)[1] for line in known_hosts if f":{port} " not in line)

    before = len(ended(direct))
    digest = random_file(tmp_path / "up", SIZE)
    root = direct.files
    done = sftp(direct, f"cd {root}\nput {tmp_path}/up big\nget big {tmp_path}/down\n")
    assert done.returncode == 0, done.stderr
    assert sha256(root / "big") == sha256(tmp_path / "down") == digest
    (root / "big").unlink()
    wait_until(lambda: len(ended(direct)) == before + 1, 5, "the session ends")
    event = ended(direct)[-1]
    assert event["outcome"] == "completed"
    assert isinstance(event["bytes_in"], int)
    assert isinstance(event["bytes_out"], int)
    assert SIZE < event["bytes_in"] < 1.1 * SIZE
    assert SIZE < event["bytes_out"] < 1.1 * SIZE


def test_a_banner_check_is_counted_as_probe_and_not_audited(direct: Suite) -> None:
    def probes() -> float:
        return _counted(direct, 'usp_sessions_total{listener="tcp",outcome="probe"}')

    wait_until(lambda: probes() >= 1, 10, "the demo's own proof is counted")
    before, count = len(ended(direct)), probes()
    with socket.create_connection(("127.0.0.1", direct.ready["listeners"]["tcp"]["port"])) as sock:
        assert sock.recv(8) == b"SSH-2.0-"
    wait_until(lambda: probes() == count + 1, 10, "it is counted")
    assert len(ended(direct)) == before


def test_a_session_is_seen_and_killed(direct: Suite) -> None:
    with socket.create_connection(("127.0.0.1", direct.ready["listeners"]["tcp"]["port"])) as sock:
        sock.sendall(b"SSH-2.0-somebody\r\n")
        wait_until(lambda: len(_sessions(direct)) == 1, 5, "it is in the list")
        direct.api("DELETE", f"/sessions/{_sessions(direct)[0]['id']}")
        sock.settimeout(5)
        assert sock.recv(4096).startswith(b"SSH-2.0-")
        with pytest.raises(ConnectionResetError):
            sock.recv(1 << 20, socket.MSG_WAITALL)
    wait_until(lambda: ended(direct)[-1]["outcome"] == "killed", 5, "it is audited")


def test_the_ip_filter_is_asked_before_anything_else(direct: Suite) -> None:
    direct.api("POST", "/items/ip-filters", {"name": "nobody", "default": "block"})
    found = direct.api("GET", "/items/listeners/tcp")
    fields = {name: found[name] for name in ("name", "address", "port", "type", "target_host", "target_port")}
    started = len(direct.audit())
    try:
        direct.api("PUT", "/items/listeners/tcp", {**fields, "ip_filter": "nobody"})
        direct.api("POST", "/servers/usp-server-1/push?wait=10")
        with socket.create_connection(("127.0.0.1", fields["port"])) as sock:
            assert sock.recv(1) == b""
    finally:
        direct.api("PUT", "/items/listeners/tcp", {**fields, "ip_filter": "everybody"})
        direct.api("POST", "/servers/usp-server-1/push?wait=10")
    assert len(direct.audit()) == started


def test_half_close(direct: Suite) -> None:
    """The target answers only when it has seen the end of what it is sent, and the partner still hears all of it. (The
    last test here: it takes the target's place.)"""
    pid: int = direct.ready["target"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), 5, "the target ends")
    data = os.urandom(1 << 20) * 8
    with socket.create_server(("127.0.0.1", direct.ready["target"]["port"])) as listening:
        thread = threading.Thread(target=_answer_after_the_end, args=(listening,), daemon=True)
        thread.start()
        with socket.create_connection(("127.0.0.1", direct.ready["listeners"]["tcp"]["port"]), timeout=20) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        thread.join(5)
    assert answer == hashlib.sha256(data).digest() * 100_000
    wait_until(lambda: ended(direct)[-1]["bytes_in"] == len(data), 5, "the session has ended")
    assert (ended(direct)[-1]["outcome"], ended(direct)[-1]["bytes_out"]) == ("completed", len(answer))


def _answer_after_the_end(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        digest = hashlib.sha256()
        while data := connection.recv(1 << 16):
            digest.update(data)
        connection.sendall(digest.digest() * 100_000)


def _sessions(suite: Suite) -> list[dict[str, object]]:
    found = suite.api("GET", "/sessions")
    return [each for each in found["items"] if each["listener"] == "tcp"]


def _counted(suite: Suite, sample: str) -> float:
    import urllib.request

    with urllib.request.urlopen(suite.ready["servers"][0]["metrics"]) as response:
        text = response.read().decode()
    found = re.search(re.escape(sample) + r" (\S+)", text)
    return float(found[1]) if found else 0.0
