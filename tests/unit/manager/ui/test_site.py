"""The UI's application as a whole."""

from __future__ import annotations

import re

import pytest

from tests.unit.manager.ui.conftest import Browser, text_of
from usp.manager.app import App
from usp.manager.ui import status
from usp.manager.ui.site import PARTS

PUBLIC = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/static/{name}"),
    ("GET", "/oidc/{label}"),
    ("GET", "/oidc/{label}/callback"),
}


HARMLESS = {"/logout", "/login/code", "/login/enrol", "/explain"}
"""Writes that change nothing but one's own login. Below `/account/` everybody changes what is their own."""


async def test_the_start(nobody: Browser) -> None:
    response = await nobody.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/ui/status")


async def test_no_page_without_a_login_and_no_write_of_a_reader(reader: Browser) -> None:
    """Every route there is: who is not logged in is led to the login, who may only read changes nothing."""
    routes = [(method, route.path) for part in PARTS for route in part.router.routes for method in route.methods]
    assert ("GET", "/status") in routes
    cookies = dict(reader.http.cookies)
    for method, path in sorted(set(routes) - PUBLIC):
        where = "/ui" + re.sub(r"{[^}]*}", "1", path)
        if "stream" in where:
            continue
        reader.http.cookies.clear()
        response = await reader.http.request(method, where, headers={"Origin": "https://manager"})
        assert (response.status_code, response.headers.get("location", "")[:9]) == (303, "/ui/login"), where
        reader.http.cookies.update(cookies)
        if method == "POST" and path not in HARMLESS and not path.startswith("/account/"):
            assert (await reader.post(where)).status_code in (403, 404, 422), where


async def test_the_way_back_after_a_login(nobody: Browser) -> None:
    response = await nobody.get("/ui/nothing?a=b&c=%3Cd")
    assert response.status_code == 404, "what is not there is no secret"
    response = await nobody.get("/ui/status/stream?seen=1")
    assert response.headers["location"] == "/ui/login?next=/ui/status/stream%3Fseen%3D1"
    part = await nobody.get("/ui/status", hx_request="true")
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/ui/login")


async def test_who_comes_from_another_site_is_asked_by_a_page_of_ours(nobody: Browser) -> None:
    response = await nobody.get("/ui/status", sec_fetch_site="cross-site")
    assert response.status_code == 200
    assert 'http-equiv="refresh"' in response.text


async def test_failures_are_pages(admin: Browser) -> None:
    page = await admin.get("/ui/nothing")
    assert page.status_code == 404
    assert "there is nothing at this address" in text_of(page)
    assert "Log out" in text_of(page), "with the menu"
    wrong = await admin.get("/ui/status/stream?seen=" + "x" * 50)
    assert wrong.status_code == 422
    assert "must not be longer than 40 characters" in text_of(wrong)


async def test_for_htmx_failures_are_messages(admin: Browser) -> None:
    response = await admin.post(
        "/ui/tunnels/nothing/start", headers={"Origin": "https://manager", "HX-Request": "true"}
    )
    assert response.status_code == 404
    assert response.headers["hx-retarget"] == "#messages"
    assert "there is no Tunnel" in text_of(response).replace("&#39;", "'")
    assert "<html" not in response.text


async def test_a_bug_is_told_without_details(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(status, "the_board", bug)
    page = await admin.get("/ui/status")
    assert page.status_code == 500
    assert "This page has failed" in text_of(page)
    assert "secret detail" not in page.text


async def test_the_ip_filter_guards_the_ui(app: App, admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    async def admits(address: str) -> bool:
        return address != "192.0.2.7"

    monkeypatch.setattr(app.guard, "admits", admits)
    for path in ("/", "/ui/status", "/ui/login", "/ui/static/usp.css"):
        assert (await admin.get(path)).status_code == 403
