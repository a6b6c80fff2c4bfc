"""Explain, scan and test over the API. (What servers answer: tests/unit/manager/test_diagnose.py.)"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.manager.api.calls import SERVER_NAME, Api, refused

QUESTION = {"server": SERVER_NAME, "listener": "partners", "source": "192.0.2.7", "user": "alice"}
SCAN = "/outbound-nodes/target/scan-host-key"


async def test_explain(admin: Api, reader: Api) -> None:
    await admin.configure()
    response = await reader("POST", "/explain", QUESTION)
    assert response.status_code == 200, response.text
    found = response.json()
    assert (found["ok"], found["inbound_node"], found["rule"], found["target"], found["probe"]) == (
        True,
        "partners",
        "passthrough",
        "target",
        None,
    )
    assert [step["step"] for step in found["steps"]][:4] == ["server", "listener", "deployment", "inbound_node"]
    assert found["warnings"] == ["the server was not seen with a configuration yet: push first"]


async def test_a_probe_is_for_administrators(admin: Api, reader: Api, nobody: Api) -> None:
    await admin.configure()
    ask = {**QUESTION, "probe": True, "login": {"username": "alice", "password": "secret"}}
    found = (await admin("POST", "/explain", ask)).json()
    (hop,) = found["probe"]["hops"]
    assert (hop["name"], hop["ok"], hop["code"]) == ("server", False, "server.unreachable")
    refused(await reader("POST", "/explain", ask), 403, "auth.forbidden")
    refused(await nobody("POST", "/explain", QUESTION), 401, "auth.invalid")
    problems = refused(await admin("POST", "/explain", {**ask, "login": "dedicated"}), 422, "request.invalid")
    assert problems[0][0] == ("login",)


@pytest.mark.parametrize(
    ("changes", "status", "code", "loc"),
    [
        ({"source": "partner.example"}, 422, "request.invalid", ("source",)),
        ({"server": "nobody"}, 404, "item.not_found", None),
        ({"listener": "nothing"}, 404, "item.not_found", None),
        ({"login": {"username": "u", "password": "hush"}, "user": ""}, 422, "request.invalid", ("body", "user")),
    ],
)
async def test_questions_that_make_no_sense(
    admin: Api, changes: dict[str, Any], status: int, code: str, loc: tuple[str, ...] | None
) -> None:
    await admin.configure()
    response = await admin("POST", "/explain", {**QUESTION, **changes})
    problems = refused(response, status, code)
    assert "hush" not in response.text
    if loc is not None:
        assert problems[0][0][-1] == loc[-1]


async def test_scan(admin: Api, reader: Api) -> None:
    await admin.configure()
    found = (await admin("POST", SCAN, {"server": SERVER_NAME})).json()
    assert (found["ok"], found["host_keys"], found["hops"][0]["code"]) == (False, [], "server.unreachable")
    refused(await reader("POST", SCAN, {"server": SERVER_NAME}), 403, "auth.forbidden")
    for given, missing in (("tunnel", "proxy_client"), ("proxy_client", "tunnel")):
        problems = refused(await admin("POST", SCAN, {"server": SERVER_NAME, given: "x"}), 422, "request.invalid")
        assert problems[0][0] == (missing,)
    both = {"server": SERVER_NAME, "tunnel": "t", "proxy_client": "c"}
    refused(await admin("POST", SCAN, both), 404, "item.not_found")


async def test_an_address_against_a_filter(admin: Api, reader: Api) -> None:
    await admin.make("ip-filters", name="some", block=["192.0.2.0/24"], allow=["198.51.100.0/24"], default="block")
    for address, action, rule, network in (
        ("192.0.2.7", "block", "block", "192.0.2.0/24"),
        ("198.51.100.7", "allow", "allow", "198.51.100.0/24"),
        ("203.0.113.7", "block", "default", ""),
    ):
        found = (await reader("POST", "/ip-filters/some/test", {"address": address})).json()
        assert (found["action"], found["rule"], found["network"]) == (action, rule, network)
    problems = refused(await reader("POST", "/ip-filters/some/test", {"address": "x"}), 422, "request.invalid")
    assert problems[0][0] == ("address",)
    refused(await reader("POST", "/ip-filters/none/test", {"address": "192.0.2.7"}), 404, "item.not_found")
