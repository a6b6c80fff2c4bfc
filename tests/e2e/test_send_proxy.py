"""A target behind HAProxy that expects PROXY headers: it sees the partner's address, not the gateway's.

Directly, through the tunnel, and in Direct Mode. HAProxy takes the target's place, so that the Proxy Client's allow
list stays as it is.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sshd import Sshd
from tests.e2e.suite import Suite, running, wait_until
from tests.e2e.test_targets import banner

pytestmark = pytest.mark.once

PARTNER, GATEWAY = "127.0.0.5", "127.0.0.1"
NODE = ("name", "host", "port", "host_keys")
LISTENER = ("name", "address", "port", "type", "ip_filter", "target_host", "target_port")


class Site:
    """The suite, its target moved to another port, and room for HAProxy where the target was."""

    def __init__(self, suite: Suite, directory: Path, behind: int) -> None:
        self.suite = suite
        self.port: int = suite.ready["target"]["port"]
        self.log = directory / "haproxy.log"
        self._config = directory / "haproxy.cfg"
        self._config.write_text(
            f"""\
global
  log stdout format raw local0
defaults
  mode tcp
  log global
  log-format "from %ci"
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen target
  bind 127.0.0.1:{self.port} accept-proxy
  server sshd 127.0.0.1:{behind}
"""
        )

    @contextmanager
    def haproxy(self) -> Iterator[None]:
        with self.log.open("w") as output:
            popen = subprocess.Popen(["haproxy", "-db", "-f", str(self._config)], stdout=output, stderr=output)
        try:
            yield
        finally:
            popen.terminate()
            popen.wait(10)

    def sources(self) -> list[str]:
        """Of connections that ended, as HAProxy knows them."""
        return [line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("from ")]

    def switch(self, on: bool) -> None:
        self._change("outbound-nodes", "target", NODE, send_proxy_v2=on)
        self._change("listeners", "tcp", LISTENER, send_proxy_v2=on)
        self.suite.api("POST", "/servers/usp-server-1/push?wait=10")

    def _change(self, kind: str, name: str, fields: tuple[str, ...], **changes: Any) -> None:
        item = self.suite.api("GET", f"/items/{kind}/{name}")
        self.suite.api("PUT", f"/items/{kind}/{name}", {**{field: item[field] for field in fields}, **changes})

    def sftp(self, *options: str) -> bool:
        return self.suite.sftp("pwd\n", *options).returncode == 0

    def direct_mode(self, *options: str) -> bool:
        login = self.suite.ready["listeners"]["passthrough"]
        partner = {**self.suite.ready["partner"], "username": login["username"]}
        to_target = Suite(self.suite.popen, {**self.suite.ready, "partner": partner})
        port = self.suite.ready["listeners"]["tcp"]["port"]
        return to_target.sftp("pwd\n", *options, password=login["password"], port=port).returncode == 0


@pytest.fixture(scope="module", params=["direct", "tunnel"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp(request.param)
    flags = ["--direct"] if request.param == "direct" else []
    with running("--workers", "1", *flags) as suite:
        sshd, made = Sshd(suite), Site(suite, directory, suite.port(95))
        sshd.kill()
        made.switch(on=True)
        with sshd.copy(directory / "sshd.log", suite.port(95)):
            yield made


@pytest.fixture
def haproxy(site: Site) -> Iterator[None]:
    with site.haproxy():
        wait_until(lambda: _takes(site.port), 10, "HAProxy listens")
        yield


def _takes(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.usefixtures("haproxy")
def test_the_target_sees_the_partners_address(site: Site) -> None:
    assert site.sftp("-o", f"BindAddress={PARTNER}")
    wait_until(lambda: site.sources() == [PARTNER], 5, "HAProxy says who was there")
    assert site.direct_mode("-o", f"BindAddress={PARTNER}")
    wait_until(lambda: site.sources() == [PARTNER] * 2, 5, "HAProxy says who was there")


@pytest.mark.usefixtures("haproxy")
def test_a_probe_that_an_administrator_asks_for_speaks_for_the_gateway(site: Site) -> None:
    question = {"server": "usp-server-1", "source": PARTNER, "user": "partner", "probe": True}
    found = site.suite.api("POST", "/explain", {**question, "listener": "partners", "login": "dedicated"})
    assert found["probe"]["ok"], found
    found = site.suite.api("POST", "/explain", {**question, "listener": "tcp"})
    assert found["probe"]["ok"], found
    wait_until(lambda: site.sources() == [GATEWAY] * 4, 5, "each of its connections has a header")


def test_a_listener_comes_back_by_a_look_with_a_header(site: Site) -> None:
    partners = site.suite.ready["partner"]["port"]

    def withheld() -> bool:
        site.sftp()
        return banner(partners) == b""

    wait_until(withheld, 10, "the target is known to be down")
    with site.haproxy():
        wait_until(lambda: banner(partners).startswith(b"SSH-2.0-"), 10, "the listener is back by itself")
        wait_until(lambda: GATEWAY in site.sources(), 5, "the gateway looked by itself")
        assert "PROXY" not in site.log.read_text(), "and said at once that it did"
        assert site.sftp()


@pytest.mark.usefixtures("haproxy")
def test_without_it_there_is_no_header(site: Site) -> None:
    site.switch(on=False)
    try:
        assert not site.sftp()
        assert not site.direct_mode()
        wait_until(lambda: "PROXY" in site.log.read_text(), 5, "HAProxy says what it misses")
        assert site.sources() == []
    finally:
        site.switch(on=True)
