"""explain, scan-host-key and test-address, over a stand-in manager."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.cli.main import main

ASK = ("explain", "--server", "s", "--listener", "l", "--source", "192.0.2.7", "--user", "u")
STEPS = [
    {"step": "server", "ok": True, "text": "Proxy Server 's'"},
    {"step": "inbound_node", "ok": False, "text": "Inbound Node 'x' does not take it"},
    {"step": "source", "ok": False, "text": "no Inbound Node\x1b[2J takes it"},
]
HOP = {"name": "connect", "ok": True, "ms": 1.5, "code": "", "detail": "to 192.0.2.1:22"}
KEYS = [
    {"type": "ssh-ed25519", "bits": 256, "fingerprint": "SHA256:ab/cd", "line": "ssh-ed25519 A", "pinned": True},
    {"type": "ssh-rsa", "bits": 3072, "fingerprint": "SHA256:ef+gh", "line": "ssh-rsa B", "pinned": False},
    {"type": "ecdsa-sha2-nistp256", "bits": 256, "fingerprint": "SHA256:known", "line": "ecdsa C", "pinned": False},
]
SCAN = "POST /outbound-nodes/out/scan-host-key"


def usp(site: StandIn, *arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), input=input, catch_exceptions=False)


def explained(**other: Any) -> tuple[int, Any]:
    return 200, {"ok": True, "steps": STEPS[:1], "warnings": [], "probe": None, **other}


def test_explain(site: StandIn) -> None:
    site.answers["POST /explain"] = explained()
    result = usp(site, *ASK)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["ok server: Proxy Server 's'", "the partner is let in"]
    body = {"server": "s", "listener": "l", "source": "192.0.2.7", "user": "u", "probe": False}
    assert site.asked == [("POST /explain", body)]


def test_a_refusal_is_told_and_fails(site: StandIn) -> None:
    site.answers["POST /explain"] = explained(ok=False, steps=STEPS, warnings=["not pushed yet"])
    result = usp(site, *ASK)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:] == [
        "-  inbound_node: Inbound Node 'x' does not take it",
        "NO source: no Inbound Node\N{REPLACEMENT CHARACTER}[2J takes it",
        "!  not pushed yet",
        "the partner is refused",
    ]


def test_a_probe_shows_its_hops(site: StandIn) -> None:
    failed = {**HOP, "name": "login", "ok": False, "code": "target.auth_denied"}
    site.answers["POST /explain"] = explained(probe={"ok": False, "hops": [HOP, failed], "host_keys": []})
    result = usp(site, *ASK, "--probe", "--login", "alice", input="pass word\n")
    assert result.exit_code == 1
    assert "pass word" not in result.output
    assert "192.0.2.1:22" in result.stdout
    assert "target.auth_denied" in result.stdout
    assert result.stdout.splitlines()[-1] == "the path ends at login: to 192.0.2.1:22"
    assert site.asked[0][1]["login"] == {"username": "alice", "password": "pass word"}
    site.answers["POST /explain"] = explained(probe={"ok": True, "hops": [HOP], "host_keys": []})
    result = usp(site, *ASK, "--probe", "--dedicated", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["probe"]["hops"] == [HOP]
    assert site.asked[1][1]["login"] == "dedicated"


def test_a_login_goes_with_a_probe(site: StandIn) -> None:
    assert usp(site, *ASK, "--login", "alice").exit_code == 2
    assert usp(site, *ASK, "--dedicated").exit_code == 2
    assert site.asked == []


def scanned(site: StandIn, *keys: dict[str, Any]) -> None:
    site.answers[SCAN] = (200, {"ok": True, "hops": [HOP], "host_keys": list(keys)})
    known = {"id": "k3", "facts": {"fingerprint": "SHA256:known"}}
    site.answers["GET /items/public-keys?limit=500"] = (200, {"items": [known], "next": None})
    site.answers["GET /items/outbound-nodes/out"] = (200, {"name": "out", "host_keys": ["k1"], "revision": 7})
    site.answers["POST /items/public-keys"] = (201, {"id": "k2"})
    site.answers["PUT /items/outbound-nodes/out"] = (200, {})


def test_scan(site: StandIn) -> None:
    scanned(site, *KEYS)
    result = usp(site, "scan-host-key", "out", "--server", "s", "--tunnel", "t", "--client", "c")
    assert result.exit_code == 0
    assert "SHA256:ef+gh" in result.stdout
    assert site.asked == [(SCAN, {"server": "s", "tunnel": "t", "proxy_client": "c"})]


def test_pinning_adds_what_is_new_once_it_was_agreed_to(site: StandIn) -> None:
    scanned(site, *KEYS)
    result = usp(site, "scan-host-key", "out", "--server", "s", "--pin", input="n\n")
    assert result.exit_code == 1
    assert len(site.asked) == 1
    result = usp(site, "scan-host-key", "out", "--server", "s", "--pin", input="y\n")
    assert result.exit_code == 0, result.output
    made = next(body for asked, body in site.asked if asked == "POST /items/public-keys")
    assert made == {
        "name": "out-ssh-rsa-efgh",
        "description": "Shown to s by the target of out",
        "public_key": "ssh-rsa B",
    }
    written = next(body for asked, body in site.asked if asked.startswith("PUT"))
    assert written["host_keys"] == ["k1", "k2", "k3"]


def test_nothing_new_is_not_pinned(site: StandIn) -> None:
    scanned(site, KEYS[0])
    result = usp(site, "scan-host-key", "out", "--server", "s", "--pin", "--yes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["host_keys"] == [KEYS[0]]
    assert len(site.asked) == 1


def test_a_manager_that_makes_a_key_and_says_nothing(site: StandIn) -> None:
    scanned(site, KEYS[1])
    site.answers["POST /items/public-keys"] = (201, None)
    result = usp(site, "scan-host-key", "out", "--server", "s", "--pin", "--yes")
    assert result.exit_code == 1
    assert "does not say which" in result.stderr


def test_a_scan_that_fails(site: StandIn) -> None:
    site.answers[SCAN] = (200, {"ok": False, "hops": [{**HOP, "ok": False}], "host_keys": []})
    assert usp(site, "scan-host-key", "out", "--server", "s", "--pin", "--yes").exit_code == 1
    assert len(site.asked) == 1


def test_test_address(site: StandIn, tmp_path: Path) -> None:
    site.answers["POST /ip-filters/f/test"] = (200, {"action": "block", "text": "the block rule 192.0.2.7 matches"})
    result = usp(site, "test-address", "f", "192.0.2.7")
    assert (result.exit_code, result.stdout) == (1, "block: the block rule 192.0.2.7 matches\n")
    site.answers["POST /ip-filters/f/test"] = (200, {"action": "allow", "text": "no rule"})
    result = usp(site, "test-address", "f", "192.0.2.7", "--json")
    assert (result.exit_code, json.loads(result.stdout)["action"]) == (0, "allow")
