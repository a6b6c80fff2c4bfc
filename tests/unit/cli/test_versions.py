"""Pushing, going back, and history on the command line, over a stand-in manager."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.cli import versions
from usp.cli.main import main


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LOOK_SECONDS", 0.01)


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), catch_exceptions=False)


def lines(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("state", "wait", "code"),
    [("pending", [], 0), ("applied", ["--wait"], 0), ("pushing", ["--wait"], 1)],
)
def test_push(site: StandIn, state: str, wait: list[str], code: int) -> None:
    path = "POST /servers/s1/push" + ("?wait=30" if wait else "")
    site.answers[path] = (202, {"version": 4, "digest": "d", "state": state})
    result = usp(site, "push", "s1", "--comment", "because", *wait)
    assert (result.exit_code, result.stdout) == (code, f"s1: version 4 is {state}\n")
    assert site.asked == [(path, {"comment": "because"})]
    assert json.loads(usp(site, "push", "s1", "--json", *wait).stdout)["version"] == 4


def test_changes(site: StandIn) -> None:
    row = {"at": "2026-01-01T12:00:00Z", "subject": "", "was": "running", "state": "unreachable", "reason": "away"}
    site.answers["GET /servers/s1/changes?limit=50"] = (200, {"items": [row], "next": None})
    assert lines(usp(site, "changes", "s1"))[-1] == ["2026-01-01T12:00:00", "server", "running", "unreachable", "away"]
    assert json.loads(usp(site, "changes", "s1", "--json").stdout)["items"] == [row]


def test_a_refused_push(site: StandIn) -> None:
    errors = [{"loc": ["listeners", 0], "msg": "port 22 is in use"}]
    problem = {"code": "push.rejected", "detail": "the server refused it", "errors": errors}
    site.answers["POST /servers/s1/push?wait=30"] = (409, problem)
    result = usp(site, "push", "s1", "--wait")
    assert result.exit_code == 1
    assert result.stderr == "usp: the server refused it [push.rejected]\n  listeners.0: port 22 is in use\n"
    assert json.loads(usp(site, "push", "s1", "--wait", "--json").stdout) == problem


def test_a_push_that_changes_nothing(site: StandIn) -> None:
    answer = {"version": 4, "digest": "d", "state": "applied", "unchanged": True}
    site.answers["POST /servers/s1/push"] = (200, answer)
    assert usp(site, "push", "s1").stdout == "s1: nothing has changed, version 4 is applied\n"
    usp(site, "push", "s1", "--force")
    assert [body for _, body in site.asked] == [{"comment": ""}, {"comment": "", "force": True}]


def test_rollback(site: StandIn) -> None:
    path = "POST /servers/s1/rollback?wait=7"
    site.answers[path] = (200, {"version": 9, "digest": "d", "state": "applied", "unchanged": False})
    result = usp(site, "rollback", "s1", "3", "--wait", "--timeout", "7", "--comment", "oops")
    assert (result.exit_code, result.stdout) == (0, "s1: version 9 is applied\n")
    assert site.asked == [(path, {"version": 3, "comment": "oops"})]


def rollout(state: str, *steps: tuple[str, str, str]) -> dict[str, Any]:
    servers = [
        {"server": server, "state": step, "version": 2, "unchanged": False, "reason": reason}
        for server, step, reason in steps
    ]
    at = "2026-01-01T00:00:00Z"
    return {
        "id": 5, "state": state, "reason": "", "servers": servers, "canary": True, "author": "a", "at": at,
        "comment": "",
    }  # fmt: skip


@pytest.mark.parametrize(("last", "code"), [("applied", 0), ("late", 1), ("rejected", 1)])
def test_push_to_many(site: StandIn, last: str, code: int) -> None:
    site.answers["POST /push"] = (202, rollout("running", ("s1", "applied", ""), ("s2", "pushing", "not yet")))
    site.answers["GET /pushes/5"] = (200, rollout("done", ("s1", "applied", ""), ("s2", last, "because")))
    result = usp(site, "push", "s1", "s2", "--canary", "--wait", "--timeout", "9")
    assert (result.exit_code, result.stdout) == (code, f"s1: applied, version 2\ns2: {last}, version 2, because\n")
    body = {"comment": "", "servers": ["s1", "s2"], "canary": True, "wait": 9}
    assert site.asked == [("POST /push", body), ("GET /pushes/5", None)]
    assert json.loads(usp(site, "push", "s1", "s2", "--wait", "--json").stdout)["state"] == "done"


def test_push_to_all_in_the_background(site: StandIn) -> None:
    items = [{"name": "s1", "enabled": True}, {"name": "off", "enabled": False}, {"name": "s2", "enabled": True}]
    site.answers["GET /items/proxy-servers?limit=500"] = (200, {"items": items, "next": None})
    site.answers["POST /push"] = (202, rollout("running", ("s1", "waiting", "")))
    assert usp(site, "push", "--all").stdout == "push 5 runs; `usp pushes 5` shows how far it is\n"
    assert site.asked[-1][1]["servers"] == ["s1", "s2"]
    assert json.loads(usp(site, "push", "--all", "--json").stdout)["id"] == 5
    site.answers["GET /items/proxy-servers?limit=500"] = (200, {"items": [], "next": None})
    for wrong in (["--all"], [], ["s1", "--all"]):
        assert usp(site, "push", *wrong).exit_code == 2


def test_pushes(site: StandIn) -> None:
    found = rollout("stopped", ("s1", "late", "'l' is failed"), ("s2", "skipped", ""))
    site.answers["GET /pushes?limit=20"] = (200, {"items": [found], "next": None})
    site.answers["GET /pushes/5"] = (200, found)
    assert lines(usp(site, "pushes"))[-1][:4] == ["5", "stopped", "2", "yes"]
    assert ["s1", "late", "2", "no", "'l'", "is", "failed"] in lines(usp(site, "pushes", "5"))
    assert json.loads(usp(site, "pushes", "5", "--json").stdout) == found
    assert json.loads(usp(site, "pushes", "--json").stdout)["items"] == [found]


def test_diff(site: StandIn) -> None:
    answer = {
        "version": 3, "updated_version": None, "changed": True,
        "differences": [
            {"change": "added", "text": "Listener 'l' added"},
            {"change": "changed", "text": "Rule 'r' changed; password changed"},
        ],
        "effects": {"sentences": ["Opens 0.0.0.0:22 for Listener 'l'."]},
    }  # fmt: skip
    site.answers["GET /servers/s1/diff"] = (200, answer)
    assert usp(site, "diff", "s1").stdout.splitlines() == [
        "s1: from version 3 to the configuration as it is now",
        "+ Listener 'l' added",
        "~ Rule 'r' changed; password changed",
        "What a push does:",
        "  Opens 0.0.0.0:22 for Listener 'l'.",
    ]
    assert json.loads(usp(site, "diff", "s1", "--json").stdout) == answer
    same = {**answer, "version": 0, "updated_version": 2, "changed": False, "differences": []}
    site.answers["GET /servers/s1/diff?from=0&to=2"] = (200, same)
    assert usp(site, "diff", "s1", "0", "2").stdout == "s1: from nothing to version 2\n  nothing has changed\n"
    site.answers["GET /servers/s1/diff?from=2&to=0"] = (200, {**same, "version": 2, "updated_version": 0})
    assert "from version 2 to nothing" in usp(site, "diff", "s1", "2", "0").stdout


def test_versions(site: StandIn) -> None:
    version = {
        "version": 2, "state": "applied", "author": "ann", "at": "2026-01-01T00:00:00Z", "digest": "d" * 64,
        "comment": "why", "reason": "",
    }  # fmt: skip
    site.answers["GET /servers/s1/versions?limit=50"] = (200, {"items": [version], "next": None})
    site.answers["GET /servers/s1/versions/2"] = (200, {**version, "content": {"listeners": []}})
    assert lines(usp(site, "versions", "s1"))[-1][:3] == ["2", "applied", "ann"]
    assert "comment: why" in usp(site, "versions", "s1", "2").stdout
    assert json.loads(usp(site, "versions", "s1", "2", "--json").stdout)["content"] == {"listeners": []}
    assert json.loads(usp(site, "versions", "s1", "--json").stdout)["items"] == [version]


def test_history(site: StandIn) -> None:
    def revision(number: int, action: str, **more: Any) -> dict[str, Any]:
        at = "2026-01-01T10:00:00.123Z"
        return {"revision": number, "action": action, "author": "ann", "at": at, "changes": [], "secrets": {}, **more}

    created = [
        {"field": "name", "after": "k", "text": "name: nothing -> k"},
        {"field": "description", "after": "", "text": "description: nothing -> nothing"},
    ]
    items = [
        revision(9, "delete"),
        revision(8, "update", changes=[{"field": "port", "after": 2, "text": "port: 1 -> 2"}]),
        revision(7, "create", changes=created, secrets={"private_key": "changed"}),
    ]
    site.answers["GET /items/private-keys/k/history?limit=500"] = (200, {"items": items, "next": None})
    assert usp(site, "history", "private-keys", "k").stdout.splitlines() == [
        "2026-01-01T10:00:00  revision 9  delete by ann",
        "2026-01-01T10:00:00  revision 8  update by ann",
        "    port: 1 -> 2",
        "2026-01-01T10:00:00  revision 7  create by ann",
        "    name: nothing -> k",
        "    private_key changed",
    ]
    assert json.loads(usp(site, "history", "private-keys", "k", "--json").stdout) == {"items": items}
