"""Status is live, on any manager: what happens shows by itself within seconds. A page that stays open stays small."""

from __future__ import annotations

import os
import re
import sys
import time
from itertools import pairwise

from playwright.sync_api import Page, Route, expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor, wait_until

LIVE_SECONDS = 3.0
CLIENT_ROW = "#servers tr:has-text('tunnel-1')"


def opened(visitor: Visitor) -> Page:
    """Status, with the first server's details shown, once its stream runs."""
    page = visitor.page
    with page.expect_response(lambda response: "/ui/status/stream" in response.url):
        page.reload()
    page.locator("article details").first.evaluate("(details) => { details.open = true }")
    return page


def test_a_client_that_dies_shows_on_the_other_manager(admin: Visitor, elsewhere: Visitor, suite: Suite) -> None:
    suite.api("POST", "/servers/usp-server-1/push?wait=10", {"force": True})  # by the first manager
    page = opened(elsewhere)
    row = page.locator(CLIENT_ROW)
    expect(row).to_contain_text("usp-client-1 connected")
    with suite.restartable("clients") as client:
        client.kill()
        took = wait_until(lambda: "not connected" in row.inner_text(), 10, "Status shows that the client is gone", page)
        assert took < LIVE_SECONDS
        expect(page.locator("#totals")).to_contain_text(re.compile(r"Need a look\s*1"))
        elsewhere.check()
        other = elsewhere.tab()
        other.goto("/ui/dashboard")
        expect(other.locator(".concerns")).to_contain_text("Proxy Client usp-client-1 on usp-server-1")
        elsewhere.check(page=other)
        other.goto("/ui/topology")
        expect(other.locator(".line-bad")).not_to_have_count(0)
        elsewhere.check(page=other)
        other.close()
        client.start()
    expect(row).to_contain_text("usp-client-1 connected")


def test_start_and_stop(admin: Visitor, elsewhere: Visitor) -> None:
    page, other = opened(admin), opened(elsewhere)
    row = "#servers tr:has-text('passthrough')"
    page.get_by_role("button", name="Stop passthrough on usp-server-1").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nobody new can come in there")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator(row)).to_contain_text("running")
    page.get_by_role("button", name="Stop passthrough on usp-server-1").click()
    dialog.get_by_role("button", name="Go ahead").click()
    expect(page.locator("#messages")).to_contain_text("Deployment passthrough-on-usp-server-1 will be stopped")
    for each in (page, other):
        expect(each.locator(row)).to_contain_text("stopped")
    admin.check()
    other.get_by_role("button", name="Start passthrough on usp-server-1").click()
    for each in (page, other):
        expect(each.locator(row)).to_contain_text("running")


def test_drain(admin: Visitor) -> None:
    page = opened(admin)
    page.get_by_role("button", name="Drain usp-server-1").click()
    page.get_by_role("dialog").get_by_role("button", name="Go ahead").click()
    expect(page.locator("article summary").first).to_contain_text("drained")
    page.get_by_role("button", name="Let new sessions in on usp-server-1").click()
    expect(page.locator("article summary").first).not_to_contain_text("drained")


def test_a_row_is_filled_while_it_is_open(admin: Visitor, suite: Suite) -> None:
    """With more servers than are open by themselves; by keyboard."""
    server = suite.api("GET", "/items/proxy-servers/usp-server-1")
    with suite.restored():
        for number in range(3):
            more = {"name": f"other-{number}", "enabled": False, "host": "192.0.2.1", "port": number + 1}
            same = {key: server[key] for key in ("ca_certificate", "tls_certificate")}
            suite.api("POST", "/items/proxy-servers", more | same)
        page = admin.page
        expect(page.locator("article")).to_have_count(4)
        page.reload()
        article = page.locator("article:has-text('usp-server-1')")
        line = article.locator("summary")
        expect(line).to_be_visible()
        assert article.locator("table").count() == 0
        line.focus()
        page.keyboard.press("Enter")
        row = article.locator("tr:has-text('passthrough')")
        expect(row).to_contain_text("running")
        expect(line).to_be_focused()
        page.keyboard.press("Tab")
        expect(article.get_by_role("link", name="Versions and history of usp-server-1")).to_be_focused()
        suite.api("POST", "/deployments/passthrough-on-usp-server-1/stop")
        expect(row).to_contain_text("stopped")
        expect(article.get_by_role("link", name="Versions and history of usp-server-1")).to_be_focused()
        admin.check()
        line.press("Enter")
        expect(article.locator("table")).to_have_count(0)
        suite.api("POST", "/deployments/passthrough-on-usp-server-1/start")
        expect(line).to_contain_text("3 / 3 listeners")
        page.goto("/ui/status?open=usp-server-1")
        expect(row).to_contain_text("running")


def test_a_reader_sees_no_button_that_would_fail(reader: Visitor) -> None:
    page = opened(reader)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.get_by_role("button", name="Drain")).to_have_count(0)
    expect(page.locator(".bar")).to_contain_text("read only")
    reader.check()
    for path in ("/ui/servers/usp-server-1", "/ui/servers/usp-server-1/versions/1", "/ui/sessions"):
        page.goto(path)
        assert page.locator("main form[method=post]").count() == 0, path
        reader.check()


NEXT = """async () => {
  const reader = (await fetch("/ui/status/stream?seen=")).body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!(text.includes("id: ") && text.endsWith("\\n\\n")))
    text += decoder.decode((await reader.read()).value, { stream: true });
  reader.cancel();
  return text.slice(text.indexOf("id: "));
}"""
"""All of Status, as the stream tells it."""


def test_a_page_that_stays_open_for_long_stays_small(admin: Visitor, suite: Suite) -> None:
    """It is told by a stream that says, one after the other without a pause, what Status said before and after a
    listener was stopped: as many messages as come in some minutes, or in hours (USP_TEST_MESSAGES), at the most."""
    messages = int(os.environ.get("USP_TEST_MESSAGES", "800"))
    page = opened(admin)
    row = page.locator("#servers tr:has-text('TCP, passed through')")
    told = ""
    for verb, word in (("stop", "stopped"), ("start", "running")):
        suite.api("POST", f"/deployments/tcp-on-usp-server-1/{verb}")
        expect(row).to_contain_text(word)
        told += page.evaluate(NEXT)
    bodies = [told * 50, told * (messages // 2)]

    def tell(route: Route) -> None:
        body = bodies.pop(0) if bodies else "event: beat\ndata: -\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/ui/status/stream*", tell)
    page.add_init_script("""document.addEventListener("htmx:sse:after:message", (event) => {
      if (event.detail.message.data.length > 9) window.heard = (window.heard || 0) + 1; })""")
    page.reload()
    metrics = admin.context.new_cdp_session(page)
    metrics.send("Performance.enable")

    def size_after(heard: int) -> dict[str, float]:
        wait_until(lambda: page.evaluate("() => window.heard || 0") >= heard, 90, f"{heard} messages", page)
        return min((size() for _ in range(5)), key=lambda found: found["Nodes"])

    def size() -> dict[str, float]:  # what is being replaced is there twice for a moment
        page.wait_for_timeout(200)
        metrics.send("HeapProfiler.collectGarbage")
        return {each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]}

    before, after = size_after(100), size_after(100 + messages)
    sys.stdout.write(f"{messages} messages: {grown(before, after)}\n")
    nodes, listeners, heap = grown(before, after)
    assert nodes < 200
    assert listeners < 50
    assert heap < 500_000
    assert page.locator("article").count() == 1


def test_a_script_that_comes_late_is_used_all_the_same(admin: Visitor) -> None:
    page = opened(admin)

    def late(route: Route) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route("**/hx-sse.js*", late)
    with page.expect_request("**/ui/status/stream*"):
        page.reload()


def grown(before: dict[str, float], after: dict[str, float]) -> tuple[float, ...]:
    return tuple(after[name] - before[name] for name in ("Nodes", "JSEventListeners", "JSHeapUsedSize"))


def test_what_is_typed_into_the_search_stays(admin: Visitor) -> None:
    page = opened(admin)
    field = page.get_by_label("Find servers")
    field.fill("nothing like it")
    expect(page.get_by_text("No server matches.")).to_be_visible()
    field.fill("server-1 running")
    expect(page.locator("article")).to_be_visible()


def test_the_stream_is_not_faster_than_twice_a_second(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    page.evaluate("() => { window.heard = [] }")
    page.evaluate("() => document.addEventListener('htmx:sse:after:message', () => heard.push(Date.now()))")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        for verb in ("drain", "undrain"):
            suite.api("POST", f"/servers/usp-server-1/{verb}")
    heard: list[int] = page.evaluate("() => window.heard")
    assert heard, "something was told"
    gaps = [later - earlier for earlier, later in pairwise(heard)]
    assert sum(gap < 350 for gap in gaps) <= 1, gaps
