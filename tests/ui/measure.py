"""`python -m tests.ui.measure [SECONDS]`: what Status costs with 100 servers, 500 listeners and 100 tunnels: first
paint, the stream, and a tab that stays open for so long (3600 for an hour) while ten servers change all the time, five
of them with their rows open. It is looked at ten times, and at least once a minute. For docs/admin-ui.md."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from tests.ports import free_port
from tests.ui.browser import Visitor, chromium
from tests.unit.manager.site import ADMIN, MANAGER, configure, opened, server_item
from usp.manager.api import application
from usp.manager.app import App
from usp.manager.catalog import Create
from usp.manager.store.rows import Role
from usp.manager.ui.site import install
from usp.manager.web import Web
from usp.model import ListenerType
from usp.settings import ManagerTls, ManagerWeb
from usp.status import LinkState, LinkStatus, ListenerState, ListenerStatus, Report, ServerState, TunnelStatus

SERVERS, LISTENERS = 100, 5
CHANGING, OPENED = 10, 5
DAY = 86_400.0
WHO: Final = ("admin", "a pass phrase of the administrator")


class Manager(threading.Thread):
    """The manager's application with servers that report, in a loop of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.port = free_port()
        self.up = threading.Event()
        self.changing = 0

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        for name, text in (("cert", MANAGER.cert), ("key", MANAGER.key)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o600)
        tls = ManagerTls(cert=str(self.folder / "cert"), key=str(self.folder / "key"))
        async with opened(self.folder, lambda: datetime.now(UTC), idle=DAY, absolute=DAY) as app:
            await configure(app)
            made = [Create("proxy-servers", server_item(f"dmz-{number:03}", 8444)) for number in range(SERVERS)]
            await app.write(ADMIN, made)
            await app.administrators.add(WHO[0], Role.ADMIN, WHO[1], author="measure")
            site = application(app)
            install(site, app)
            await Web(site, ManagerWeb(address="127.0.0.1", port=self.port, tls=tls)).start()
            round_ = 0
            while True:
                await _told(app, round_, self.changing)
                self.up.set()
                round_ += 1
                await asyncio.sleep(0.5)


async def _told(app: App, round_: int, changing: int) -> None:
    """All servers at first, and now and then to be live; those that change each time."""
    for number in range(SERVERS):
        if number < changing or round_ % 6 == 0:
            report = _report(number, round_ if number < changing else 0)
            await app.store.servers.observed(
                report.server, ServerState.RUNNING, "Version 1 is in force.", at=app.clock(), report=report
            )


def _report(number: int, sessions: int) -> Report:
    def port(place: int) -> ListenerStatus:
        return ListenerStatus(
            id=f"{number}-{place}", name=f"partners-{place}", type=ListenerType.SFTP, address="0.0.0.0",
            port=2222 + place, state=ListenerState.RUNNING, sessions=sessions,
        )  # fmt: skip

    link = LinkStatus(id="l", client=f"lan-{number}", slot=0, state=LinkState.UP, peer="192.0.2.1:4000")
    tunnel = TunnelStatus(
        id=f"t-{number}", name="lan", address="0.0.0.0", port=2200, state=ListenerState.RUNNING, links=(link,)
    )
    return Report(
        server=f"dmz-{number:03}", software="usp", boot="b", started_at=0.0, version=1, sessions=sessions,
        listeners=tuple(map(port, range(LISTENERS))), tunnels=(tunnel,),
    )  # fmt: skip


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        manager = Manager(Path(name))
        manager.start()
        manager.up.wait(120)
        browser = chromium(playwright)
        visitor = Visitor(browser, f"https://127.0.0.1:{manager.port}")
        page = visitor.page
        visitor.login(*WHO)
        page.wait_for_url("**/ui/status")
        for _ in range(5):
            page.goto("/ui/status")
            page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
            paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
            count, nodes = page.locator("#servers article").count(), page.locator("*").count()
            sys.stdout.write(f"first paint {paint:.0f} ms; {count} servers, {nodes} elements\n")
        for row in range(OPENED):
            page.locator("#servers summary").nth(row).click()
        page.wait_for_function(f"() => document.querySelectorAll('#servers .ports').length === {2 * OPENED}")
        metrics = page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        page.evaluate("""() => { window.heard = 0; window.asked = 0;
            document.addEventListener("htmx:after:swap", ({ target }) => { window.asked += target.id === "servers"; });
            document.addEventListener("htmx:sse:after:message", () => { window.heard += 1; }); }""")
        manager.changing = CHANGING
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            page.wait_for_timeout(min(seconds / 10, 60) * 1000)
            metrics.send("HeapProfiler.collectGarbage")
            found: dict[str, Any] = {
                each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]
            }
            sys.stdout.write(
                f"{time.monotonic() - began:.0f} s: {page.evaluate('() => window.heard')} messages, "
                f"{page.evaluate('() => window.asked')} requests for rows, {found['Nodes']:.0f} nodes, "
                f"{found['JSEventListeners']:.0f} listeners, {found['JSHeapUsedSize'] / 1e6:.2f} MB\n"
            )
            sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
