"""The configuration of a running gateway as files: out of one manager, into another, and the gateway in a git tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.suite import ROOT, Suite
from tests.unit.manager.site import PASSWORD
from tests.unit.manager.test_main import Place, serving

pytestmark = [pytest.mark.e2e, pytest.mark.once]
UNCHANGED = "0 would be created, 0 would be changed, 0 would be deleted"


class Usp:
    """The command line, as one administrator of one manager."""

    def __init__(self, url: str, token: str, ca: str) -> None:
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "USP_URL": url, "USP_TOKEN": token, "USP_CA": ca}

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "usp.cli.main", *arguments],
            input=stdin, capture_output=True, text=True, env=self.env, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr


@pytest.fixture
def gateway(suite: Suite) -> Usp:
    admin = suite.ready["admin"]
    return Usp(suite.ready["managers"][0]["url"], admin["token"], admin["ca"])


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Usp]:
    """Another manager, with nothing in it."""
    place = Place(tmp_path)
    assert place.run("db", "upgrade").exit_code == 0
    place.run("user", "add", "admin", "--role", "admin", "--password-stdin", input=PASSWORD)
    token = place.run("token", "add", "test", "--user", "admin").stdout.strip()
    with serving(place):
        yield Usp(f"https://127.0.0.1:{place.port}", token, str(tmp_path / "ca"))


@pytest.fixture
def phrase(tmp_path: Path) -> str:
    (tmp_path / "phrase").write_text("a passphrase of some length\n")
    return str(tmp_path / "phrase")


@pytest.mark.parametrize("format", ["json", "yaml", "hcl"])
def test_an_export_changes_nothing_where_it_comes_from(gateway: Usp, phrase: str, format: str) -> None:
    plain = gateway("export", "--format", format)
    assert gateway("apply", "-f", "-", "--dry-run", "--prune", stdin=plain).startswith(UNCHANGED)
    sealed = gateway("export", "--format", format, "--passphrase-file", phrase)
    assert gateway("apply", "-f", "-", "--dry-run", "--passphrase-file", phrase, stdin=sealed).startswith(UNCHANGED)
    for text in (plain, sealed):
        assert "PRIVATE KEY" not in text
        assert "$argon2" not in text


def test_an_empty_manager_becomes_the_same(gateway: Usp, empty: Usp, phrase: str) -> None:
    sealed = gateway("export", "--passphrase-file", phrase)
    refused = empty("apply", "-f", "-", stdin=gateway("export"), code=1)
    assert "give the secret itself: none is stored yet" in refused
    assert json.loads(empty("export")) == {"items": {}}
    empty("apply", "-f", "-", "--passphrase-file", phrase, stdin=sealed)
    assert empty("export", "--passphrase-file", phrase) == sealed
    assert empty("export") == gateway("export")
    # What one would push is what the other has pushed: the same keys, hashes and rules, under other ids.
    kinds = json.loads(sealed)["items"]
    assert {kind: len(json.loads(empty("get", kind, "--json"))["items"]) for kind in kinds} == {
        kind: len(items) for kind, items in kinds.items()
    }


def test_a_gateway_is_begun_with_a_file(empty: Usp, tmp_path: Path) -> None:
    file = tmp_path / "gateway.hcl"
    file.write_text((ROOT / "docs" / "examples" / "gateway.hcl").read_text())
    planned = empty("apply", "-f", str(file), "--dry-run")
    made = empty("apply", "-f", str(file))
    assert planned.replace("would be ", "") == made
    assert empty("apply", "-f", str(file), "--dry-run").startswith(UNCHANGED)
    file.write_text(file.read_text().replace("port                  = 2222", "port                  = 2022"))
    assert "~ listeners/partners  port\n" in empty("apply", "-f", str(file))
    file.write_text(file.read_text().replace("192.0.2.0/24", "192.0.2.1/24"))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "192.0.2.1/24" in text)
    refused = empty("apply", "-f", str(file), code=1)
    assert f"{file}:{line}:" in refused
    assert "ip-filters.partners.allow.0: is not canonical: host bits are set" in refused
