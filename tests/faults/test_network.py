"""Between manager and server: cut, slow, flapping. Servers serve on, what is known of them ages visibly, nothing that
runs is said to be stopped, and all converges. And partners and targets of whom nothing is heard any more."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import Suite, running, wait_until
from tests.faults.places import SERVER, Outcomes, on_the_way_to_the_server, on_the_way_to_the_target, status
from tests.faults.proxy import FaultProxy
from tests.faults.transfers import Uploads

pytestmark = [pytest.mark.once, pytest.mark.long]

INTERVAL = 1.0
IDLE = 8.0
PATIENCE = 12 * INTERVAL
"""Seconds of silence from a partner or a target: keepalive.interval x keepalive.count x 4."""
SLACK = 4.0


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    env = {"USP_KEEPALIVE__INTERVAL": str(INTERVAL), "USP_SERVER__IDLE_TIMEOUT": str(IDLE)}
    with running("--workers", "1", "--direct", env=env) as suite:
        yield suite


class Watching(threading.Thread):
    """What the manager says of the server, all the while."""

    def __init__(self, suite: Suite) -> None:
        super().__init__()
        self.states, self.listeners = Counter[str](), Counter[str]()
        self.oldest = 0.0
        self._suite, self._over = suite, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            found = status(self._suite)
            self.states[found["state"]] += 1
            self.listeners.update(each["state"] for each in found["listeners"])
            self.oldest = max(self.oldest, found["age"])

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self._over.set()
            self.join()


def pushed(suite: Suite) -> int:
    suite.api("POST", f"/servers/{SERVER}/push?wait=20", {"force": True})
    found = status(suite)
    assert found["version"] == found["desired"]
    return int(found["version"])


@pytest.mark.parametrize("fault", ["cut", "hole"])
def test_the_way_to_the_server_is_cut(suite: Suite, fault: str) -> None:
    """Refused at once, or into the void: either way for twelve seconds."""
    with on_the_way_to_the_server(suite) as proxy:
        version, watching = status(suite)["version"], Watching(suite)
        with watching.meanwhile():
            began = time.monotonic()
            if fault == "cut":
                proxy.refuse = True
                proxy.reset()
            else:
                proxy.hole = True
            wait_until(lambda: status(suite)["state"] == "unreachable", 20, "the manager says unreachable")
            noticed = time.monotonic() - began
            while time.monotonic() < began + 12:
                assert suite.sftp("pwd\n").returncode == 0, "partners do not notice"
            proxy.refuse = proxy.hole = False
            back = wait_until(lambda: status(suite)["state"] == "running", 20, "it is seen again")
        assert set(watching.states) <= {"running", "unreachable"}, watching.states
        assert "stopped" not in watching.listeners, watching.listeners
        assert watching.oldest > 8, "what is known ages visibly"
        assert status(suite)["version"] == version
        assert pushed(suite) == version + 1
    print(
        f"{fault}: unreachable after {noticed:.1f} s, status up to {watching.oldest:.0f} s old, seen again after "
        f"{back:.1f} s; never 'stopped'"
    )


def test_a_slow_way_to_the_server(suite: Suite) -> None:
    """A second there and a second back, with 64 kbit/s: slower than the interval of the looks."""
    with on_the_way_to_the_server(suite) as proxy:
        proxy.delay, proxy.jitter, proxy.rate = 0.8, 0.4, 8_000.0
        watching = Watching(suite)
        with watching.meanwhile():
            began = time.monotonic()
            pushed(suite)
            took = time.monotonic() - began
            time.sleep(6)
        assert "stopped" not in watching.listeners, watching.listeners
        assert suite.sftp("pwd\n").returncode == 0
    print(f"2 s round trip, 64 kbit/s: a push takes {took:.1f} s, status at most {watching.oldest:.1f} s old")


def test_a_flapping_way_to_the_server(suite: Suite) -> None:
    """Reset or swallowed every second while versions are pushed: each is in force once, in order."""
    with on_the_way_to_the_server(suite) as proxy:
        before, over = status(suite)["version"], threading.Event()

        def flap() -> None:
            while not over.wait(0.7):
                proxy.hole = True
                over.wait(0.5)
                proxy.hole = False
                proxy.reset()

        flapping, watching = threading.Thread(target=flap), Watching(suite)
        flapping.start()
        try:
            with watching.meanwhile():
                began = time.monotonic()
                for _ in range(5):
                    suite.api("POST", f"/servers/{SERVER}/push?wait=20", {"force": True})
                took = time.monotonic() - began
        finally:
            over.set()
            flapping.join()
            proxy.hole = False
        wait_until(lambda: status(suite)["version"] == before + 5, 20, "the newest is in force")
        wait_until(lambda: status(suite)["state"] == "running", 10, "it is seen")
        assert "stopped" not in watching.listeners, watching.listeners
        versions = suite.api("GET", f"/servers/{SERVER}/versions")["items"]
        assert [each["version"] for each in versions[:5]] == [*range(before + 5, before, -1)]
        assert versions[0]["state"] == "applied"
    print(f"cut every second: 5 pushes in {took:.1f} s, the last one in force, never 'stopped'")


def test_a_half_open_partner(suite: Suite, tmp_path: Path) -> None:
    """The partner's host is gone in the middle of an upload: the session ends, and the target's half with it."""
    with FaultProxy(suite.port()) as proxy:
        outcomes = Outcomes(suite)
        options = ("-o", f"Port={proxy.port}", "-o", f"HostKeyAlias=[127.0.0.1]:{suite.port()}")
        transfer = Uploads(suite, tmp_path, 1, size=20_000_000, rate=8_000, options=options)
        transfer.under_way()
        proxy.hole = True
        began = time.monotonic()
        wait_until(lambda: outcomes.count().total() > 0, PATIENCE + SLACK, "the session is reaped")
        took = time.monotonic() - began
        (outcome,) = outcomes.count()
        assert outcome in ("idle", "partner_closed")
        wait_until(lambda: not suite.api("GET", "/sessions")["items"], 5, "nothing is left of it")
    transfer.finish(30)
    print(f"half-open partner: {outcome} after {took:.1f} s (idle limit {IDLE:.0f} s, keepalives {PATIENCE:.0f} s)")


def test_a_half_open_target(suite: Suite, tmp_path: Path) -> None:
    with on_the_way_to_the_target(suite) as proxy:
        outcomes = Outcomes(suite)
        transfer = Uploads(suite, tmp_path, 1, size=20_000_000, rate=8_000)
        transfer.under_way()
        proxy.hole = True
        began = time.monotonic()
        assert transfer.finish(PATIENCE + 20) == [False]
        took = time.monotonic() - began
        wait_until(lambda: outcomes.count().total() > 0, 2, "the session is reaped")
        (outcome,) = outcomes.count()
        assert outcome in ("idle", "target_closed")
        assert took < PATIENCE + SLACK
    print(f"half-open target: {outcome}, the partner is told after {took:.1f} s")
