"""Everything is killed in turn under a steady load: three servers behind the real HAProxy, their clients, two managers
(with SIGKILL), and PostgreSQL (stopped at once). Only the sessions on what was killed end; no file that was
acknowledged is lost.

How long it took to notice and to recover is printed. USP_KILL_ROUNDS=3 kills every one of them three times; without it,
one of each kind is killed once. USP_DATABASE_AWAY=60: seconds without a database (`make scorecard`).
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.databases import postgres
from tests.e2e.load import Load
from tests.e2e.suite import Restartable, Suite, alive, running, wait_until
from tests.e2e.test_haproxy import Balancer, two_ranges

pytestmark = [pytest.mark.once, pytest.mark.long]  # a suite of eleven processes: make scorecard plays it

ROUNDS = int(os.environ.get("USP_KILL_ROUNDS", "0"))
PARTNERS = 30
SERVERS, MANAGERS = range(3), range(2)
KILLED = [(kind, number) for kind in ("servers", "clients") for number in SERVERS] * ROUNDS or [
    ("servers", 0),
    ("clients", 1),
]
"""In this order: what came back has no partners until something else is killed."""
AWAY = float(os.environ.get("USP_DATABASE_AWAY", "20" if ROUNDS else "8"))
"""Seconds without a database."""
FALL = 3.0
"""Seconds of failing checks after which HAProxy takes a server out: `inter 1s fall 3`."""
TAKEOVER = 5.0
"""Seconds until another manager looks after the servers of one that is gone."""
PATIENCE = 30.0
NEWCOMERS = (f"127.0.2.{number}" for number in count(1))
"""Addresses that HAProxy has not seen before."""


class Site:
    """All that runs, and the load on it."""

    def __init__(self, suite: Suite, load: Load, database: postgres.Postgres, stack: ExitStack) -> None:
        self.suite, self.load, self.database = suite, load, database
        self.balancer = Balancer(suite.ready["haproxy"]["stats"])
        self._stack = stack
        self._daemons: dict[str, Restartable] = {}

    def daemon(self, kind: str, number: int) -> Restartable:
        about = self.suite.ready[kind][number]
        if about["name"] not in self._daemons:
            self._daemons[about["name"]] = found = Restartable(about)
            self._stack.callback(found.close)
        return self._daemons[about["name"]]

    def steady(self) -> None:
        """Every partner is logged in."""
        wait_until(lambda: len(self.load.sessions) == PARTNERS, PATIENCE, "all partners are logged in")

    def on(self, server: str) -> set[str]:
        """The sessions there, as HAProxy sees it."""
        lines = self.balancer.ask("show sess")
        found = re.findall(r"src=(\S+) fe=partners be=partners srv=(\S+)", lines)
        return {place for place, where in found if where == server} & set(self.load.sessions)

    @contextmanager
    def ending(self, victims: set[str]) -> Iterator[None]:
        """Meanwhile these sessions end and their partners come back; all others go on, on the same connection."""
        before, ends, began = set(self.load.sessions), len(self.load.ends), time.monotonic()
        assert len(before) == PARTNERS
        yield
        self.steady()
        now = set(self.load.sessions)
        assert before - now == victims, f"who ended: {[end for end in self.load.ends if end.at >= began]}"
        addresses = {_address(place) for place in victims}
        assert {_address(end.place) for end in self.load.ends[ends:]} == addresses

    def wait_for_return(self, victims: set[str]) -> float:
        addresses = {_address(place) for place in victims}
        return wait_until(
            lambda: addresses <= {_address(place) for place in set(self.load.sessions) - victims},
            PATIENCE,
            "partners whose session ended are logged in again",
        )

    def ready(self, manager: int) -> bool:
        url = self.suite.ready["managers"][manager]["metrics"].replace("/metrics", "/readyz")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def ages(self, manager: int) -> list[float]:
        """How old that manager says its status of each server is."""
        return [server["age"] for server in self.suite.api("GET", "/servers", manager=manager)["items"]]

    def is_looked_after(self) -> bool:
        """Whether every server's lease is held."""
        now = "clock_timestamp() AT TIME ZONE 'UTC'"
        held = f"SELECT count(*) FROM usp_lease WHERE name LIKE 'server/%' AND held_until > {now}"
        return self.database.sql(held).strip() == str(len(SERVERS))

    def push(self, manager: int) -> float:
        """A new version for every server, through this manager; seconds until all have it."""
        began = time.monotonic()
        for number in SERVERS:
            path = f"/servers/usp-server-{number + 1}"
            self.suite.api("POST", f"{path}/push?wait=20", {"force": True}, manager=manager)
            newest = self.suite.api("GET", f"{path}/versions", manager=manager)["items"][0]
            assert newest["state"] == "applied", newest
        return time.monotonic() - began


def _address(place: str) -> str:
    return place.partition(":")[0]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        # What was committed must be there after the kill, as it is in every production.
        database.sql("ALTER DATABASE usp SET synchronous_commit = on")
        flags = ("--servers", "3", "--managers", "2", "--database", database.argument(), "--haproxy")
        suite = stack.enter_context(running("--workers", "2", *flags, port_base=two_ranges()))
        login = {name: suite.ready["partner"][name] for name in ("username", "password")}
        load = stack.enter_context(Load(suite.ready["haproxy"]["port"], login, PARTNERS))
        site = Site(suite, load, database, stack)
        site.steady()
        yield site


def kill(daemon: Restartable) -> None:
    """With its children, which it could else replace or which could go on without it."""
    children = [int(pid) for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()]
    for pid in (daemon.pid, *children):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, (daemon.pid, *children))), 15, "they are dead")


def gives_banner(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.mark.parametrize(("kind", "number"), KILLED)
def test_a_server_or_its_client_is_killed(site: Site, kind: str, number: int) -> None:
    """HAProxy takes the server out and back; its partners come back elsewhere, and new ones to it when it is back."""
    server, port = f"usp-server-{number + 1}", site.suite.port(10 * number)
    daemon, victims = site.daemon(kind, number), site.on(server)
    assert 0 < len(victims) < PARTNERS
    with site.ending(victims):
        began = time.monotonic()
        kill(daemon)
        wait_until(lambda: site.balancer.status(server).startswith("DOWN"), 3 * FALL, f"HAProxy takes {server} out")
        out = time.monotonic() - began
        site.wait_for_return(victims)
        elsewhere = time.monotonic() - began
        assert not site.on(server)
        began = time.monotonic()
        daemon.start()
        wait_until(lambda: gives_banner(port), PATIENCE, f"{server} serves again")
        serves = time.monotonic() - began
        wait_until(lambda: site.balancer.status(server) == "UP", PATIENCE, f"HAProxy takes {server} back")
        back = time.monotonic() - began
    told = len(site.suite.audit("login", number))
    done = site.suite.sftp("pwd\n", "-o", f"BindAddress={next(NEWCOMERS)}", port=site.suite.ready["haproxy"]["port"])
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(site.suite.audit("login", number)) > told, 5, f"the next partner comes to {server}")
    print(
        f"{kind[:-1]} killed: {len(victims)} sessions end, out of HAProxy after {out:.1f} s, all partners are back "
        f"elsewhere after {elsewhere:.1f} s; started: serves after {serves:.1f} s, back in HAProxy after {back:.1f} s"
    )


@pytest.mark.parametrize("number", [*MANAGERS] * ROUNDS or [0])
def test_a_manager_is_killed(site: Site, number: int) -> None:
    """No session notices; the other one pushes and looks after all servers, and this one pushes when it is back."""
    daemon = site.daemon("managers", number)
    with site.ending(set()):
        kill(daemon)
        killed, oldest = time.monotonic(), 0.0
        pushed = site.push(1 - number)
        while time.monotonic() < killed + TAKEOVER:  # longer than the lease of who was killed
            oldest = max(oldest, *site.ages(1 - number))
            time.sleep(0.1)
        assert oldest < TAKEOVER
        wait_until(site.is_looked_after, TAKEOVER, "the other manager holds all leases")
        began = time.monotonic()
        daemon.start()
        wait_until(lambda: site.ready(number), PATIENCE, "it is ready")
        ready = time.monotonic() - began
        site.push(number)
    print(
        f"manager killed: the other pushes to three servers in {pushed:.1f} s, no status gets older than {oldest:.1f} "
        f"s; started: ready after {ready:.1f} s"
    )


@pytest.mark.parametrize("turn", range(ROUNDS or 1))
def test_the_database_is_killed(site: Site, turn: int) -> None:
    """No session notices, files go on; managers say that they are not ready, and recover by themselves."""
    with site.ending(set()):
        began, done = time.monotonic(), len(site.load.acknowledged)
        site.database.stop("immediate")
        wait_until(lambda: not any(map(site.ready, MANAGERS)), PATIENCE, "both managers say that they are not ready")
        noticed = time.monotonic() - began
        time.sleep(AWAY - noticed)
        files = len(site.load.acknowledged) - done
        assert files > PARTNERS, "partners work on"
        site.database.start()
        began = time.monotonic()
        wait_until(lambda: all(map(site.ready, MANAGERS)), PATIENCE, "both managers are ready")
        ready = time.monotonic() - began
        for manager in MANAGERS:
            site.push(manager)
    print(
        f"database killed, away for {AWAY:.0f} s: managers are not ready after {noticed:.1f} s, {files} files are "
        f"acknowledged meanwhile, no session of {PARTNERS} ends; started: ready after {ready:.1f} s"
    )


def test_no_acknowledged_file_is_lost_or_wrong(site: Site) -> None:
    site.steady()
    site.load.stop()
    assert len(site.load.acknowledged) > PARTNERS
    site.load.check(site.suite.files)
    print(f"{len(site.load.acknowledged)} acknowledged files are there, byte for byte")
