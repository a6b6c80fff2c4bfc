"""`make screenshots`: each page that links lead to, light, dark and narrow, into screenshots/ (not committed)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from tests.e2e.suite import Suite, running
from tests.ui.browser import Visitor, chromium

FOLDER: Final = Path(__file__).parents[2] / "screenshots"
LOOKS: Final = (("light", "wide"), ("dark", "wide"), ("light", "narrow"))
START: Final = (
    *(f"/ui/{page}" for page in ("status", "dashboard", "sessions", "events", "topology")),
    *(f"/ui/servers/usp-server-1{page}" for page in ("", "/push", "/versions/1")),
)
LINK: Final = re.compile(r"^/ui/(?!logout|static|events\.|.*download|.*public|.*\.zip|.*sort=|.*/files?/|kit/)[^#]*$")
SETTLE_MS: Final = 300


def pictures(browser: Browser, suite: Suite, scheme: str, size: str) -> int:
    """How many were made."""
    visitor = Visitor(browser, suite.ready["managers"][0]["url"], scheme=scheme, size=size)
    page, who = visitor.page, suite.ready["admin"]
    page.goto("/ui/login")
    page.screenshot(path=FOLDER / f"login-{scheme}-{size}.png")
    visitor.login(who["username"], who["password"])
    waiting, known = [*START], set(START)
    for path in waiting:  # which grows meanwhile
        page.goto(path)
        page.wait_for_timeout(SETTLE_MS)
        name = re.sub(r"[^a-z0-9]+", "-", path.removeprefix("/ui/").lower()).strip("-")[:80]
        page.screenshot(path=FOLDER / f"{name}-{scheme}-{size}.png", full_page=True)
        for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))"):
            sort = re.sub(r"[0-9a-f-]{36}|\d+|\?.*", "*", link)
            if LINK.match(link) and sort not in known and link not in known:
                known |= {sort, link}
                waiting.append(link)
    visitor.close()
    return len(waiting) + 1


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    with running("--workers", "2", "--servers", "2") as suite, sync_playwright() as playwright:
        browser = chromium(playwright)
        count = sum(pictures(browser, suite, scheme, size) for scheme, size in LOOKS)
        browser.close()
    sys.stdout.write(f"{count} pictures are in {FOLDER}\n")


if __name__ == "__main__":
    main()
