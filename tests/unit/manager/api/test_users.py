"""Administrators and API tokens."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Api, refused
from usp.manager.app import App
from usp.manager.store.rows import Role


async def test_users_are_for_administrators(admin: Api, reader: Api) -> None:
    assert [user["username"] for user in (await admin("GET", "/users")).json()["items"]] == ["alice", "bob"]
    assert (await admin("GET", "/users/alice")).json().keys() == {
        "id", "username", "role", "full_name", "email", "enabled", "has_password", "has_totp", "created_at",
        "updated_at"
    }  # fmt: skip
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


async def test_a_weak_token_begets_none(admin: Api, reader: Api) -> None:
    weak = (await admin("POST", "/tokens", {"name": "weak", "role": "read_only"})).json()
    assert weak["role"] == "read_only"
    holder = Api(admin.http, weak["token"])
    refused(await holder("GET", "/users"), 403, "auth.forbidden")
    for caller in (holder, reader):
        refused(await caller("POST", "/tokens", {"name": "strong", "role": "admin"}), 403, "auth.forbidden")


async def test_tokens_of_others(app: App, admin: Api, reader: Api) -> None:
    mine = (await admin("GET", "/tokens")).json()["items"]
    assert {token["user_id"] for token in mine} == {user.id for user in await app.store.users.all()}
    own = (await reader("GET", "/tokens")).json()["items"]
    (bob,) = {token["user_id"] for token in own}
    assert bob == (await app.administrators.find("bob")).id
    refused(await reader("POST", "/tokens", {"name": "x"}), 403, "auth.forbidden")
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


async def test_a_user_from_first_to_last(admin: Api, nobody: Api) -> None:
    fields = {
        "username": "carol",
        "password": "correct horse battery",
        "full_name": "Carol C.",
        "email": "c@example.org",
    }
    made = (await admin("POST", "/users", fields)).json()
    assert (made["full_name"], made["email"], made["role"], made["has_password"]) == (
        "Carol C.", "c@example.org", "read_only", True
    )  # fmt: skip
    changed = (await admin("PATCH", "/users/carol", {"role": "admin", "email": ""})).json()
    assert (changed["role"], changed["email"], changed["full_name"]) == ("admin", "", "Carol C.")
    off = (await admin("PATCH", f"/users/{made['id']}", {"enabled": False, "password": None})).json()
    assert (off["enabled"], off["has_password"]) == (False, False)
    refused(await admin("PATCH", "/users/carol", {"username": "dave"}), 422, "request.invalid")
    refused(await admin("PATCH", "/users/carol", {"password_hash": "x"}), 422, "request.invalid")
    problems = refused(await admin("PATCH", "/users/carol", {"password": "Password1234"}), 422, "request.invalid")
    assert [loc for loc, _ in problems] == [("password",)]
    assert (await admin("DELETE", "/users/carol")).status_code == 204
    for method in ("GET", "DELETE"):
        refused(await admin(method, "/users/carol"), 404, "user.not_found")
    actions = [event["action"] for event in (await admin("GET", "/events")).json()["items"]]
    assert actions[:4] == ["user.delete", "user.update", "user.update", "user.create"]


async def test_the_last_administrator(admin: Api, reader: Api) -> None:
    for call in (
        admin("DELETE", "/users/alice"),
        admin("PATCH", "/users/alice", {"role": "read_only"}),
        admin("PATCH", "/users/alice", {"enabled": False}),
    ):
        refused(await call, 409, "user.last_admin")


async def test_a_token_that_is_over_already(admin: Api) -> None:
    body = {"name": "x", "expires_at": "2026-01-01T11:59:59Z"}
    assert refused(await admin("POST", "/tokens", body), 422, "request.invalid") == [
        (("expires_at",), "is not in the future")
    ]
