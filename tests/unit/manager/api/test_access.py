"""Logins, administrators and API tokens."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Api, Clock, refused
from usp.manager.app import App
from usp.manager.store.rows import Role

PASSWORD = "correct horse battery"


async def test_login_and_logout(admin: Api, nobody: Api, clock: Clock) -> None:
    made = await admin("POST", "/users", {"username": "carol", "password": PASSWORD, "role": "admin"})
    assert made.status_code == 201
    assert made.json().keys() == {"id", "username", "role", "enabled", "created_at"}
    for username, password in (("carol", "wrong"), ("nobody", PASSWORD), ("carol", "x" * 5000), ("alice", PASSWORD)):
        response = await nobody("POST", "/login", {"username": username, "password": password})
        assert refused(response, 401, "auth.invalid") == []
    answer = (await nobody("POST", "/login", {"username": "carol", "password": PASSWORD})).json()
    assert (answer["role"], answer["expires_at"]) == ("admin", "2026-01-01T12:16:40Z")
    carol = Api(nobody.http, answer["token"])
    assert (await carol("GET", "/users")).status_code == 200
    assert (await carol("POST", "/logout")).status_code == 204
    refused(await carol("GET", "/users"), 401, "auth.invalid")


async def test_a_name_that_is_no_text(nobody: Api) -> None:
    body = b'{"username": "\\ud800", "password": "x"}'
    response = await nobody("POST", "/login", content=body, headers={"Content-Type": "application/json"})
    assert [loc for loc, _ in refused(response, 422, "request.invalid")] == [("username",)]


async def test_logging_out_with_an_api_token_keeps_it(admin: Api) -> None:
    assert (await admin("POST", "/logout")).status_code == 204
    assert (await admin("GET", "/users")).status_code == 200


async def test_users_are_for_administrators(admin: Api, reader: Api) -> None:
    assert [user["username"] for user in (await admin("GET", "/users")).json()["items"]] == ["alice", "bob"]
    refused(await reader("GET", "/users"), 403, "auth.forbidden")
    refused(await reader("POST", "/users", {"username": "x", "role": "admin"}), 403, "auth.forbidden")
    refused(await admin("POST", "/users", {"username": "alice"}), 409, "user.exists")
    problems = refused(await admin("POST", "/users", {"username": "x", "password": "short"}), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("password",)]
    problems = refused(await admin("POST", "/users", {"username": "a b", "role": "king"}), 422, "request.invalid")
    assert problems == [
        (("username",), "must be 1 to 255 letters, digits, '.', '@', '-' or '_'"),
        (("role",), "must be 'admin' or 'read_only'"),
    ]
    assert (await admin("POST", "/users", {"username": "x"})).json()["role"] == "read_only"


async def test_a_token_is_shown_once(admin: Api) -> None:
    made = await admin("POST", "/tokens", {"name": "ci"})
    assert made.status_code == 201
    token = made.json()["token"]
    assert token.startswith("usp_")
    found = await admin("GET", "/tokens")
    assert token not in found.text
    assert {entry["name"]: entry["token"] for entry in found.json()["items"]} == {"test": None, "ci": None}
    ci = Api(admin.http, token)
    assert (await ci("GET", "/users")).status_code == 200
    assert (await admin("DELETE", f"/tokens/{made.json()['id']}")).status_code == 204
    refused(await ci("GET", "/users"), 401, "auth.invalid")
    refused(await admin("DELETE", f"/tokens/{made.json()['id']}"), 404, "token.not_found")


async def test_a_token_never_begets_one_that_may_do_more(admin: Api, reader: Api) -> None:
    weak = (await admin("POST", "/tokens", {"name": "weak", "role": "read_only"})).json()
    assert weak["role"] == "read_only"
    holder = Api(admin.http, weak["token"])
    refused(await holder("GET", "/users"), 403, "auth.forbidden")
    for caller in (holder, reader):
        made = await caller("POST", "/tokens", {"name": "strong", "role": "admin"})
        assert (made.status_code, made.json()["role"]) == (201, "read_only")


async def test_tokens_of_others(app: App, admin: Api, reader: Api) -> None:
    mine = (await admin("GET", "/tokens")).json()["items"]
    assert {token["user_id"] for token in mine} == {user.id for user in await app.store.users.all()}
    own = (await reader("GET", "/tokens")).json()["items"]
    (bob,) = {token["user_id"] for token in own}
    assert bob == (await app.administrators.find("bob")).id
    refused(await reader("POST", "/tokens", {"name": "x", "username": "alice"}), 403, "auth.forbidden")
    alices = next(token for token in mine if token["user_id"] != bob)
    refused(await reader("DELETE", f"/tokens/{alices['id']}"), 404, "token.not_found")
    given = (await admin("POST", "/tokens", {"name": "x", "username": "bob", "role": "admin"})).json()
    assert (given["user_id"], given["role"]) == (bob, Role.READ_ONLY)
    refused(await admin("POST", "/tokens", {"name": "x", "username": "zoe"}), 404, "user.not_found")
    assert (await reader("DELETE", f"/tokens/{given['id']}")).status_code == 204


@pytest.mark.parametrize("expires_at", ["2026-01-01T13:00:00", "tomorrow", True])
async def test_an_end_needs_a_time_zone(admin: Api, expires_at: object) -> None:
    problems = refused(await admin("POST", "/tokens", {"name": "x", "expires_at": expires_at}), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("expires_at",)]
