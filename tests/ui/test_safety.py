"""What an attacker tries: scripts in texts, forged requests, a frame around our pages. All of it refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import Page, expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor

PROBE = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>\"'><svg onload=window.hit=1>{{7*7}}"
LINK = re.compile(r"^/ui/(?!logout|static|events\.|.*download|.*public|.*\.zip|.*sort=|.*/files?/|kit/)[^#]*$")
START = (
    *(f"/ui/{page}" for page in ("status", "dashboard", "sessions", "events", "topology")),
    *(f"/ui/servers/usp-server-1{page}" for page in ("", "/push", "/versions/1")),
)
PAGES = 26
"""At the most: these, and what is found by following links."""


def followed(page: Page) -> Iterator[str]:
    """Pages that one can reach by links, one of each sort first."""
    waiting, known = [*START], set(START)
    count = 0
    while waiting and count < PAGES:
        path = waiting.pop(0)
        page.goto(path)
        count += 1
        yield path
        for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))"):
            sort = re.sub(r"[0-9a-f-]{36}|\d+|\?.*", "*", link)
            if LINK.match(link) and sort not in known:
                known.add(sort)
                waiting.append(link)


def test_texts_are_texts_on_every_page_and_every_page_is_sound(admin: Visitor, suite: Suite) -> None:
    """Every text that anybody can bring into a page, administrators and partners, on all pages that links lead to;
    and axe-core has nothing serious to say of any of them, in light and dark."""
    with suite.restored():
        node = suite.api("GET", "/items/inbound-nodes/partners")
        suite.api("PUT", "/items/inbound-nodes/partners", {**node, "banner": PROBE})
        suite.api("POST", "/servers/usp-server-1/push?wait=10", {"comment": PROBE})
        suite.api("PATCH", "/me", {"full_name": PROBE.replace("\n", "")})
        suite.sftp("pwd\n", "-o", f"User={PROBE[:60].replace(' ', '')}", password=PROBE)
        page = admin.page
        for path in (
            f"/ui/events?account={PROBE}&path={PROBE}&outcome=x&from={PROBE[:10]}",
            f"/ui/sessions?find={PROBE}",
            f"/ui/events/story?path={PROBE}",
        ):
            with admin.expecting("422"):
                page.goto(path)
            assert page.evaluate("() => window.hit") is None, path
            assert "<img src=x" in page.content().replace("&lt;", "<"), f"{path}: it is shown as the text that it is"
            admin.violations(page)
        visited = []
        for path in followed(page):
            visited.append(path)
            assert page.evaluate("() => window.hit") is None, path
            assert "49" not in page.title()
            admin.check()
        assert len(visited) > len(START), visited


@contextmanager
def evil_site(manager: str) -> Iterator[str]:
    """Another origin, with a form that posts to the manager, and a frame around it."""
    pages = {
        "/post": f"<form method=post action='{manager}/ui/proxy-servers/usp-server-1/drain'></form>"
        "<script>document.forms[0].submit()</script>",
        "/frame": f"<iframe src='{manager}/ui/status'></iframe>",
    }

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_another_site_can_neither_write_nor_frame_us(admin: Visitor, suite: Suite) -> None:
    page = admin.tab()
    manager = suite.ready["managers"][0]["url"]
    with evil_site(manager) as site:
        before = len(admin.complaints)
        page.goto(f"{site}/post")
        page.wait_for_load_state()
        expect(page.locator("body")).to_contain_text("it does not come from a page of this manager")
        assert suite.api("GET", "/servers/usp-server-1")["drain"] is False
        page.goto(f"{site}/frame")
        page.wait_for_timeout(500)
        frame = page.frames[1]
        assert "chrome-error" in frame.url or not frame.content().count("Proxy Servers"), frame.url
        page.close()
        del admin.complaints[before:]  # of the other site's page: that it may do nothing is what was to be seen


def test_a_page_of_an_earlier_login_writes_nothing(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    old = page.locator("input[name=csrf]").first.get_attribute("value")
    admin.context.clear_cookies()
    who = suite.ready["admin"]
    admin.login(who["username"], who["password"])
    page.wait_for_url("**/ui/status")
    with admin.expecting("403"):
        answer = page.evaluate(
            """async (token) => (await fetch('/ui/proxy-servers/usp-server-1/drain',
               {method: 'POST', headers: {'X-CSRF-Token': token}})).status""",
            old,
        )
    assert answer == 403
    assert suite.api("GET", "/servers/usp-server-1")["drain"] is False


def test_the_cookie_is_none_of_a_scripts_business(admin: Visitor) -> None:
    assert "usp" not in admin.page.evaluate("() => document.cookie")


def test_too_many_wrong_passwords(visitors: Callable[..., Visitor], suite: Suite) -> None:
    visitor = visitors()
    try:
        with visitor.expecting("401"), visitor.expecting("429"):
            for _ in range(6):
                visitor.login("guessed", "wrong")
            expect(visitor.page.get_by_role("alert")).to_contain_text("Try again in")
        visitor.check()
    finally:
        suite.api("DELETE", "/lockouts/user:guessed")
        suite.api("DELETE", "/lockouts/address:127.0.0.1")
