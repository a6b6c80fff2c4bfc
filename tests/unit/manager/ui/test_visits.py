"""Who looks, what becomes of a login, and forged requests."""

from __future__ import annotations

import pytest

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.ui.conftest import BASE, Browser, text_of
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.ui.visits import COOKIE, csrf_token

OURS = {"Origin": BASE}


async def test_the_cookie_is_for_this_host_alone_and_not_for_scripts(admin: Browser) -> None:
    header = (await admin.login("alice")).headers["set-cookie"]
    for part in (f"{COOKIE}=ust_", "HttpOnly", "Path=/", "SameSite=strict", "Secure"):
        assert part in header
    assert "Domain" not in header


async def test_a_write_comes_from_a_page_of_ours(admin: Browser) -> None:
    token = {"csrf": csrf_token(admin.token)}
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://manager"},
        {"Origin": "https://manager.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        response = await admin.http.post("/ui/logout", data=token, headers=headers)
        assert response.status_code == 403, headers
        assert "does not come from a page of this manager" in text_of(response)
    assert (await admin.get("/ui/status")).status_code == 200, "the login goes on"
    response = await admin.http.post("/ui/logout", data=token, headers={"Sec-Fetch-Site": "same-origin"})
    assert response.status_code == 303


async def test_a_write_knows_the_token_of_its_login(admin: Browser) -> None:
    for fields in ({}, {"csrf": ""}, {"csrf": csrf_token("ust_another")}, {"csrf": "ä"}):
        response = await admin.http.post("/ui/logout", data=fields, headers=OURS)
        assert response.status_code == 403, fields
    assert (await admin.get("/ui/status")).status_code == 200
    headers = {**OURS, "X-CSRF-Token": csrf_token(admin.token)}
    assert (await admin.http.post("/ui/logout", headers=headers)).status_code == 303


async def test_a_login_ends_when_idle_and_in_any_case(admin: Browser, clock: Clock) -> None:
    clock.pass_(seconds=99)
    assert (await admin.get("/ui/status")).status_code == 200
    clock.pass_(seconds=99)
    assert (await admin.get("/ui/status")).status_code == 200, "used in between"
    clock.pass_(seconds=101)
    response = await admin.get("/ui/status")
    assert (response.status_code, response.headers["location"]) == (303, "/ui/login")
    assert f'{COOKIE}=""' in response.headers["set-cookie"], "it is worth nothing any more"


async def test_what_a_page_asks_by_itself_keeps_no_login_alive(app: App, admin: Browser, clock: Clock) -> None:
    token = admin.token
    for _ in range(3):
        clock.pass_(seconds=30)
        assert (await app.logins.authenticate(token, "", quietly=True)).name == "alice"
    clock.pass_(seconds=30)
    with pytest.raises(UspError, match="not valid"):
        await app.logins.authenticate(token, "", quietly=True)


async def test_while_the_database_is_away_who_was_here_may_read(
    app: App, admin: Browser, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await admin.get("/ui/status")).status_code == 200

    async def away(*_: object, **__: object) -> None:
        raise UspError("database.unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(app.store.users, "find_login", away)
        patch.setattr(app.store.items, "read", away)
        page = await admin.get("/ui/status")
        assert page.status_code == 200
        assert "This manager's database is away" in text_of(page)
        assert "read only" in text_of(page)
        assert 'hx-post="' not in page.text, "no button that would fail"
        admin.http.cookies.clear()
        admin.http.cookies.set(COOKIE, "ust_somebody")
        stranger = await admin.get("/ui/status")
        assert stranger.status_code == 503
        assert stranger.headers["retry-after"]
        assert "Servers and partners are not affected" in text_of(stranger)


async def test_a_login_that_was_ended_elsewhere_is_over(app: App, admin: Browser) -> None:
    actor = await app.logins.authenticate(admin.token, "")
    await app.logins.logout(actor)
    assert (await admin.get("/ui/status")).status_code == 303
