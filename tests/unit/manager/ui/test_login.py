"""Logging in and out."""

from __future__ import annotations

import re

import pyotp
import pytest

from tests.unit.manager.test_factors import demand
from tests.unit.manager.ui.conftest import PASSWORD, Browser, text_of
from usp.manager.app import App
from usp.manager.store.rows import Role
from usp.manager.ui import login
from usp.manager.ui.visits import COOKIE
from usp.settings import SecondFactor


async def test_in_and_out(app: App, nobody: Browser) -> None:
    await app.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
    page = await nobody.get("/ui/login")
    assert page.status_code == 200
    response = await nobody.login("alice")
    assert (response.status_code, response.headers["location"]) == (303, "/ui/status")
    token = nobody.token
    assert (await app.logins.authenticate(token, "")).name == "alice"
    response = await nobody.post("/ui/logout")
    assert (response.status_code, response.headers["location"]) == (303, "/ui/login")
    assert not nobody.token
    assert "You are logged out." in text_of(await nobody.get("/ui/login"))
    nobody.http.cookies.clear()
    nobody.http.cookies.set(COOKIE, token)
    assert (await nobody.get("/ui/status")).status_code == 303, "the token is worth nothing any more"


async def test_a_refused_login_tells_nothing_and_is_counted(app: App, nobody: Browser) -> None:
    await app.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
    wrong = await nobody.login("alice", "wrong")
    unknown = await nobody.login("nobody", "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert text_of(wrong).replace("alice", "") == text_of(unknown).replace("nobody", "")
    assert "wrong" not in wrong.text.replace("Wrong user name", ""), "the password is not sent back"
    assert not nobody.token
    for _ in range(4):
        await nobody.login("alice", "wrong")
    locked = await nobody.login("alice")
    assert (locked.status_code, nobody.token) == (429, "")
    assert int(locked.headers["retry-after"]) > 0
    assert "Try again in" in text_of(locked)


async def test_what_was_typed_comes_back_as_text(nobody: Browser) -> None:
    probe = '"><script>alert(1)</script>'
    page = await nobody.post("/ui/login", username=probe, password="x", next=probe)
    assert page.status_code == 401
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text


async def test_a_password_that_nobody_can_have_costs_little(nobody: Browser) -> None:
    assert (await nobody.login("alice", "x" * 4000)).status_code == 401
    assert (await nobody.login("alice", "x" * 5000)).status_code == 422


async def test_who_must_have_a_second_factor_sets_it_up_before_they_are_in(
    app: App, nobody: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
    await nobody.login("alice")
    assert (await nobody.get("/ui/status")).status_code == 200
    demand(app, SecondFactor.ADMINS, monkeypatch)
    assert (await nobody.get("/ui/status")).headers["location"] == "/ui/login", "from now on it takes more"
    assert nobody.token == ""
    assert (await nobody.get("/ui/login/enrol")).headers["location"] == "/ui/login"
    assert (await nobody.post("/ui/login/enrol", code="1")).headers["location"] == "/ui/login"
    half = await nobody.post("/ui/login", username="alice", password=PASSWORD, next="/ui/events")
    assert (half.status_code, half.headers["location"], nobody.token) == (303, "/ui/login/enrol", "")
    assert (await nobody.get("/ui/login/code")).headers["location"] == "/ui/login", "this is another half"
    page = await nobody.get("/ui/login/enrol")
    assert page.status_code == 200
    found = re.search(r'id="secret">([A-Z2-7 ]+)<', page.text)
    assert found
    wrong = await nobody.post("/ui/login/enrol", code="000000000")
    assert (wrong.status_code, nobody.token) == (422, "")
    assert found[1] in wrong.text, "the app goes on with the same secret"
    other = dict(nobody.http.cookies)
    phone = pyotp.TOTP(found[1].replace(" ", ""))
    done = await nobody.post("/ui/login/enrol", code=phone.at(app.clock()))
    assert done.status_code == 200
    assert len(re.findall(r"<li>[\w-]+</li>", done.text)) == 10, "the recovery codes"
    assert 'href="/ui/events"' in done.text
    assert (await app.logins.authenticate(nobody.token, "")).name == "alice"
    nobody.http.cookies.clear()
    nobody.http.cookies.update(other)
    again = await nobody.post("/ui/login/enrol", code=phone.at(app.clock()))
    assert again.headers["location"] == "/ui/login", "the ticket is worth nothing any more"
    assert (await nobody.get("/ui/login/enrol")).headers["location"] == "/ui/login"


@pytest.mark.parametrize("path", ["/ui/events?file=a", "/ui/status"])
def test_after_the_login_one_is_where_one_wanted_to_be(path: str) -> None:
    assert login.inside(path) == path


@pytest.mark.parametrize(
    "path", ["", "/", "//evil.example/ui/", "https://evil.example/ui/", "/ui/\\evil", "/ui/\n", "/ui/login", "/uix"]
)
def test_but_nowhere_else(path: str) -> None:
    assert login.inside(path) == "/ui/status"


async def test_a_login_has_a_cookie_that_nobody_chose_for_it(app: App, nobody: Browser) -> None:
    """Session fixation: what somebody else put into the browser before opens nothing afterwards."""
    await app.administrators.add("alice", Role.ADMIN, PASSWORD, author="test")
    planted = "ust_" + "x" * 43
    nobody.http.cookies.set(COOKIE, planted)
    assert (await nobody.login("alice")).status_code == 303
    assert planted not in [cookie.value for cookie in nobody.http.cookies.jar if cookie.domain]
    nobody.http.cookies.clear()
    nobody.http.cookies.set(COOKIE, planted)
    assert (await nobody.get("/ui/status")).headers["location"].startswith("/ui/login")
