"""One's own account, as a browser sees it."""

from __future__ import annotations

import re

import pyotp
import pytest

from tests.unit.manager.api.calls import Clock
from tests.unit.manager.ui.conftest import PASSWORD, Browser, text_of
from usp.errors import UspError
from usp.manager.app import App
from usp.manager.ui.account import told

ANOTHER = "another password of mine"


async def enrol(browser: Browser, clock: Clock) -> tuple[pyotp.TOTP, list[str]]:
    page = await browser.post("/ui/account/totp", password=PASSWORD)
    assert page.status_code == 200
    (secret,) = re.findall(r'id="secret">([A-Z2-7 ]+)<', page.text)
    assert "<svg" in page.text
    phone = pyotp.TOTP(secret.replace(" ", ""))
    page = await browser.post("/ui/account/totp/confirm", code=phone.at(clock()))
    codes = re.findall(r"<li>([a-z0-9-]{19})</li>", page.text)
    assert len(codes) == 10
    clock.pass_(seconds=30)
    return phone, codes


async def test_name_and_address(app: App, reader: Browser) -> None:
    assert (await reader.post("/ui/account/profile", full_name="Bob B.", email="bob@example.org")).status_code == 303
    user = await app.administrators.find("bob")
    assert (user.full_name, user.email) == ("Bob B.", "bob@example.org")
    wrong = await reader.post("/ui/account/profile", full_name="Bob", email="no address")
    assert wrong.status_code == 422
    assert "email" in text_of(wrong)


async def test_the_password(app: App, reader: Browser) -> None:
    for current, new, again, said in (
        (PASSWORD, ANOTHER, "x", "again is not the same"),
        ("wrong", ANOTHER, ANOTHER, "is not the password"),
        (PASSWORD, "short", "short", "must have"),
    ):
        answer = await reader.post("/ui/account/password", current=current, new=new, again=again)
        assert (answer.status_code, said in text_of(answer)) == (422, True), text_of(answer)
        assert current not in answer.text
    assert (await reader.post("/ui/account/password", current=PASSWORD, new=ANOTHER, again=ANOTHER)).status_code == 303
    assert "password was changed" in text_of(await reader.get("/ui/account"))
    with pytest.raises(UspError):
        await app.logins.login("bob", PASSWORD, "192.0.2.9")
    await app.logins.login("bob", ANOTHER, "192.0.2.9")


async def test_a_second_factor_and_a_login_in_two_steps(app: App, reader: Browser, clock: Clock) -> None:
    assert (await reader.post("/ui/account/totp", password="wrong")).status_code == 422
    phone, codes = await enrol(reader, clock)
    assert "Second factor on" in text_of(await reader.get("/ui/account"))
    await reader.post("/ui/logout")
    half = await reader.login("bob")
    assert (half.status_code, half.headers["location"]) == (303, "/ui/login/code")
    assert PASSWORD not in str(reader.http.cookies)
    assert (await reader.get("/ui/account")).status_code == 303, "not in yet"
    page = await reader.get("/ui/login/code")
    assert "Code" in text_of(page)
    wrong = await reader.post("/ui/login/code", code="wrong")
    assert (wrong.status_code, "not right" in text_of(wrong)) == (401, True)
    code = phone.at(clock())
    assert (await reader.post("/ui/login/code", code=code)).headers["location"] == "/ui/status"
    assert (await reader.get("/ui/account")).status_code == 200
    await reader.post("/ui/logout")
    await reader.login("bob")
    assert (await reader.post("/ui/login/code", code=code)).status_code == 401, "used"
    assert (await reader.post("/ui/login/code", code=codes[0])).status_code == 303
    assert "9 recovery codes" in text_of(await reader.get("/ui/account"))


async def test_half_a_login_ends_after_minutes_and_with_the_password(app: App, reader: Browser, clock: Clock) -> None:
    phone, _ = await enrol(reader, clock)
    await reader.post("/ui/logout")
    assert (await reader.get("/ui/login/code")).headers["location"] == "/ui/login", "nothing was begun"
    assert (await reader.post("/ui/login/code", code=phone.at(clock()))).headers["location"] == "/ui/login"
    await reader.login("bob")
    clock.pass_(minutes=6)
    assert (await reader.post("/ui/login/code", code=phone.at(clock()))).headers["location"] == "/ui/login"
    await reader.login("bob")
    await app.administrators.set_password("bob", ANOTHER, author="test")
    assert (await reader.post("/ui/login/code", code=phone.at(clock()))).headers["location"] == "/ui/login"


async def test_codes_and_taking_it_away(app: App, reader: Browser, clock: Clock) -> None:
    page = await reader.post("/ui/account/totp/confirm", code="123456")
    assert (page.status_code, "enrol first" in text_of(page)) == (404, True)
    page = await reader.post("/ui/account/totp", password=PASSWORD)
    page = await reader.post("/ui/account/totp/confirm", code="x")
    assert (page.status_code, 'id="secret"' in page.text) == (422, True), "the same secret once more"
    _, codes = await enrol(reader, clock)
    for path in ("/ui/account/totp/codes", "/ui/account/totp/remove"):
        assert (await reader.post(path, password="wrong")).status_code == 422
    fresh = re.findall(
        r"<li>([a-z0-9-]{19})</li>", (await reader.post("/ui/account/totp/codes", password=PASSWORD)).text
    )
    assert len(fresh) == 10
    assert set(fresh).isdisjoint(codes)
    assert (await reader.post("/ui/account/totp/remove", password=PASSWORD)).status_code == 303
    assert await app.store.factors.confirmed() == frozenset()


async def test_logins_and_tokens(app: App, admin: Browser) -> None:
    await app.logins.login("alice", PASSWORD, "198.51.100.7")
    page = await admin.get("/ui/account")
    assert "198.51.100.7" in page.text
    other = next(login for login, _ in await app.store.users.logins() if login.peer == "198.51.100.7")
    assert (await admin.post(f"/ui/account/logins/{other.id}/end")).status_code == 303
    assert "198.51.100.7" not in (await admin.get("/ui/account")).text
    made = await admin.post("/ui/account/tokens", name="ci", days="30", role="read_only")
    (token,) = re.findall(r"usp_[\w-]{43}", made.text)
    assert (await app.logins.authenticate(token, "192.0.2.1")).role == "read_only"
    assert token not in (await admin.get("/ui/account")).text, "once"
    assert (await admin.post("/ui/account/tokens", name="ci", days="30")).status_code == 409
    assert (await admin.post("/ui/account/tokens", name="", days="30")).status_code == 422
    (row,) = await app.store.users.tokens()
    assert (await admin.post(f"/ui/account/tokens/{row.id}/delete")).status_code == 303
    assert await app.store.users.tokens() == []


async def test_a_reader_makes_no_tokens_and_ends_nobody_elses_login(app: App, reader: Browser) -> None:
    assert (await reader.post("/ui/account/tokens", name="x", days="30")).status_code == 403
    await app.administrators.add("carol", (await app.administrators.find("bob")).role, PASSWORD, author="test")
    _, login, _ = await app.logins.login("carol", PASSWORD, "198.51.100.7")
    assert (await reader.post(f"/ui/account/logins/{login.id}/end")).status_code == 404
    assert "198.51.100.7" not in (await reader.get("/ui/account")).text


def test_what_the_page_cannot_tell_is_raised() -> None:
    with pytest.raises(UspError):
        told(UspError("database.unavailable"))
