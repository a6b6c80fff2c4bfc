"""Draining on the command line, over a stand-in manager."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn
from usp.cli import balance
from usp.cli.main import main

POST = "POST /servers/s1/drain"
SESSION = {"id": "x1", "server": "s1", "listener": "partners", "peer": "192.0.2.7:1", "since": 1.0, "username": "acme"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "LOOK_SECONDS", 0.01)


def usp(site: StandIn, *arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=site.env(), catch_exceptions=False)


def seen(intake: str, sessions: int, *, drain: bool = True) -> dict[str, Any]:
    return {"server": "s1", "drain": drain, "intake": intake, "sessions": sessions}


def test_drain_without_waiting(site: StandIn) -> None:
    site.answers[POST] = 202, seen("open", 1)
    assert usp(site, "drain", "s1").stdout == "s1: to be drained; 1 session is left\n"
    assert json.loads(usp(site, "drain", "s1", "--json").stdout) == seen("open", 1)


def test_until_the_last_session_has_ended(site: StandIn) -> None:
    site.answers[POST] = 202, seen("closing", 0)
    site.answers["GET /servers/s1"] = 200, {**seen("closed", 0), "name": "s1"}
    result = usp(site, "drain", "s1", "--deadline", "5")
    assert (result.exit_code, result.stdout) == (0, "s1: drained, no session is left\n")
    assert json.loads(usp(site, "drain", "s1", "--deadline", "5", "--json").stdout) == seen("closed", 0)


def test_what_is_left_at_the_deadline(site: StandIn) -> None:
    site.answers[POST] = 202, seen("closed", 2)
    site.answers["GET /servers/s1"] = 200, seen("closed", 2)
    others = {**SESSION, "id": "x2", "server": "s2"}
    site.answers["GET /sessions?limit=500"] = 200, {"items": [SESSION, others], "unreachable": {}}
    result = usp(site, "drain", "s1", "--deadline", "0")
    assert result.exit_code == 1
    assert "x1" in result.stdout
    assert "x2" not in result.stdout
    assert result.stderr == "usp: s1: 2 sessions are left after 0 s; it stays drained\n"
    told = json.loads(usp(site, "drain", "s1", "--deadline", "1", "--json").stdout)
    assert told == {**seen("closed", 2), "left": [SESSION]}


@pytest.mark.parametrize(
    ("found", "words"),
    [(seen("open", 0), "was not seen to refuse"), (seen("open", 0, drain=False), "somebody else wants it")],
)
def test_why_it_is_not_drained(site: StandIn, found: dict[str, Any], words: str) -> None:
    site.answers[POST] = 202, found
    site.answers["GET /servers/s1"] = 200, found
    site.answers["GET /sessions?limit=500"] = 200, {"items": [], "unreachable": {}}
    result = usp(site, "drain", "s1", "--deadline", "0")
    assert result.exit_code == 1
    assert words in result.stderr


def test_undrain(site: StandIn) -> None:
    site.answers["POST /servers/s1/undrain"] = 202, seen("closed", 0, drain=False)
    assert usp(site, "undrain", "s1").stdout == "s1: takes new sessions again\n"


def test_haproxy_config(site: StandIn) -> None:
    site.answers["GET /haproxy.cfg"] = 200, b"frontend l\n"
    site.answers["GET /haproxy.cfg?agent_port=2300&bind=%3A%3A"] = 200, b"asked\n"
    assert usp(site, "haproxy-config").stdout == "frontend l\n"
    assert usp(site, "haproxy-config", "--agent-port", "2300", "--bind", "::").stdout == "asked\n"
    assert json.loads(usp(site, "haproxy-config", "--json").stdout) == {"text": "frontend l\n"}
    site.answers["GET /haproxy.cfg"] = 401, {"code": "auth.invalid", "detail": "who are you?"}
    refused = usp(site, "haproxy-config")
    assert (refused.exit_code, refused.stderr) == (1, "usp: who are you? [auth.invalid]\n")
