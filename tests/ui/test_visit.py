"""A visit: logging in, looking, and what nobody can do to a visitor."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor


def test_in_and_out(visitors: Callable[..., Visitor], suite: Suite) -> None:
    visitor = visitors()
    page = visitor.page
    page.goto("/")
    assert page.url.endswith("/ui/login")
    visitor.check()
    with visitor.expecting("401"):
        visitor.login("admin", "not the password")
        expect(page.get_by_role("alert")).to_contain_text("Wrong user name or password")
    visitor.check()
    visitor.login("admin", suite.ready["admin"]["password"])
    page.wait_for_url("**/ui/status")
    expect(page.get_by_role("heading", name="Status")).to_be_visible()
    visitor.check()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/ui/login")
    expect(page.get_by_role("status")).to_contain_text("You are logged out.")
    page.goto("/ui/status")
    assert page.url.endswith("/ui/login")


def test_light_and_dark(admin: Visitor) -> None:
    page = admin.page
    theme = "() => document.documentElement.dataset.bsTheme"
    assert page.evaluate(theme) == "light"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(theme) == "dark"
    page.reload()
    assert page.evaluate(theme) == "dark", "it is remembered"


def test_the_system_says_what_it_is_at_first(visitors: Callable[..., Visitor]) -> None:
    page = visitors(scheme="dark").page
    page.goto("/ui/login")
    assert page.evaluate("() => document.documentElement.dataset.bsTheme") == "dark"


def test_narrow_screens_have_a_menu(visitors: Callable[..., Visitor], suite: Suite) -> None:
    visitor = visitors(size="narrow")
    visitor.login("admin", suite.ready["admin"]["password"])
    page = visitor.page
    expect(page.get_by_role("link", name="Status", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="Status", exact=True)).to_be_focused()
    visitor.check()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Status", exact=True)).to_be_hidden()


def test_the_keyboard_is_enough(admin: Visitor) -> None:
    page = admin.page
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Find servers")).to_be_focused()
