from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn, stand_in
from usp.cli.main import main

ROW = {
    "name": "siem", "url": "https://hooks.example/usp", "wanted": {"action": "file."}, "enabled": True,
    "delivered": 12, "dead": 1, "failures": 3, "error": "HTTP 503",
}  # fmt: skip
CALM = {**ROW, "name": "calm", "wanted": {}, "enabled": False, "failures": 0, "error": ""}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("tls")) as found:
        found.answers["GET /webhooks?limit=500"] = 200, {"items": [CALM, ROW], "next": None}
        found.answers["POST /webhooks"] = 201, {**ROW, "secret": "whsec_abc"}
        found.answers["PATCH /webhooks/siem"] = 204, b""
        found.answers["DELETE /webhooks/siem"] = 204, b""
        yield found


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["webhooks", *arguments], env=site.env(), catch_exceptions=False)


def test_who_is_told(site: StandIn) -> None:
    shown = usp(site, "list").stdout
    for words in ("siem", "action file.", "3 times: HTTP 503", "calm"):
        assert words in shown
    assert json.loads(usp(site, "list", "--json").stdout)["items"] == [CALM, ROW]


def test_adding_shows_the_secret(site: StandIn) -> None:
    added = usp(site, "add", "siem", "https://hooks.example/usp", "--event", "file.", "--outcome", "denied")
    assert added.stdout == "whsec_abc\n"
    assert json.loads(usp(site, "add", "siem", "https://hooks.example/usp", "--json").stdout)["name"] == "siem"


def test_enabling_and_removing(site: StandIn) -> None:
    done = usp(site, "enable", "siem")
    assert done.stdout == "siem is enabled\n", done.stderr
    assert site.asked[-1] == ("PATCH /webhooks/siem", {"enabled": True})
    assert usp(site, "enable", "siem", "--off").stdout == "siem is disabled\n"
    assert json.loads(usp(site, "enable", "siem", "--json").stdout) == {"name": "siem", "enabled": True}
    assert usp(site, "remove", "siem").stdout == "siem is removed\n"
    assert json.loads(usp(site, "remove", "siem", "--json").stdout) == {"name": "siem", "removed": True}
    assert usp(site, "remove", "none").exit_code == 1
