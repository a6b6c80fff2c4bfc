"""Pushing with a preview, going back, sessions, events: as an administrator does it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.suite import Suite, random_file
from tests.ui.browser import Visitor, wait_until


def test_push_with_a_preview_and_going_back(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    with suite.restored():
        listener = suite.api("GET", "/items/listeners/tcp")
        suite.api("PUT", "/items/listeners/tcp", {**listener, "port": suite.port(41)})
        expect(page.locator("#totals")).to_contain_text("changes that were not pushed: usp-server-1")
        page.locator("#totals").get_by_role("link", name="usp-server-1").click()
        expect(page.get_by_role("heading", name="Push to usp-server-1")).to_be_visible()
        expect(page.locator("main")).to_contain_text(f"port: {suite.port(2)} -> {suite.port(41)}")
        expect(page.locator("main")).to_contain_text(f"Opens 127.0.0.1:{suite.port(41)}")
        admin.check()
        page.get_by_label("Comment").fill("another port")
        page.get_by_role("button", name="Push").click()
        expect(page.locator("#messages")).to_contain_text(re.compile(r"Version \d+ is in force on usp-server-1\."))
        expect(page.get_by_role("row").filter(has_text="another port")).to_contain_text("applied")
        admin.check()
        versions = page.locator("table").first.get_by_role("row")
        versions.nth(2).get_by_role("link").click()
        expect(page.locator("main")).to_contain_text(f"port: {suite.port(41)} -> {suite.port(2)}")
        admin.check()
        page.get_by_role("button", name=re.compile("Roll back to version")).click()
        expect(page.locator("#messages")).to_contain_text("is in force on usp-server-1.")
        expect(page.locator("main")).to_contain_text("rollback to version")
    page.goto("/ui/servers/usp-server-1/push")
    expect(page.locator("main")).to_contain_text("A push would bring nothing new.")


def test_a_session_is_seen_and_ended(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    page.goto("/ui/sessions")
    expect(page.locator("#sessions")).to_contain_text("Nobody is connected")
    admin.check()
    partner = suite.start_sftp("pwd\n!sleep 30\n")
    try:
        row = page.locator("#sessions tbody tr")
        expect(row).to_contain_text("partner")
        admin.check()
        page.get_by_label("Find sessions").fill("nobody like that")
        expect(page.locator("#sessions")).to_contain_text("No session matches")
        page.get_by_label("Find sessions").fill("partner")
        expect(row).to_be_visible()
        page.get_by_role("button", name="End the session of partner").click()
        page.get_by_role("dialog").get_by_role("button", name="Go ahead").click()
        expect(page.locator("#messages")).to_contain_text("The session was ended.")
        page.get_by_label("Find sessions").fill("")
        expect(page.locator("#sessions")).to_contain_text("Nobody is connected")
        assert [line["outcome"] for line in suite.audit("session.ended")][-1] == "killed"
    finally:
        partner.kill()
        partner.communicate()


def test_a_file_is_found_and_its_story_told(admin: Visitor, suite: Suite, tmp_path: Path) -> None:
    name = "report<img src=x onerror=alert(1)>.csv"
    random_file(tmp_path / "file", 5000)
    done = suite.sftp(f'put {tmp_path / "file"} "{name}"\nrename "{name}" "{name}.done"\n')
    assert done.returncode == 0, done.stderr
    page = admin.page

    def found() -> bool:
        page.goto("/ui/events?account=partner&action=file.")
        return "report<img" in page.locator("main").inner_text()

    wait_until(found, 20, "the manager has the server's events", page)
    admin.check()
    page.get_by_role("row").filter(has_text="file.closed").first.get_by_role("link", name="report").first.click()
    expect(page.get_by_role("heading", name="The story of a file")).to_be_visible()
    for word in ("file.closed", "rename", "5000"):
        expect(page.locator("main")).to_contain_text(word)
    admin.check()
    page.get_by_role("link", name="session", exact=True).first.click()
    for word in ("session.started", "login", "file.closed", "session.ended", "completed"):
        expect(page.locator("main")).to_contain_text(word)
    admin.check()
    page.goto("/ui/events?account=partner&action=file.closed")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert any(line["detail"].get("path") == f"/{name}" or name in line["target"] for line in lines)
    page.get_by_label("File, or how its path begins").fill("/no such file")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("main")).to_contain_text("Nothing matches")
    admin.check()


def test_the_charts(admin: Visitor) -> None:
    page = admin.page
    page.goto("/ui/dashboard")
    expect(page.locator(".chart canvas")).to_have_count(2)
    page.get_by_label("Charts of").select_option("usp-server-1")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator(".chart canvas")).to_have_count(2)
    admin.check()


def test_the_picture_leads_to_what_it_shows(admin: Visitor) -> None:
    page = admin.page
    page.goto("/ui/topology")
    for text in ("partners", "usp-server-1", "usp-client-1", "target"):
        expect(page.locator("svg .name").filter(has_text=text).first).to_be_visible()
    admin.check()
    page.locator("svg a").filter(has_text="usp-server-1").first.click()
    page.wait_for_url("**/ui/servers/usp-server-1")
