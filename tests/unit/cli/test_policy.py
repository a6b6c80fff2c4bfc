from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn, stand_in
from usp.cli.main import main

RULE = {"name": "r", "inbound_method": "password", "inbound_source": "none", "outbound_credentials": "passthrough",
        "password": "***"}  # fmt: skip
NOW = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
LINES: list[dict[str, Any]] = [
    {"event": "file.closed", "path": "/in/a", "mode": "w", "outcome": "ok", "node": "n1", "time": NOW},
    {"event": "file.closed", "path": "/other/a", "mode": "w", "outcome": "ok", "node": "n2", "time": NOW},
    {"event": "file.closed", "path": "/out/a", "mode": "r", "outcome": "ok", "rule": "r", "time": NOW},
    {"event": "file.closed", "path": "/not/a", "mode": "r", "outcome": "ok", "rule": "q", "node": "n1", "time": NOW},
    {"event": "file.remove", "path": "/x", "outcome": "ok", "node": "n1", "root": "/p", "time": NOW},
    {"event": "file.remove", "path": "/old", "outcome": "ok", "node": "n1", "time": "2001-01-01T00:00:00.000Z"},
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        nodes = [{"name": "n1", "rule": "r"}, {"name": "n2", "rule": "q"}]
        quiet = {**RULE, "name": "quiet"}
        found.answers["GET /export"] = 200, {"items": {"rules": [RULE, quiet], "inbound-nodes": nodes}}
        yield found


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", "suggest", *arguments], env=site.env(), catch_exceptions=False)


@pytest.fixture
def log(tmp_path: Path) -> str:
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return str(file)


def test_from_a_servers_audit_log(site: StandIn, log: str) -> None:
    result = usp(site, "--rule", "r", "--file", log, "--json")
    (rule,) = json.loads(result.stdout)["items"]["rules"]
    assert {name: value for name, value in rule.items() if name != "policy"} == RULE
    assert {each["path"] for each in rule["policy"]["paths"]} == {"/**", "/in/*", "/out/*"}
    assert result.stderr == "usp: from 2 events; nothing is changed before `usp apply`\n"
    assert 'rule "r" {' in usp(site, "--rule", "r", "--file", log).stdout


def test_what_is_wrong(site: StandIn, log: str, tmp_path: Path) -> None:
    result = usp(site, "--rule", "none", "--file", log)
    assert (result.exit_code, result.stderr) == (1, "usp: there is no Rule 'none' [item.not_found]\n")
    assert (
        "nothing is told of files of Rule 'quiet' since "
        in usp(site, "--rule", "quiet", "--file", log, "--days", "3").stderr
    )
    (tmp_path / "bad").write_text("[1]\nno\n")
    assert (
        f"{tmp_path}/bad:2 is no line of an audit log" in usp(site, "--rule", "r", "--file", f"{tmp_path}/bad").stderr
    )


def test_from_what_the_managers_have(site: StandIn) -> None:
    since = quote(f"{(datetime.now(UTC) - timedelta(days=7)).date()}T00:00:00.000Z", safe="")
    query = f"limit=1000&source=server&action=file.&from={since}"
    site.answers[f"GET /events?{query}"] = 200, {"items": [{"detail": line} for line in LINES], "next": None}
    assert "from 2 events" in usp(site, "--rule", "r", "--days", "7").stderr
