"""The guided set-up, from a manager with an empty database to a file on the target's disk: by clicking alone, with the
files that it gives for the hosts of usp-server and usp-client."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.suite import Suite
from tests.ui.browser import Visitor
from tests.ui.place import ADMIN, PASSWORD, empty_manager

PARTNER_PASSWORD = "a pass phrase of the partner"


def again_until(page: Page, text: str, within: float = 30) -> None:
    """Look again until the set-up says that."""
    deadline = time.monotonic() + within
    while page.get_by_text(text).count() == 0:
        assert time.monotonic() < deadline, f"{text!r} is not on the page: {page.inner_text('main')}"
        page.wait_for_timeout(300)
        page.get_by_role("link", name="Look again").click()
        page.wait_for_load_state()


def downloaded(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as found:
        page.get_by_role("button", name=button).click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_from_nothing_to_the_first_transfer(visitors: Callable[..., Visitor], suite: Suite, tmp_path: Path) -> None:
    """The target is the shared suite's."""
    target = suite.ready["target"]
    with empty_manager(tmp_path) as place:
        visitor = visitors(place.url)
        page = visitor.page
        visitor.login(ADMIN, PASSWORD)
        page.wait_for_url("**/ui/status")
        page.get_by_role("link", name="Guided set-up").first.click()
        visitor.check()

        page.get_by_label("Name", exact=True).fill("dmz-1")
        page.get_by_label("Host", exact=True).fill("127.0.0.1")
        page.get_by_label("Management port").fill(str(place.management))
        page.get_by_label("Tunnel port").fill(str(place.tunnel))
        page.get_by_label("Name of the client").fill("lan-1")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", name="Start the server")).to_be_visible()
        visitor.check()

        server = place.install(downloaded(page, "Files for dmz-1", tmp_path), "server")
        place.start("server", server / "usp-server.hcl", USP_WORKERS="1", USP_METRICS__PORT="0")
        again_until(page, "usp-server dmz-1 answers")

        page.get_by_label("What it may dial").fill(f"127.0.0.1:{target['port']}")
        client = place.install(downloaded(page, "Files for lan-1", tmp_path), "client")
        page.reload()
        page.get_by_role("button", name="Push to dmz-1").click()
        expect(page.get_by_text("Version 1: applied")).to_be_visible(timeout=30_000)
        place.start("client", client / "usp-client.hcl", USP_METRICS__PORT="0")
        again_until(page, "usp-client lan-1 is connected")

        page.get_by_label("Name", exact=True).fill("acme")
        page.get_by_label("Port for partners").fill(str(place.partners))
        page.get_by_label("Host", exact=True).fill("127.0.0.1")
        page.get_by_label("Port", exact=True).fill(str(target["port"]))
        page.get_by_role("button", name="Read them through the server").click()
        expect(page.get_by_label("Its host keys")).to_have_value(_lines(suite))
        visitor.check()
        page.get_by_label("User name of the partner").fill("acme")
        page.get_by_label("Password", exact=True).fill(PARTNER_PASSWORD)
        login = suite.ready["listeners"]["passthrough"]
        page.get_by_label("User name at the target").fill(login["username"])
        page.get_by_label("Password at the target").fill(login["password"])
        page.get_by_role("button", name="Make them").click()
        expect(page.get_by_text(f"acme (port {place.partners})")).to_be_visible()
        page.get_by_role("button", name="Push to dmz-1").click()
        expect(page.get_by_text("Version 2: applied")).to_be_visible(timeout=30_000)
        visitor.check()

        page.get_by_role("link", name="Partner kit").last.click()
        page.get_by_label("Account").select_option("acme")
        page.get_by_label("Host that the partner uses").fill("127.0.0.1")
        page.get_by_role("button", name="Show").click()
        command = page.locator("#openssh").inner_text().split()
        assert command == ["sftp", "-P", str(place.partners), "acme@127.0.0.1"]
        with page.expect_download() as found:
            page.locator('a[href*="/kit/known_hosts"]').click()
        known_hosts = tmp_path / "known_hosts"
        found.value.save_as(known_hosts)
        visitor.check()

        sent = f"the first file, {secrets.token_hex(8)}"
        (tmp_path / "first.txt").write_text(sent)
        options = ["-F", "none", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        options += ["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1", "-o", "BatchMode=no"]
        name = f"guided-{secrets.token_hex(4)}.txt"
        done = subprocess.run(
            ["sshpass", "-e", command[0], *options, "-b", "-", *command[1:]],
            input=f"put {tmp_path}/first.txt {name}\n",
            env={**os.environ, "SSHPASS": PARTNER_PASSWORD},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (suite.files / name).read_text() == sent


def _lines(suite: Suite) -> str:
    """What the target shows, as the suite's manager knows it."""
    (key,) = suite.api("GET", "/items/public-keys?name=target")["items"]
    return " ".join(str(key["public_key"]).split()[:2])
