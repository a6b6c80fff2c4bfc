"""`make screenshots`: each page that links lead to, light, dark and narrow, into screenshots/ (not committed).

Of a manager with two servers on which something goes on (a partner at work, a failed login, a client that is gone,
changes that were not pushed), of one with nothing at all, and of forms that are refused.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tests.e2e.suite import Suite, random_file, running
from tests.ui.browser import Visitor, chromium
from tests.ui.place import ADMIN, PASSWORD, empty_manager
from tests.ui.sitemap import START, followed

FOLDER: Final = Path(__file__).parents[2] / "screenshots"
LOOKS: Final = (("light", "wide"), ("dark", "wide"), ("light", "narrow"))
EMPTY: Final = tuple(
    f"/ui/{page}"
    for page in ("status", "dashboard", "sessions", "topology", "setup", "explain", "scan", "kit", "items/rules")
)
SETTLE_MS: Final = 300


class Camera:
    """Takes pictures of one look."""

    def __init__(self, scheme: str, size: str) -> None:
        self.look = f"{scheme}-{size}"
        self.taken = 0

    def take(self, page: Page, name: str) -> None:
        page.wait_for_timeout(SETTLE_MS)
        name = re.sub(r"[^a-z0-9]+", "-", name.removeprefix("/ui/").lower()).strip("-")[:80]
        page.screenshot(path=FOLDER / f"{name}-{self.look}.png", full_page=True)
        self.taken += 1


def busy(visitor: Visitor, suite: Suite, camera: Camera) -> None:
    page, who = visitor.page, suite.ready["admin"]
    page.goto("/ui/login")
    camera.take(page, "login")
    visitor.login(who["username"], who["password"])
    page.wait_for_url("**/ui/status")
    for path in followed(page, START):
        camera.take(page, path)
    page.goto("/ui/status")
    page.locator("article details").evaluate_all("found => found.forEach(each => { each.open = true })")
    camera.take(page, "status, opened")
    page.get_by_role("button", name="Drain usp-server-1").click()
    camera.take(page, "asked before a write")
    page.goto("/ui/items/listeners/new")
    page.locator("#field-name").fill("two words")
    page.get_by_label(re.compile("^Port")).fill("70000")
    page.get_by_role("button", name="Make", exact=True).click()
    camera.take(page, "refused")
    page.goto("/ui/explain")
    page.get_by_label("Listener").select_option(index=1)
    page.get_by_label("The partner's IP address").fill("127.0.0.1")
    page.get_by_label("It logs in as").fill("partner")
    page.get_by_label("Have the server try").check()
    page.get_by_role("button", name="Explain").click()
    camera.take(page, "explained")
    page.goto("/ui/nothing")
    camera.take(page, "nothing there")


def empty(visitor: Visitor, camera: Camera) -> None:
    visitor.login(ADMIN, PASSWORD)
    visitor.page.wait_for_url("**/ui/status")
    for path in EMPTY:
        visitor.page.goto(path)
        camera.take(visitor.page, f"empty-{path.removeprefix('/ui/')}")


@contextmanager
def life(suite: Suite, folder: Path) -> Iterator[None]:
    """A partner who comes and goes, one who stays, one who is refused; a client that is gone; a change."""
    random_file(folder / "file", 300_000)
    suite.sftp(f"put {folder / 'file'} invoices-2026-11.csv\nrename invoices-2026-11.csv done.csv\nls\n")
    suite.sftp("pwd\n", password="wrong")
    listener = suite.api("GET", "/items/listeners/tcp-2")
    suite.api("PUT", "/items/listeners/tcp-2", {**listener, "port": suite.port(41), "description": "to be moved"})
    partner = suite.start_sftp(f"put {folder / 'file'} now.bin\n!sleep 600\n")
    try:
        with suite.restartable("clients", 1) as client:
            client.kill()
            yield
    finally:
        partner.kill()
        partner.communicate()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    taken = 0
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser, folder = chromium(playwright), Path(name)
        with running("--workers", "2", "--servers", "2") as suite, life(suite, folder), empty_manager(folder) as place:
            for scheme, size in LOOKS:
                camera = Camera(scheme, size)
                for url in (suite.ready["managers"][0]["url"], place.url):
                    visitor = Visitor(browser, url, scheme=scheme, size=size)
                    with visitor.expecting("404"), visitor.expecting("422"):
                        empty(visitor, camera) if url == place.url else busy(visitor, suite, camera)
                    visitor.close()
                taken += camera.taken
        browser.close()
    sys.stdout.write(f"{taken} pictures are in {FOLDER}\n")


if __name__ == "__main__":
    main()
