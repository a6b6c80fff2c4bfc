"""Logging in, oneself and administration on the command line, over a stand-in manager."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import TOKEN, StandIn
from usp.cli import stored
from usp.cli.main import main

LOGGED_IN = {"token": TOKEN, "role": "admin", "expires_at": "2026-01-02T00:00:00Z"}
USER = {
    "id": "u", "username": "bob", "role": "read_only", "enabled": True, "has_password": True, "full_name": "Bob",
    "email": "", "updated_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
TOKEN_ROW = {
    "id": "t1", "name": "ci", "username": "bob", "user_id": "u", "role": "admin", "used_at": None, "expires_at": None,
    "created_at": "2026-01-01T00:00:00Z", "token": None,
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("unconfigured")


def usp(*arguments: str, input: str = "", env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=input, env=env, catch_exceptions=False)


def log_in(site: StandIn) -> Result:
    site.answers["POST /login"] = (200, LOGGED_IN)
    return usp("--url", site.url, "--ca", site.ca, "login", "alice", input="hunter2\n")


def test_a_login_with_a_second_factor(site: StandIn) -> None:
    problem = {"code": "auth.totp", "detail": "a code, too", "errors": []}
    site.answers["POST /login"] = (401, problem)
    result = usp("--url", site.url, "--ca", site.ca, "login", "alice", input="hunter2\n123456\n")
    assert result.exit_code == 1
    assert [body for _, body in site.asked] == [
        {"username": "alice", "password": "hunter2"},
        {"username": "alice", "password": "hunter2", "totp": "123456"},
    ]


def test_login_and_logout(site: StandIn) -> None:
    result = log_in(site)
    assert (result.exit_code, result.stdout) == (
        0, f"alice is logged in at {site.url} (admin), until 2026-01-02T00:00:00Z at the latest\n"
    )  # fmt: skip
    assert site.asked == [("POST /login", {"username": "alice", "password": "hunter2"})]
    assert site.bearers == [None]
    assert "hunter2" not in result.output + stored.path().read_text()
    assert TOKEN not in result.output
    assert stat.S_IMODE(stored.path().stat().st_mode) == 0o600
    site.answers["GET /me"] = (200, {"username": "alice", "role": "admin"})
    assert "username: alice" in usp("whoami").stdout, "no flag, no variable"
    assert usp("login", "alice", input="hunter2\n").exit_code == 0, "the same manager again"
    site.answers["POST /logout"] = (204, b"")
    assert usp("logout").stdout == "alice is logged out\n"
    assert site.bearers[-1] == f"Bearer {TOKEN}"
    assert not stored.path().exists()
    assert usp("logout").stdout == "nobody was logged in\n"
    assert usp("whoami").exit_code == 2
    assert usp("login").exit_code == 2


def test_a_refused_login_is_not_kept(site: StandIn) -> None:
    site.answers["POST /login"] = (429, {"code": "auth.locked", "detail": "too many failed logins", "errors": []})
    result = usp("--url", site.url, "--ca", site.ca, "login", "alice", input="hunter2\n")
    assert (result.exit_code, "[auth.locked]" in result.stderr) == (1, True)
    assert stored.read() is None


def test_the_token_goes_to_its_own_manager_only(site: StandIn) -> None:
    log_in(site)
    result = usp("--url", "https://other.example", "whoami")
    assert (result.exit_code, "who are you?" in result.stderr) == (2, True)


def test_an_own_token_goes_first(site: StandIn) -> None:
    stored.write(stored.Stored(site.url, "alice", "ust_stale", site.ca))
    site.answers["GET /me"] = (200, {"username": "ci"})
    assert usp("whoami", env={"USP_TOKEN": TOKEN}).exit_code == 0


def test_a_login_that_has_ended_by_itself(site: StandIn) -> None:
    log_in(site)
    site.answers["POST /logout"] = (401, {"code": "auth.invalid", "detail": "no longer", "errors": []})
    assert usp("logout").exit_code == 0
    assert stored.read() is None
    log_in(site)
    site.answers["POST /logout"] = (503, {"code": "database.unavailable", "detail": "away", "errors": []})
    assert usp("logout").exit_code == 1
    assert stored.read() is None


ID = {"subject": "address:2001:db8::/64"}
CASES: list[tuple[list[str], str, str, Any, Any, str]] = [
    (["users", "list"], "", "GET /users", None, {"items": [USER]}, "bob"),
    (["users", "list", "bob"], "", "GET /users/bob", None, USER, "full_name: Bob"),
    (["users", "add", "bob", "--role", "admin"], "pw\n", "POST /users",
     {"username": "bob", "role": "admin", "full_name": "", "email": "", "password": "pw"}, USER, "user bob was made"),
    (["users", "add", "bob", "--role", "admin", "--no-password"], "", "POST /users",
     {"username": "bob", "role": "admin", "full_name": "", "email": ""}, USER, "user bob was made"),
    (["users", "change", "bob", "--disable", "--email", ""], "", "PATCH /users/bob",
     {"enabled": False, "email": ""}, USER, "was changed"),
    (["users", "change", "bob", "--password"], "pw\n", "PATCH /users/bob", {"password": "pw"}, USER, "was changed"),
    (["users", "remove", "bob"], "", "DELETE /users/bob", None, b"", "was removed"),
    (["profile", "--full-name", "Bob"], "", "PATCH /me", {"full_name": "Bob"}, USER, "username: bob"),
    (["passwd"], "old\nnew\n", "POST /me/password", {"current": "old", "password": "new"}, b"", "was changed"),
    (["tokens", "list"], "", "GET /tokens", None, {"items": [TOKEN_ROW]}, "never"),
    (["tokens", "create", "ci", "--forever", "--role", "read_only"], "", "POST /tokens",
     {"name": "ci", "role": "read_only"}, {**TOKEN_ROW, "token": "usp_new"}, "usp_new\n"),
    (["logins", "list"], "", "GET /logins", None, {"items": []}, "nobody is logged in"),
    (["logins", "revoke", "l1"], "", "DELETE /logins/l1", None, b"", "has ended"),
    (["lockouts", "list"], "", "GET /lockouts", None,
     {"items": [{**ID, "failures": 5, "failed_at": "2026-01-01T00:00:00Z", "locked_until": None}]}, "2001:db8::/64"),
    (["lockouts", "release", ID["subject"]], "", "DELETE /lockouts/address%3A2001%3Adb8%3A%3A%2F64", None, b"",
     "again"),
    (["ip-filter"], "", "GET /settings/ip-filter", None, {"ip_filter": None}, "every address is let in"),
    (["ip-filter", "office"], "", "PUT /settings/ip-filter", {"ip_filter": "office"}, {"ip_filter": "office"},
     "office guards UI and API"),
    (["ip-filter", "--none"], "", "PUT /settings/ip-filter", {"ip_filter": None}, {"ip_filter": None}, "every address"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "input", "asked", "body", "answer", "shown"), CASES)
def test_commands(
    site: StandIn, arguments: list[str], input: str, asked: str, body: Any, answer: Any, shown: str
) -> None:
    site.answers[asked] = (200, answer)
    result = CliRunner().invoke(main, arguments, input=input, env=site.env(), catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    assert shown in result.stdout
    assert site.asked == [(asked, body)]
    as_json = CliRunner().invoke(main, [*arguments, "--json"], input=input, env=site.env(), catch_exceptions=False)
    found = json.loads(as_json.stdout)
    assert not answer or {name: answer[name] for name in found} == found


def test_a_token_is_valid_for_a_year(site: StandIn) -> None:
    site.answers["POST /tokens"] = (201, {**TOKEN_ROW, "token": "usp_new"})
    assert usp("tokens", "create", "ci", "--user", "bob", env=site.env()).stdout == "usp_new\n"
    ((_, body),) = site.asked
    assert body.keys() == {"name", "username", "expires_at"}


def test_a_token_is_revoked_by_name_or_id(site: StandIn) -> None:
    rows = [TOKEN_ROW, {**TOKEN_ROW, "id": "t2", "name": "two"}, {**TOKEN_ROW, "id": "t3", "name": "two"}]
    site.answers["GET /tokens"] = (200, {"items": rows})
    site.answers["DELETE /tokens/t1"] = site.answers["DELETE /tokens/t3"] = (204, b"")
    assert usp("tokens", "revoke", "ci", env=site.env()).exit_code == 0
    assert usp("tokens", "revoke", "t3", env=site.env()).exit_code == 0
    assert "give its id" in usp("tokens", "revoke", "two", env=site.env()).stderr


@pytest.mark.parametrize("arguments", [["users", "change", "bob"], ["ip-filter", "x", "--none"], ["users", "add", "x"]])
def test_wrong_usage(site: StandIn, arguments: list[str]) -> None:
    assert usp(*arguments, env=site.env()).exit_code == 2
    assert site.asked == []
