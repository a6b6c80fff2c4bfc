"""Configuration, users and one's own account in a real browser: every page, every role, and what is typed by malice."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pyotp
from playwright.sync_api import expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor
from usp.model import KINDS

OTHERS = ("/ui/pushes", "/ui/setup", "/ui/setup?server=new", "/ui/explain", "/ui/scan", "/ui/kit", "/ui/account")


def pages_of(suite: Suite) -> list[str]:
    """Each kind's form, filled in; lists and empty forms are alike."""
    found = [*OTHERS, *(f"/ui/items/{kind}{page}" for kind in ("private-keys", "accounts") for page in ("", "/new"))]
    for kind in KINDS:
        (first, *_) = suite.api("GET", f"/items/{kind}")["items"]
        found.append(f"/ui/items/{kind}/{first['id']}")
    return [*found, f"{found[-1]}/history"]


def test_a_reader_sees_no_button_that_would_fail(reader: Visitor, suite: Suite) -> None:
    for path in pages_of(suite):
        if path.endswith("/new") or path == "/ui/account":  # one's own is one's own
            continue
        reader.page.goto(path)
        names = [
            each.inner_text().strip() for each in reader.page.locator("main button:visible, main a.btn:visible").all()
        ]
        wrong = {"Save", "Make", "Delete", "Enable", "Disable", "Duplicate", "Pin it"} & set(names)
        assert not wrong, f"{path}: {wrong}"
        assert not any(name.startswith(("New ", "Push", "Files for")) for name in names), path
        if urlsplit(path).path.count("/") < 4:
            reader.check()


def test_an_item_by_hand(admin: Visitor, suite: Suite) -> None:
    """Hidden fields, rows, a reference that is made on the way, a conflict, a refusal."""
    page = admin.page
    page.goto("/ui/items/listeners/new")
    expect(page.get_by_label("Target host")).to_be_hidden()
    page.get_by_label("Type").select_option("tcp")
    expect(page.get_by_label("Target host")).to_be_visible()
    expect(page.get_by_label("Route", exact=False).first).to_be_hidden()
    page.get_by_label("Name").fill("by-hand")
    page.get_by_label(re.compile("^Port")).fill("70000")
    page.get_by_label("Target host").fill("sftp.internal")
    page.get_by_label("Target port").fill("22")
    with page.expect_popup() as opened:
        page.locator("a[data-made=ip-filters]").click()
    other = opened.value
    other.get_by_label("Name").fill("made-on-the-way")
    other.get_by_role("button", name="Make", exact=True).click()
    expect(other.get_by_role("status").first).to_contain_text("was made")
    other.close()
    page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    expect(page.get_by_label("IP filter").locator("option:checked")).to_have_text("made-on-the-way")
    with admin.expecting("422"):
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.get_by_text("must be 65535 or less")).to_be_visible()
    expect(page.get_by_label(re.compile("^Port"))).to_be_focused()
    admin.check()
    page.get_by_label(re.compile("^Port")).fill("2290")
    page.get_by_role("button", name="Make", exact=True).click()
    expect(page.get_by_role("heading", name="by-hand")).to_be_visible()
    (made,) = suite.api("GET", "/items/listeners?name=by-hand")["items"]
    assert (made["type"], made["target_host"], made["port"], made["route"]) == ("tcp", "sftp.internal", 2290, None)
    suite.api("PUT", f"/items/listeners/{made['id']}", {**made, "target_port": 23})
    page.get_by_label("Target port").fill("24")
    with admin.expecting("412"):
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name="Target port 23 24")).to_be_visible()
    admin.check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("was changed")
    assert suite.api("GET", f"/items/listeners/{made['id']}")["target_port"] == 24
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Go ahead").click()
    page.wait_for_url("**/ui/items/listeners")
    suite.api("DELETE", "/items/ip-filters/made-on-the-way")


def test_rows_come_and_go(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    node = suite.api("GET", "/items/outbound-nodes/target")
    page.goto(f"/ui/items/outbound-nodes/{node['id']}")
    alternates = page.get_by_role("group", name="Alternates")
    for host in ("a.internal", "b.internal"):
        alternates.get_by_role("button", name="Add").click()
        alternates.get_by_label("Host").last.fill(host)
    alternates.get_by_role("button", name="Leave out").first.click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("was changed")
    after = suite.api("GET", f"/items/outbound-nodes/{node['id']}")
    assert [each["host"] for each in after["alternates"]] == ["b.internal"]
    assert after["host_keys"] == node["host_keys"]
    suite.api("PUT", f"/items/outbound-nodes/{node['id']}", node)


def test_bulk_and_search(admin: Visitor, suite: Suite) -> None:
    page = admin.page
    for name in ("bulk-a", "bulk-b", "other"):
        suite.api("POST", "/items/ip-filters", {"name": name})
    page.goto("/ui/items/ip-filters")
    page.get_by_label("Find").fill("bulk")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("button", name="Disable")).to_be_disabled()
    page.get_by_label("All on this page").check()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("status").first).to_contain_text("2 IP Filters disabled")
    assert not suite.api("GET", "/items/ip-filters/bulk-a")["enabled"]
    assert suite.api("GET", "/items/ip-filters/other")["enabled"]
    page.goto("/ui/items/ip-filters?q=bulk")
    page.get_by_label("All on this page").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Go ahead").click()
    expect(page.get_by_role("status").first).to_contain_text("2 IP Filters deleted")
    suite.api("DELETE", "/items/ip-filters/other")


def test_an_address_is_tested_in_place(admin: Visitor, suite: Suite) -> None:
    made = suite.api("POST", "/items/ip-filters", {"name": "tested", "block": ["192.0.2.0/24"]})
    page = admin.page
    page.goto(f"/ui/items/ip-filters/{made['id']}")
    page.get_by_label("IP address").fill("192.0.2.7")
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#verdict")).to_contain_text("blocked")
    admin.check()
    suite.api("DELETE", "/items/ip-filters/tested")


def test_a_second_factor(visitors: Callable[..., Visitor], suite: Suite) -> None:
    name, password = "two-factors", "a pass phrase of some length"
    suite.api("POST", "/users", {"username": name, "role": "read_only", "password": password})
    visitor = visitors()
    page = visitor.page
    visitor.login(name, password, path="/ui/login?next=/ui/account")
    page.wait_for_url("**/ui/account")
    second = page.get_by_role("region", name="Second factor")
    second.get_by_label("Password").fill(password)
    second.get_by_role("button", name="Set it up").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    visitor.check()
    phone = pyotp.TOTP(page.locator("#secret").inner_text().replace(" ", ""))
    used = phone.now()
    page.get_by_label("Code", exact=True).fill(used)
    page.get_by_role("button", name="Turn it on").click()
    codes = page.locator("#codes li").all_inner_texts()
    assert len(codes) == 10
    visitor.check()
    page.get_by_role("button", name="Log out").click()
    visitor.login(name, password)
    page.wait_for_url("**/ui/login/code")
    visitor.check()
    with visitor.expecting("401"):
        page.get_by_label("Code", exact=True).fill(used)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("was used before")
    page.get_by_label("Code", exact=True).fill(codes[0])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/status")
    suite.api("DELETE", f"/users/{name}")
