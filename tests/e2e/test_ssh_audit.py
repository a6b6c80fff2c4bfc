"""ssh-audit's judgement of each profile of algorithms, on the running server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.suite import Suite
from usp.algorithms import OFFERS, Profile
from usp.ssh import keys

pytestmark = pytest.mark.once

PORTS = {profile: 40 + number for number, profile in enumerate(Profile)}
"""Counted from the suite's first."""
NO_PQ = "does not provide protection against post-quantum attacks"
"""Said of curve25519 without ML-KEM, which `modern` has after it for clients that know nothing newer."""


@pytest.fixture(scope="module")
def listeners(suite: Suite) -> Iterator[Suite]:
    with suite.restored():
        configure(suite)
        yield suite


def configure(suite: Suite) -> None:
    """One listener per profile, with the host key that fits it best."""
    path = {"tunnel": "tunnel-1", "proxy_client": "usp-client-1"}

    def make(kind: str, name: str, **fields: Any) -> None:
        suite.api("POST", f"/items/{kind}", {"name": name, **fields})

    rsa, _ = keys.generate("ssh-rsa")
    make("private-keys", "audit-rsa", private_key=rsa.reveal())
    for profile, port in PORTS.items():
        name = f"audit-{profile}"
        shown = ["audit-rsa"] if profile in (Profile.FIPS, Profile.LEGACY) else ["host-key"]
        chosen = {"profile": str(profile)}
        make("inbound-nodes", name, ip_filter="everybody", host_keys=shown, rule="partners", algorithms=chosen)
        make("routes", name, inbound_nodes=[name], outbound_nodes=["target"])
        make("listeners", name, address="127.0.0.1", port=suite.port(port), route=name, default_outbound_node="target")
        make("deployments", name, listener=name, proxy_server="usp-server-1", **path)
    suite.api("POST", "/servers/usp-server-1/push?wait=10")


def audited(suite: Suite, profile: Profile) -> dict[str, Any]:
    """ssh-audit's report; without its test that floods the server with connections."""
    command = Path(sys.executable).with_name("ssh-audit")
    argv = [str(command), "--skip-rate-test", "-j", "-p", str(suite.port(PORTS[profile])), "127.0.0.1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def notes(report: dict[str, Any], level: str) -> dict[str, list[str]]:
    """algorithm -> what is said of it at that level."""
    offered = [each for category in ("kex", "key", "enc", "mac") for each in report[category]]
    return {each["algorithm"]: each["notes"][level] for each in offered if each["notes"].get(level)}


@pytest.mark.parametrize("profile", Profile)
def test_what_is_offered_is_the_profile(listeners: Suite, profile: Profile) -> None:
    report = audited(listeners, profile)
    offer = OFFERS[profile]
    assert [each["algorithm"] for each in report["enc"]] == list(offer.ciphers)
    assert [each["algorithm"] for each in report["mac"]] == list(offer.macs)
    kex = [each["algorithm"] for each in report["kex"]]
    assert "kex-strict-s-v00@openssh.com" in kex
    assert set(kex) <= {*offer.kex, "kex-strict-s-v00@openssh.com", "ext-info-s"}
    assert report["compression"] == ["none"]
    assert report["banner"]["raw"] == "SSH-2.0-USP"
    sha1 = [each for each in notes(report, "fail") if "sha1" in each or each == "ssh-rsa"]
    assert bool(sha1) is (profile is Profile.LEGACY)


def test_modern_has_no_failure_and_no_warning(listeners: Suite) -> None:
    report = audited(listeners, Profile.MODERN)
    assert notes(report, "fail") == {}
    warnings = notes(report, "warn")
    fallback = ("curve25519-sha256", "curve25519-sha256@libssh.org")
    assert {name: said for name, said in warnings.items() if not (name in fallback and said == [NO_PQ])} == {}
    assert report["cves"] == []
