"""apply and export, over a stand-in manager. (The real one: tests/unit/manager/api/test_bulk.py, tests/e2e.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.cli.main import main

ITEMS = {"ip-filters": [{"name": "office"}], "private-keys": [{"name": "k", "private_key": "***"}]}
PLAN = {
    "dry_run": False,
    "revision": 8,
    "changes": [
        {"action": "create", "kind": "ip-filters", "name": "office", "fields": ["name"], "secrets": {}},
        {"action": "update", "kind": "rules", "name": "r", "fields": ["username"], "secrets": {"password": "changed"}},
        {"action": "update", "kind": "rules", "name": "s", "fields": ["username"],
         "secrets": {"password": "unchanged"}},
        {"action": "delete", "kind": "routes", "name": "old\x1b[2J", "fields": [], "secrets": {}},
    ],
    "unchanged": 3,
}  # fmt: skip


def usp(site: StandIn, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), input=stdin, catch_exceptions=False)


def test_apply(site: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "gateway.hcl"
    file.write_text('ip_filter "office" {\n}\n')
    site.answers["POST /apply"] = (200, PLAN)
    result = usp(site, "apply", "-f", str(file))
    assert result.exit_code == 0
    assert site.asked == [("POST /apply", {"items": {"ip-filters": [{"name": "office"}]}})]
    assert result.stdout.splitlines() == [
        "+ ip-filters/office",
        "~ rules/r  username, password (secret)",
        "~ rules/s  username",
        "- routes/old\N{REPLACEMENT CHARACTER}[2J",
        "1 created, 2 changed, 1 deleted, 3 unchanged",
    ]
    assert json.loads(usp(site, "apply", "-f", str(file), "--json").stdout) == PLAN


def test_a_dry_run_from_the_standard_input(site: StandIn, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("a long passphrase\r\nand nothing more\n")
    path = "POST /apply?dry_run=true&prune=true"
    site.answers[path] = (200, {**PLAN, "dry_run": True, "changes": []})
    flags = ("--dry-run", "--prune", "--passphrase-file", str(tmp_path / "phrase"))
    result = usp(site, "apply", "-f", "-", *flags, stdin=json.dumps({"items": ITEMS}))
    assert result.stdout == "0 would be created, 0 would be changed, 0 would be deleted, 3 unchanged\n"
    assert site.asked == [(path, {"items": ITEMS, "passphrase": "a long passphrase"})]


def test_a_refusal_shows_where(site: StandIn, tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("ip-filters:\n- name: office\n  allow:\n  - nowhere\n")
    errors = [
        {"loc": ["items", "ip-filters", 0, "allow", 0], "msg": "is not an address"},
        {"loc": ["rules", "r", "username"], "msg": "is odd"},
    ]
    site.answers["POST /apply"] = (422, {"code": "item.invalid", "detail": "it breaks a rule", "errors": errors})
    result = usp(site, "apply", "-f", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "usp: it breaks a rule [item.invalid]",
        f"  {file}:4:5: ip-filters.office.allow.0: is not an address",
        "  rules.r.username: is odd",
    ]
    file.write_text("toys: []")
    result = usp(site, "apply", "-f", str(file))
    assert (result.exit_code, f"{file}:1:1: toys: there is no such kind" in result.stderr) == (2, True)


@pytest.mark.parametrize("format", ["json", "yaml", "hcl"])
def test_an_export_can_be_applied(site: StandIn, format: str) -> None:
    site.answers["GET /export"] = (200, {"items": ITEMS})
    site.answers["POST /apply"] = (200, {**PLAN, "changes": []})
    text = usp(site, "export", "--format", format).stdout
    assert usp(site, "apply", "-f", "-", stdin=text).exit_code == 0
    assert site.asked[-1] == ("POST /apply", {"items": ITEMS})


def test_a_sealed_export(site: StandIn, tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("a long passphrase")
    site.answers["POST /export"] = (200, {"items": ITEMS})
    result = usp(site, "export", "--json", "--passphrase-file", str(phrase))
    assert json.loads(result.stdout) == {"items": ITEMS}
    assert site.asked == [("POST /export", {"passphrase": "a long passphrase"})]
    phrase.write_bytes(b"\n")
    for wrong in (phrase, tmp_path, tmp_path / "none"):
        result = usp(site, "export", "--passphrase-file", str(wrong))
        assert (result.exit_code, "passphrase file" in result.stderr) == (2, True)
    phrase.write_bytes(b"\xff")
    assert usp(site, "export", "--passphrase-file", str(phrase)).exit_code == 2
