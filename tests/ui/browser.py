"""A real Chromium that looks at the manager's UI, and complains: of errors in its console, of what the page's policy
forbade, of requests to anybody else, and of what axe-core finds serious for people who cannot see or use a mouse.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

import hatch_build

HERE: Final = Path(__file__).parent
AXE: Final = HERE / "node_modules" / "axe-core" / "axe.min.js"
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SIZES: Final = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
SERIOUS: Final = ("serious", "critical")
WATCH: Final = """
window.uspViolations = [];
document.addEventListener("securitypolicyviolation", (e) =>
  window.uspViolations.push(`${e.effectiveDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber} ${e.sample}`));
"""


def chromium(playwright: Playwright) -> Browser:
    found = shutil.which("chromium")
    assert found, "install Debian's chromium: make packages"
    return playwright.chromium.launch(executable_path=found, args=FLAGS)


def packages() -> None:
    """What package.json beside this names, fetched by npm when it is not there."""
    wanted, there = HERE / "package.json", HERE / "node_modules" / "fetched.json"
    if not there.is_file() or there.read_bytes() != wanted.read_bytes():
        command = [*hatch_build.npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=HERE, check=True)
        shutil.copy(wanted, there)


def axe() -> str:
    packages()
    return AXE.read_text()


class Visitor:
    """A browser of its own, with its own cookies, at a manager. `friends`: other sites where it may be."""

    def __init__(
        self, browser: Browser, url: str, *, scheme: str = "light", size: str = "wide", friends: tuple[str, ...] = ()
    ) -> None:
        self.url = url
        self.friends = friends
        self.complaints: list[str] = []
        self.expected: list[str] = []
        self.context: BrowserContext = browser.new_context(
            ignore_https_errors=True,
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport=SIZES[size],  # type: ignore[arg-type]
            base_url=url,
        )
        self.context.set_default_timeout(10_000)
        self.context.add_init_script(WATCH)
        self.page: Page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error in a script: {error}"))
        page.on("request", self._asked)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        elsewhere = self.friends and message.page is not None and message.page.url.startswith(self.friends)
        if message.type == "error" and not elsewhere and not any(each in message.text for each in self.expected):
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _asked(self, request: Request) -> None:
        elsewhere = self.friends and request.frame.url.startswith(self.friends)
        if not elsewhere and not request.url.startswith((self.url, "data:", *self.friends)):
            self.complaints.append(f"asked somebody else: {request.url}")

    @contextmanager
    def expecting(self, text: str) -> Iterator[None]:
        """Chromium writes a refusal (401, 403 ...) into its console: one that a test provokes is no complaint."""
        self.expected.append(text)
        yield
        self.page.wait_for_timeout(50)
        self.expected.remove(text)

    def login(self, username: str, password: str, *, path: str = "/ui/login") -> None:
        self.page.goto(path)
        self.page.get_by_label("User name").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in", exact=True).click()

    def check(self, *, page: Page | None = None) -> None:
        """The page that is shown now, in light and dark."""
        page = page or self.page
        for scheme in ("light", "dark"):
            page.evaluate("(scheme) => { document.documentElement.dataset.bsTheme = scheme }", scheme)
            rules = [] if scheme == "light" else ["color-contrast"]  # all else is the same in both
            self.complaints += [f"{page.url} {scheme}: {found}" for found in findings(page, rules)]
        page.evaluate("() => { delete document.documentElement.dataset.bsTheme }")
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            self.complaints.append(f"{page.url} is {wide} pixels too wide")
        self.violations(page)

    def violations(self, page: Page) -> None:
        for found in page.evaluate("() => window.uspViolations || []"):
            self.complaints.append(f"{page.url} breaks its policy: {found}")

    def close(self) -> None:
        """The context stays, with nothing in it: on a busy machine Chromium may forget to say that it has closed one,
        and Playwright waits for that without end."""
        for page in self.context.pages:
            self.violations(page)
            page.goto("about:blank")
        assert not self.complaints, "\n".join(self.complaints)


def findings(page: Page, rules: list[str]) -> Iterator[str]:
    """What axe-core holds against the page, by those of its rules, or by all."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(axe())
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found: dict[str, Any] = page.evaluate("(options) => axe.run(document, options)", options)
    for violation in found["violations"]:
        if violation["impact"] in SERIOUS:
            for node in violation["nodes"][:5]:
                yield f"{violation['id']} ({violation['impact']}): {node['html'][:200]} {node['failureSummary']}"


def wait_until(condition: Callable[[], bool], within: float, what: str, page: Page) -> float:
    """Seconds that it took; the browser goes on meanwhile."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within, f"not within {within} s: {what}"
        page.wait_for_timeout(50)
    return time.monotonic() - started
