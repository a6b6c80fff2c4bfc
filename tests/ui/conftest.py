"""One suite and one Chromium for all tests of the UI; each test has visitors of its own.

Run them by themselves: Playwright keeps an event loop, which asynchronous tests in the same process cannot have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.databases import postgres
from tests.e2e.suite import Suite, running
from tests.ui.browser import Visitor, chromium

READER = ("reader", "a reader's pass phrase")


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """Two managers on one PostgreSQL, so that a test can look at what another manager did."""
    with (
        postgres.running() as database,
        running("--workers", "2", "--managers", "2", "--database", database.argument()) as suite,
    ):
        suite.api("POST", "/users", {"username": READER[0], "role": "read_only", "password": READER[1]})
        yield suite


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield chromium(playwright)  # it ends with its driver


@pytest.fixture
def visitors(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, of the suite's first manager by default. At the end, none of them may have had anything to
    complain of."""
    made: list[Visitor] = []

    def make(url: str = "", **more: Any) -> Visitor:
        url = url or request.getfixturevalue("suite").ready["managers"][0]["url"]
        made.append(Visitor(browser, url, **more))
        return made[-1]

    yield make
    for visitor in made:
        visitor.close()


@pytest.fixture
def admin(visitors: Callable[..., Visitor], suite: Suite) -> Visitor:
    """An administrator, logged in."""
    visitor = visitors()
    who = suite.ready["admin"]
    visitor.login(who["username"], who["password"])
    visitor.page.wait_for_url("**/ui/status")
    return visitor


@pytest.fixture
def reader(visitors: Callable[..., Visitor], suite: Suite) -> Visitor:
    """Somebody who may only read, logged in."""
    visitor = visitors()
    visitor.login(*READER)
    visitor.page.wait_for_url("**/ui/status")
    return visitor


@pytest.fixture
def elsewhere(visitors: Callable[..., Visitor], suite: Suite) -> Visitor:
    """An administrator, logged in at the other manager."""
    visitor = visitors(suite.ready["managers"][1]["url"])
    who = suite.ready["admin"]
    visitor.login(who["username"], who["password"])
    visitor.page.wait_for_url("**/ui/status")
    return visitor
