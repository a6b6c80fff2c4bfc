"""What an attacker tries: forged requests, a frame around our pages, guessing. All of it refused. (Scripts in texts are
tried by `test_every_page`.)"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor


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
