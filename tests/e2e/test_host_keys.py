"""A host key changes, and OpenSSH's client never asks: it learned the new one while the old one was still in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.once

NODE = ("name", "priority", "ip_filter", "rule", "host_keys")


class Partner:
    """OpenSSH's client with a `known_hosts` of its own, which has the server's old key."""

    def __init__(self, suite: Suite, known_hosts: Path) -> None:
        partner = suite.ready["partner"]
        where = f"[{partner['host']}]:{partner['port']} "
        found = [line for line in Path(partner["known_hosts"]).read_text().splitlines() if line.startswith(where)]
        known_hosts.write_text("".join(f"{line}\n" for line in found))
        self._known_hosts = known_hosts
        self._suite = Suite(suite.popen, {**suite.ready, "partner": {**partner, "known_hosts": str(known_hosts)}})

    def log_in(self, *options: str) -> str:
        """What the client says; nothing if it was let in."""
        done = self._suite.sftp("pwd\n", *options)
        return "" if done.returncode == 0 else done.stderr

    def known(self) -> set[str]:
        return {line.split()[2] for line in self._known_hosts.read_text().splitlines()}


@pytest.fixture
def node(suite: Suite) -> Iterator[dict[str, Any]]:
    """The Inbound Node of the listener `partners`, as it was afterwards."""
    route = suite.api("GET", "/items/routes/partners")
    found = suite.api("GET", f"/items/inbound-nodes/{route['inbound_nodes'][0]}")
    yield {field: found[field] for field in NODE}
    configure(suite, {field: found[field] for field in NODE})
    suite.api("DELETE", "/items/private-keys/next")


def configure(suite: Suite, node: dict[str, Any], *host_keys: str) -> None:
    suite.api("PUT", f"/items/inbound-nodes/{node['name']}", {**node, "host_keys": host_keys or node["host_keys"]})
    suite.api("POST", "/servers/usp-server-1/push?wait=10")


def test_a_host_key_changes_and_no_partner_is_asked(suite: Suite, node: dict[str, Any], tmp_path: Path) -> None:
    suite.api("POST", "/items/private-keys", {"name": "next", "generate": "ed25519"})
    (old,) = node["host_keys"]
    learning, other = Partner(suite, tmp_path / "known"), Partner(suite, tmp_path / "other")
    first = learning.known()
    assert len(first) == 1

    configure(suite, node, old, "next")
    assert not learning.log_in("-o", "UpdateHostKeys=yes")
    both = learning.known()
    assert both > first
    assert len(both) == 2
    assert not other.log_in("-o", "UpdateHostKeys=no")
    assert other.known() == first

    configure(suite, node, "next", old)
    assert not learning.log_in("-o", "UpdateHostKeys=yes", "-o", "StrictHostKeyChecking=yes")
    assert learning.known() == both
    assert "Host key verification failed" in other.log_in("-o", "UpdateHostKeys=no"), "the new one is in use"

    configure(suite, node, "next")
    assert not learning.log_in("-o", "UpdateHostKeys=yes", "-o", "StrictHostKeyChecking=yes")
    assert learning.known() == both - first, "the old one is forgotten"
