"""Logging in and out, what everybody changes of themselves, lock-outs."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Api, Clock, refused
from usp.manager.app import App

PASSWORD = "correct horse battery"


async def test_login_and_logout(admin: Api, nobody: Api, clock: Clock) -> None:
    made = await admin("POST", "/users", {"username": "carol", "password": PASSWORD, "role": "admin"})
    assert made.status_code == 201
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


async def test_who_fails_too_often_is_told_when_to_come_again(admin: Api, nobody: Api) -> None:
    for name in ("alice", "nobody-at-all"):
        for _ in range(5):
            refused(await nobody("POST", "/login", {"username": name, "password": "wrong"}), 401, "auth.invalid")
        response = await nobody("POST", "/login", {"username": name, "password": "wrong"})
        refused(response, 429, "auth.locked")
        assert response.headers["retry-after"] == "30"
    listed = (await admin("GET", "/lockouts")).json()["items"]
    assert {each["subject"]: (each["failures"], each["locked_until"]) for each in listed} == {
        "address:192.0.2.7": (10, None),
        "user:nobody-at-all": (5, "2026-01-01T12:00:30Z"),
        "user:alice": (5, "2026-01-01T12:00:30Z"),
    }
    assert (await admin("DELETE", "/lockouts/user:alice")).status_code == 204
    refused(await admin("DELETE", "/lockouts/user:alice"), 404, "lockout.not_found")
    refused(await nobody("POST", "/login", {"username": "alice", "password": "wrong"}), 401, "auth.invalid")
    assert (await admin("DELETE", "/lockouts/address:2001:db8::/64")).status_code == 404


async def test_what_a_header_says_of_the_address_is_not_believed(admin: Api, nobody: Api) -> None:
    forged = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.1", "X-Real-IP": "198.51.100.1"}
    await nobody("POST", "/login", {"username": "x", "password": "wrong"}, headers=forged)
    event = (await admin("GET", "/events", params={"action": "login."})).json()["items"][0]
    assert (event["action"], event["peer"]) == ("login.failed", "192.0.2.7")


async def test_too_many_at_once(admin: Api, nobody: Api, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.administrators.passwords, "_queue", 0)
    response = await nobody("POST", "/login", {"username": "alice", "password": PASSWORD})
    refused(response, 503, "auth.busy")
    assert response.headers["retry-after"] == "1"


async def test_oneself(reader: Api) -> None:
    me = (await reader("GET", "/me")).json()
    assert (me["username"], me["role"], me["login"]) == ("bob", "read_only", None)
    changed = await reader("PATCH", "/me", {"full_name": "Bob B.", "email": "bob@example.org"})
    assert (changed.json()["full_name"], changed.json()["email"]) == ("Bob B.", "bob@example.org")
    assert (await reader("PATCH", "/me", {"email": ""})).json()["full_name"] == "Bob B."
    for foreign in ({"role": "admin"}, {"enabled": True}, {"password": PASSWORD}, {"username": "x"}, {"id": "x"}):
        refused(await reader("PATCH", "/me", foreign), 422, "request.invalid")
    for body in ({"email": "not one"}, {"full_name": "a\nb"}, {"full_name": "x" * 256}, {"full_name": None}):
        assert len(refused(await reader("PATCH", "/me", body), 422, "request.invalid")) == 1


async def test_ones_own_password(admin: Api, nobody: Api) -> None:
    await admin("POST", "/users", {"username": "carol", "password": PASSWORD})
    login = (await nobody("POST", "/login", {"username": "carol", "password": PASSWORD})).json()
    carol = Api(nobody.http, login["token"])
    wrong = await carol("POST", "/me/password", {"current": "x" * 2000, "password": "another password"})
    assert refused(wrong, 422, "request.invalid") == [(("current",), "is not the password")]
    changed = await carol("POST", "/me/password", {"current": PASSWORD, "password": "another password"})
    assert changed.status_code == 204
    assert (await carol("GET", "/me")).json()["username"] == "carol"
    refused(await nobody("POST", "/login", {"username": "carol", "password": PASSWORD}), 401, "auth.invalid")


async def test_logins_are_seen_and_ended(admin: Api, reader: Api, nobody: Api) -> None:
    await admin("POST", "/users", {"username": "carol", "password": PASSWORD})
    token = (await nobody("POST", "/login", {"username": "carol", "password": PASSWORD})).json()["token"]
    carol = Api(nobody.http, token)
    (own,) = (await carol("GET", "/logins")).json()["items"]
    assert (own["username"], own["peer"], own["current"]) == ("carol", "192.0.2.7", True)
    assert token not in (await admin("GET", "/logins")).text
    assert (await reader("GET", "/logins")).json() == {"items": [], "next": None}
    refused(await reader("DELETE", f"/logins/{own['id']}"), 404, "login.not_found")
    assert (await admin("DELETE", f"/logins/{own['id']}")).status_code == 204
    refused(await carol("GET", "/me"), 401, "auth.invalid")
