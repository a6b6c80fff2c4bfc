"""The commands, over a stand-in manager."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.cli.main import main

SERVER = {
    "name": "s1",
    "state": "rejected",
    "version": 3,
    "desired": 4,
    "reason": "port 22 is in use",
    "seen_at": datetime.now(UTC).isoformat(),
    "sessions": 7,
    "listeners": [{"id": "i1", "name": "l1", "state": "running", "address": "0.0.0.0", "port": 22, "type": "sftp"}],
    "tunnels": [
        {"id": "i2", "name": "t1", "state": "running", "address": "::", "port": 23,
         "links": [{"client": "c", "state": "up"}, {"client": "c", "state": "up"},
                   {"client": "d", "state": "down"}]}
    ],
}  # fmt: skip


def usp(site: StandIn, *arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(**env), catch_exceptions=False)


def lines(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines() if line.strip()]


def test_status(site: StandIn) -> None:
    seen = {**SERVER, "seen_at": datetime.now(UTC).isoformat()}
    site.answers["GET /servers?limit=500"] = (
        200,
        {"items": [seen, {"name": "s2", "state": "unknown", "seen_at": None}]},
    )
    result = usp(site, "status")
    assert result.exit_code == 0
    _, _, first, second = lines(result)
    assert first[:5] == ["s1", "rejected", "3", "(wanted:", "4)"]
    assert first[6:] == ["s", "7", "port", "22", "is", "in", "use"]
    assert second == ["s2", "unknown", "0", "never", "-", "-"]
    assert json.loads(usp(site, "status", "--json").stdout)["items"][0] == seen


def test_status_of_one(site: StandIn) -> None:
    site.answers["GET /servers/s1"] = (200, SERVER)
    shown = lines(usp(site, "status", "s1"))
    assert ["l1", "running", "0.0.0.0:22", "sftp", "-", "-"] in shown
    assert ["t1", "running", ":::23", "c", "x2", "-"] in shown
    site.answers["GET /servers/s1"] = (200, {**SERVER, "run_states": {"i1": "stopped", "i2": "started"}})
    shown = lines(usp(site, "status", "s1"))
    assert ["l1", "running", "0.0.0.0:22", "sftp", "-", "to", "be", "stopped"] in shown
    assert ["t1", "running", ":::23", "c", "x2", "-"] in shown, "it is as it is wanted"
    site.answers["GET /servers/s1"] = (200, SERVER)
    assert json.loads(usp(site, "status", "s1", "--json").stdout) == SERVER


def test_get(site: StandIn) -> None:
    rule = {"name": "r1", "enabled": True, "revision": 5, "updated_at": None, "description": "", "id": "i"}
    site.answers["GET /items/rules?limit=500"] = (200, {"items": [rule], "next": None})
    site.answers["GET /items/rules/r1"] = (200, rule)
    assert lines(usp(site, "get", "rules"))[-1] == ["r1", "yes", "5", "never", "ago", "-", "i"]
    assert json.loads(usp(site, "get", "rules", "--json").stdout) == {"items": [rule]}
    assert "revision: 5" in usp(site, "get", "rules", "r1").stdout
    assert json.loads(usp(site, "get", "rules", "r1", "--json").stdout) == rule


@pytest.mark.parametrize(
    ("item", "public"),
    [
        ({"certificate": "BEGIN\nEND\n", "facts": {}}, "BEGIN\nEND\n"),
        ({"public_key": "ssh-ed25519 A c\n", "facts": {}}, "ssh-ed25519 A c\n"),
        ({"private_key": None, "facts": {"public_key": "ssh-ed25519 B"}}, "ssh-ed25519 B\n"),
        ({"facts": {}}, None),
    ],
)
def test_get_the_public_part(site: StandIn, item: dict[str, object], public: str | None) -> None:
    site.answers["GET /items/things/x"] = (200, item)
    result = usp(site, "get", "things", "x", "--public")
    assert (result.exit_code, result.stdout or None) == (0 if public else 2, public)
    assert usp(site, "get", "things", "--public").exit_code == 2


@pytest.mark.parametrize(("flags", "kind"), [([], "deployments"), (["--tunnel"], "tunnels")])
def test_start_and_stop(site: StandIn, flags: list[str], kind: str) -> None:
    for verb in ("start", "stop"):
        site.answers[f"POST /{kind}/x/{verb}"] = (202, {"name": "x"})
    assert usp(site, "start", "x", *flags).stdout == "x: to be started\n"
    assert usp(site, "stop", "x", *flags).stdout == "x: to be stopped\n"
    assert json.loads(usp(site, "stop", "x", "--json", *flags).stdout) == {"name": "x"}


@pytest.mark.parametrize(
    ("env", "told"),
    [({"USP_URL": ""}, "USP_URL"), ({"USP_TOKEN": ""}, "USP_TOKEN"), ({"USP_CA": "/none"}, "USP_CA"),
     ({"USP_URL": "http://x"}, "https")],
)  # fmt: skip
def test_wrong_usage(site: StandIn, env: dict[str, str], told: str) -> None:
    result = usp(site, "status", **env)
    assert result.exit_code == 2
    assert told in result.stderr


def test_nobody_there(site: StandIn) -> None:
    result = usp(site, "status", USP_URL="https://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr == "usp: 127.0.0.1:1 does not answer: Connection refused [manager.unreachable]\n"


def test_it_starts_at_once() -> None:
    """Nothing heavy is imported before a command needs it."""
    code = (
        "import sys, usp.cli.main; print([m for m in ('asyncio', 'aiohttp', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_token_comes_from_a_file_or_the_environment_never_as_a_flag(site: StandIn, tmp_path: Path) -> None:
    site.answers["GET /servers?limit=500"] = (200, {"items": []})
    file = tmp_path / "token"
    file.write_text(site.env()["USP_TOKEN"] + "\n")
    assert usp(site, "--token-file", str(file), "status", USP_TOKEN="").exit_code == 0
    assert usp(site, "--token", "x", "status").exit_code == 2
    file.write_bytes(b"\xff")
    for wrong in (file, tmp_path, tmp_path / "none"):
        result = usp(site, "--token-file", str(wrong), "status")
        assert result.exit_code == 2
        assert "token file" in result.stderr
