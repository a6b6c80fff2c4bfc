from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn, stand_in
from usp.cli.main import main

SESSION = {
    "id": "i", "server": "s1", "listener": "l1", "username": "joe", "peer": "192.0.2.1:5", "since": None,
    "bytes_in": 2048, "bytes_out": 1,
}  # fmt: skip
BUSY = {**SESSION, "id": "j", "server": "s3", "username": "ann", "rate_in": 1536.0, "target": "t", "file": "/in/a b",
        "direction": "upload"}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        answer = {"items": [SESSION, BUSY], "unreachable": {"s2": "no answer"}}
        found.answers["GET /sessions?limit=500"] = 200, answer
        for id in ("i", "j"):
            found.answers[f"DELETE /sessions/{id}"] = 204, b""
        found.answers["DELETE /sessions/gone"] = 404, {"code": "item.not_found", "detail": "there is no session 'gone'"}
        yield found


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), catch_exceptions=False)


def test_who_is_connected(site: StandIn) -> None:
    result = usp(site, "sessions")
    idle, busy = (line.split() for line in result.stdout.splitlines()[-3:-1])
    assert idle == ["i", "s1", "l1", "joe", "192.0.2.1:5", "never", "2.0", "KiB", "1", "B", "-", "-"]
    assert busy[6:] == ["2.0", "KiB,", "1.5", "KiB/s", "1", "B", "t", "upload", "/in/a", "b"]
    assert result.stderr == "usp: s2 is missing here: no answer\n"
    assert json.loads(usp(site, "sessions", "--json").stdout)["items"] == [SESSION, BUSY]


@pytest.mark.parametrize(
    ("options", "found"),
    [(["--user", "ann"], ["j"]), (["--server", "s1"], ["i"]), (["--user", "ann", "--server", "s1"], [])],
)
def test_some_of_them(site: StandIn, options: list[str], found: list[str]) -> None:
    items: list[dict[str, Any]] = json.loads(usp(site, "sessions", "--json", *options).stdout)["items"]
    assert [row["id"] for row in items] == found


def test_kill(site: StandIn) -> None:
    assert usp(site, "kill", "i", "j").stdout == "killed: i, j\n"
    assert json.loads(usp(site, "kill", "--user", "ann", "--json").stdout) == {"killed": ["j"]}
    result = usp(site, "kill", "--user", "nobody")
    assert (result.exit_code, result.stdout) == (0, "killed: none\n")
    assert "s2 is missing here" in result.stderr
    result = usp(site, "kill", "gone", "i")
    assert (result.exit_code, result.stdout) == (1, "killed: i\n")
    assert "there is no session 'gone'" in result.stderr
    for wrong in ([], ["i", "--user", "joe"]):
        assert usp(site, "kill", *wrong).exit_code == 2
