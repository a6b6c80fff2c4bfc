from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn, stand_in
from usp.cli.main import main

ROWS = [
    {"id": "m:a", "where": "m", "name": "a", "until": "2030-01-01T00:00:00Z", "warning": ""},
    {"id": "s:b", "where": "s", "name": "b", "until": "2027-01-01T00:00:00Z", "warning": "certificate b expires"},
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        yield found


def usp(site: StandIn, *arguments: str, status: int = 200, answer: object = None) -> Result:
    site.answers["GET /servers?limit=500"] = 200, {"items": [], "next": None}
    site.answers["GET /certificates?limit=500"] = status, answer or {"items": ROWS, "next": None}
    return CliRunner().invoke(main, list(arguments), env=site.env(), catch_exceptions=False)


def test_the_first_to_end_comes_first(site: StandIn) -> None:
    told = usp(site, "certificates").stdout
    assert told.index("2027-01-01") < told.index("2030-01-01")
    assert [row["id"] for row in json.loads(usp(site, "certificates", "--json").stdout)["items"]] == ["s:b", "m:a"]


def test_status_warns(site: StandIn) -> None:
    assert usp(site, "status").stderr == "usp: s: certificate b expires\n"
    assert usp(site, "status", status=404, answer={"code": "request.unknown", "detail": ""}).stderr == ""
    failed = usp(site, "status", status=503, answer={"code": "database.unavailable", "detail": "away"})
    assert (failed.exit_code, "away" in failed.stderr) == (1, True)
