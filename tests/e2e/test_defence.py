"""Defence: storms of wrong passwords, and load balancers that say whom they speak for. Loopback has many addresses:
in the demo 127.0.0.1 is exempt from limits, and 127.0.0.2 is a stranger."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.e2e.suite import Suite, running, wait_until

pytestmark = pytest.mark.once

STORM = 300
SPRAY = 60
GUILTY, INNOCENT, KNOWN = "127.0.0.2", "127.0.0.3", "127.0.0.4"
SERVER = "/servers/usp-server-1"


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "2") as suite:
        yield suite


@pytest.fixture(autouse=True)
def _released(suite: Suite) -> Iterator[None]:
    yield
    for penalty in suite.api("GET", f"{SERVER}/penalties")["items"]:
        suite.api("DELETE", f"{SERVER}/penalties/{penalty['key']}")


def login(suite: Suite, source: str, password: str | None = None, user: str | None = None) -> bool:
    more = ("-o", f"BindAddress={source}", *(("-o", f"User={user}") if user else ()))
    argv = suite.sftp_argv(*more)
    if user:
        argv[-1] = argv[-1].replace(suite.ready["partner"]["username"], user)
    secret = password or suite.ready["partner"]["password"]
    done = subprocess.run(
        argv,
        input="pwd\n",
        env={**os.environ, "SSHPASS": secret},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0


def banner(port: int, source: str, header: bytes = b"") -> bytes:
    """The first bytes that the port sends; none if it refuses."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as sock:
        try:
            sock.sendall(header)
            return sock.recv(8)
        except ConnectionError:
            return b""


def penalties(suite: Suite) -> dict[str, Any]:
    return {each["key"]: each for each in suite.api("GET", f"{SERVER}/penalties")["items"]}


def test_a_storm_of_wrong_passwords_hurts_nobody_else(suite: Suite) -> None:
    with ThreadPoolExecutor(8) as pool:
        innocent = pool.submit(lambda: [login(suite, source) for source in (INNOCENT, "127.0.0.1", INNOCENT)])
        wrong = list(pool.map(lambda _: login(suite, GUILTY, "wrong", "mallory"), range(STORM)))
        assert not any(wrong)
        assert innocent.result() == [True] * 3
    found = penalties(suite)
    assert found.keys() == {f"source:{GUILTY}", "username:mallory"}
    assert found[f"source:{GUILTY}"]["reason"] == "failed logins"
    assert not login(suite, GUILTY), "refused, whatever the password"
    assert banner(suite.port(), GUILTY) == b""
    assert banner(suite.port(), INNOCENT) == b"SSH-2.0-"
    told = [fact for fact in suite.audit("penalty") if "source" in fact]
    assert {fact["source"] for fact in told} == {GUILTY}
    denied = [fact for fact in suite.audit("login") if fact["peer"].startswith(f"{GUILTY}:")]
    assert len(denied) < STORM / 2, "most were refused before they could try a password"
    suite.api("DELETE", f"{SERVER}/penalties/source:{GUILTY}")
    assert login(suite, GUILTY)


def test_a_username_is_barred_but_not_where_it_is_known(suite: Suite) -> None:
    assert login(suite, KNOWN)
    for number in range(5):
        assert not login(suite, f"127.0.1.{number + 1}", "wrong")
    user = suite.ready["partner"]["username"]
    wait_until(lambda: f"username:{user}" in penalties(suite), 5, "the user name is penalised")
    assert not login(suite, "127.0.1.77"), "the right password does not help from an address that nobody knows"
    assert login(suite, KNOWN)
    suite.api("DELETE", f"{SERVER}/penalties/username:{user}")
    assert login(suite, "127.0.1.78")


def test_a_spray_over_addresses_and_names_does_not_use_up_the_targets_patience(suite: Suite) -> None:
    """OpenSSH would count every failure against the gateway: it is shown two, and one more every six seconds."""
    through = suite.ready["listeners"]["passthrough"]
    right = (through["username"], through["password"])
    target_log = suite.dir / "log" / "target.log"
    seen = target_log.read_text().count("Failed password")
    assert _attempts(suite, [(KNOWN, *right)]) == ["ok"]
    began = time.monotonic()
    spray = [(f"127.0.1.{n}", f"user-{n}", "wrong") for n in range(1, SPRAY)]
    results = _attempts(suite, [*spray[: SPRAY // 2], (KNOWN, *right), *spray[SPRAY // 2 :], (KNOWN, *right)])
    assert Counter(results) == {"denied": SPRAY - 1, "ok": 2}, "who is known there gets in"
    seen = target_log.read_text().count("Failed password") - seen
    assert 2 <= seen <= 2 + (time.monotonic() - began) / 6

    def guarded() -> list[dict[str, Any]]:
        return [fact for fact in suite.audit("login") if fact.get("reason") == "target_guard"]

    wait_until(lambda: len(guarded()) >= SPRAY - 1 - seen, 5, "the audit log has all of them")
    assert {fact["outcome"] for fact in guarded()} == {"auth_denied"}
    assert len(guarded()) == SPRAY - 1 - seen
    assert "target:target" in penalties(suite)
    assert [fact["target"] for fact in suite.audit("target.guarded")] == ["target"]
    assert len(re.findall(r"WARN +\S+ target\.guarded target=target", suite.logs())) == 1
    suite.api("DELETE", f"{SERVER}/penalties/target:target")
    assert _attempts(suite, [(INNOCENT, *right)]) == ["ok"]


def _attempts(suite: Suite, logins: list[tuple[str, str, str]]) -> list[str]:
    """Log in at the listener that passes passwords through: source address, user name, password; twenty at a time."""
    gate = asyncio.Semaphore(20)
    port = suite.ready["listeners"]["passthrough"]["port"]

    async def attempt(source: str, username: str, password: str) -> str:
        async with gate:
            try:
                async with asyncssh.connect(
                    "127.0.0.1", port, local_addr=(source, 0), username=username, password=password, config=None,
                    known_hosts=None, client_keys=None, agent_path=None,
                ):  # fmt: skip
                    return "ok"
            except asyncssh.PermissionDenied:
                return "denied"

    async def all_of_them() -> list[str]:
        return list(await asyncio.gather(*(attempt(*login) for login in logins)))

    return asyncio.run(all_of_them())


def test_banner_checks_cost_nothing(suite: Suite) -> None:
    for _ in range(30):
        assert banner(suite.port(), INNOCENT) == b"SSH-2.0-"
    assert not penalties(suite)
    assert login(suite, INNOCENT)


@pytest.fixture
def proxied(suite: Suite, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A listener that trusts 127.0.0.9, and HAProxy in front that connects from there: their ports."""
    port, balancer = suite.port(60), suite.port(61)

    def make(kind: str, name: str, **fields: Any) -> None:
        suite.api("POST", f"/items/{kind}", {"name": name, **fields})

    make(
        "listeners", "proxied", address="127.0.0.1", port=port, route="partners", default_outbound_node="target",
        proxy_protocol="required", proxy_trusted=["127.0.0.9/32"],
    )  # fmt: skip
    path = {"tunnel": "tunnel-1", "proxy_client": "usp-client-1"}
    make("deployments", "proxied", listener="proxied", proxy_server="usp-server-1", **path)
    suite.api("POST", f"{SERVER}/push?wait=10")
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"""\
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen partners
  bind 127.0.0.1:{balancer}
  source 127.0.0.9
  server usp 127.0.0.1:{port} send-proxy-v2 check inter 300ms
"""
    )
    popen = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _takes(balancer), 10, "HAProxy listens")
        yield port, balancer
    finally:
        popen.send_signal(signal.SIGTERM)
        popen.wait(10)
        for kind in ("deployments", "listeners"):
            suite.api("DELETE", f"/items/{kind}/proxied")
        suite.api("POST", f"{SERVER}/push?wait=10")


def _takes(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_haproxy_says_whom_it_speaks_for(suite: Suite, proxied: tuple[int, int]) -> None:
    _, balancer = proxied
    known = suite.ready["partner"]["known_hosts"]
    key = Path(known).read_text().split(maxsplit=1)[1].splitlines()[0]
    with open(known, "a") as file:
        file.write(f"[127.0.0.1]:{balancer} {key}\n")
    done = suite.sftp("pwd\n", "-o", "BindAddress=127.0.0.77", port=balancer)
    assert done.returncode == 0, done.stderr
    facts = [fact for fact in suite.audit("login") if fact["listener"] == "proxied"]
    assert [(fact["peer"].split(":")[0], fact["outcome"]) for fact in facts] == [("127.0.0.77", "ok")]
    for _ in range(5):
        assert suite.sftp("pwd\n", "-o", "BindAddress=127.0.0.78", port=balancer, password="wrong").returncode != 0
    assert "source:127.0.0.78" in penalties(suite)
    assert suite.sftp("pwd\n", "-o", "BindAddress=127.0.0.78", port=balancer).returncode != 0
    assert suite.sftp("pwd\n", "-o", "BindAddress=127.0.0.77", port=balancer).returncode == 0


def test_forged_and_missing_headers_are_refused(suite: Suite, proxied: tuple[int, int]) -> None:
    port, _ = proxied
    header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 22\r\n"
    assert banner(port, "127.0.0.9", header) == b"SSH-2.0-"
    assert banner(port, "127.0.0.9", b"PROXY UNKNOWN\r\n") == b"SSH-2.0-", "a health check"
    assert banner(port, GUILTY, header) == b""
    assert banner(port, "127.0.0.9", b"SSH-2.0-partner\r\n") == b""
    wait_until(lambda: "proxy.untrusted" in suite.logs(), 5, "the log tells of the stranger")
    wait_until(lambda: "it sent no PROXY header but SSH" in suite.logs(), 5, "and of the missing header")
    assert not penalties(suite)
