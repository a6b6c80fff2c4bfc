"""docs/upgrade.md, rehearsed: everything runs the release before, and is upgraded while partners come, transfer and go.

The release before is a copy of this one that speaks the protocol before and says another version: so at every step
processes of both releases work together. USP_TEST_OLD_RELEASE names the folder of a real one, to rehearse with that.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import usp
from tests.databases import postgres
from tests.e2e.command_line import usp as command
from tests.e2e.load import Load
from tests.e2e.suite import ENV, ROOT, Restartable, Suite, running, wait_until
from tests.e2e.test_haproxy import Balancer, two_ranges
from usp.snapshot import PROTOCOL

pytestmark = [pytest.mark.once, pytest.mark.long]

REAL = os.environ.get("USP_TEST_OLD_RELEASE")
OLD = "0.0.9"
PARTNERS = 6
STAY = 1
"""Files until a partner leaves, and comes back."""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the release before."""
    if REAL:
        return Path(REAL)
    folder = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT / "usp", folder / "usp")
    edited = {
        "usp/__init__.py": (f'__version__ = "{usp.__version__}"', f'__version__ = "{OLD}"'),
        "usp/snapshot.py": (f"PROTOCOL: Final = {PROTOCOL}\n", f"PROTOCOL: Final = {PROTOCOL - 1}\n"),
    }
    for name, (this, that) in edited.items():
        text = (folder / name).read_text()
        assert text.count(this) == 1
        (folder / name).write_text(text.replace(this, that))
    return folder


class Upgrade:
    """A running suite, and its daemons as they are replaced."""

    def __init__(self, suite: Suite, load: Load, stack: ExitStack) -> None:
        self.suite, self.load = suite, load
        self.balancer = Balancer(suite.ready["haproxy"]["stats"])
        self._stack = stack
        self._seen = 0

    def stop(self, kind: str, number: int) -> Restartable:
        """As systemd does it."""
        daemon = Restartable(self.suite.ready[kind][number])
        self._stack.callback(daemon.close)
        daemon.kill(signal.SIGTERM)
        return daemon

    def server(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.suite.api("GET", f"/servers/usp-server-{number + 1}")
        return found

    def links(self, number: int) -> list[str]:
        """The releases of the clients at its tunnel."""
        return [link["version"] for link in self.server(number)["tunnels"][0]["links"] if link["state"] == "up"]

    def logins(self, number: int) -> int:
        return len(self.suite.audit("login", number))

    def transfers_go_on(self) -> None:
        """Every step leaves the partners at work, and none has noticed anything."""
        done = len(self.load.acknowledged)
        wait_until(lambda: len(self.load.acknowledged) >= done + 3, PATIENCE, "files are acknowledged")
        assert not self.load.ends, self.load.ends[:3]


@pytest.fixture(scope="module")
def upgrade(before: Path) -> Iterator[Upgrade]:
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        database_flags = ("--database", database.argument())
        flags = ("--workers", "1", "--servers", "2", "--managers", "2", "--haproxy", *database_flags)
        suite = stack.enter_context(running(*flags, port_base=two_ranges(), release=before))
        login = {name: suite.ready["partner"][name] for name in ("username", "password")}
        load = stack.enter_context(Load(suite.ready["haproxy"]["port"], login, PARTNERS, STAY))
        yield Upgrade(suite, load, stack)


def test_everything_runs_the_release_before(upgrade: Upgrade) -> None:
    upgrade.transfers_go_on()
    if REAL:
        return
    for number in range(2):
        assert upgrade.server(number)["software"] == OLD
        assert set(upgrade.links(number)) == {OLD}


def test_managers(upgrade: Upgrade) -> None:
    """Those of the new release push to servers of the one before. A real release may have another schema: then all
    managers stop first."""
    stopped = [upgrade.stop("managers", 1)] if REAL else []
    for number in range(2):
        daemon = stopped.pop() if number and stopped else upgrade.stop("managers", number)
        if number == 0:
            arguments = [*daemon.argv[:-1], "db", "upgrade"]
            subprocess.run(arguments, env=ENV, cwd=ROOT, check=True, capture_output=True, timeout=60)
        daemon.start()
        await_ready(upgrade.suite.ready["managers"][number]["metrics"].replace("/metrics", "/readyz"))
        for server in range(2):
            path = f"/servers/usp-server-{server + 1}"
            upgrade.suite.api("POST", f"{path}/push?wait=20", {"force": True}, manager=number)
            assert upgrade.suite.api("GET", f"{path}/versions", manager=number)["items"][0]["state"] == "applied"
        assert "usp-server-2" in command(upgrade.suite, "status")
    upgrade.transfers_go_on()


@pytest.mark.parametrize("number", range(2))
def test_a_server_and_its_client(upgrade: Upgrade, number: int) -> None:
    """Drain, stop, start the new release, its client too, undrain."""
    name = f"usp-server-{number + 1}"
    told = command(upgrade.suite, "drain", name, "--deadline", "60")
    assert "drained, no session is left" in told
    logins = upgrade.logins(number)

    daemon = upgrade.stop("servers", number)
    upgrade.transfers_go_on()
    daemon.start()
    wait_until(lambda: _is_upgraded(upgrade.server(number)), PATIENCE, "the new server runs what is wanted")
    wait_until(lambda: bool(upgrade.links(number)), PATIENCE, "the old client is at the new server")
    assert upgrade.server(number)["intake"] == "closed", "it stays drained"
    if not REAL:
        assert set(upgrade.links(number)) == {OLD}

    upgrade.stop("clients", number).start()
    wait_until(lambda: upgrade.links(number) == [usp.__version__], PATIENCE, "the new client is at the new server")
    assert upgrade.logins(number) == logins, "nobody was let in meanwhile"
    command(upgrade.suite, "undrain", name)
    wait_until(lambda: upgrade.balancer.status(name) == "UP", PATIENCE, "HAProxy sends partners there again")
    upgrade.transfers_go_on()


def test_no_transfer_was_lost(upgrade: Upgrade) -> None:
    """And partners are served by both again."""
    port = upgrade.suite.ready["haproxy"]["port"]
    for number in range(2):
        logins = upgrade.logins(number)
        for address in range(1, 6):
            upgrade.suite.sftp("pwd\n", "-o", f"BindAddress=127.0.{3 + number}.{address}", port=port)
        assert upgrade.logins(number) > logins
    upgrade.load.stop()
    assert not upgrade.load.ends
    upgrade.load.check(upgrade.suite.files)
    print(f"{len(upgrade.load.acknowledged)} files were acknowledged, all are there; no session ended before its time")


def _is_upgraded(server: dict[str, Any]) -> bool:
    return bool(
        server["software"] == usp.__version__
        and server["state"] == "running"
        and 0 < server["version"] == server["desired"]
    )


def await_ready(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    wait_until(answers, PATIENCE, f"{url} says so")
