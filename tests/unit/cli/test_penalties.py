from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn, stand_in
from usp.cli.main import main

ROW = {"key": "source:192.0.2.7", "kind": "source", "failures": 5, "seconds": 75.0, "reason": "failed logins"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        found.answers["GET /servers?limit=500"] = 200, {"items": [{"name": "one"}, {"name": "two"}], "next": None}
        found.answers["GET /servers/one/penalties?limit=500"] = 200, {"items": [ROW], "next": None}
        found.answers["GET /servers/two/penalties?limit=500"] = 503, {"code": "server.unreachable", "detail": "away"}
        found.answers["DELETE /servers/one/penalties/source%3A192.0.2.7"] = 204, b""
        yield found


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), catch_exceptions=False)


def test_of_all_servers(site: StandIn) -> None:
    result = usp(site, "penalties")
    assert result.exit_code == 0
    for word in ("one", "source:192.0.2.7", "1 min", "failed logins"):
        assert word in result.stdout
    assert "two is missing here: away" in result.stderr
    found = json.loads(usp(site, "penalties", "--json").stdout)
    assert found["items"] == [{**ROW, "server": "one"}]
    assert found["unreachable"] == {"two": "away"}


def test_of_one_server(site: StandIn) -> None:
    assert "source:192.0.2.7" in usp(site, "penalties", "one").stdout
    refused = usp(site, "penalties", "two")
    assert refused.exit_code == 1
    assert "away" in refused.stderr


def test_release(site: StandIn) -> None:
    assert usp(site, "release", "one", "source:192.0.2.7").stdout == "one: source:192.0.2.7 is released\n"
    assert json.loads(usp(site, "release", "one", "source:192.0.2.7", "--json").stdout)["released"] == ROW["key"]
    assert usp(site, "release", "one", "source:192.0.2.8").exit_code == 1
