"""Targets that refuse, hang at every stage, change their key, penalise us, vanish in the middle of a file, are full:
the partner is told in bounded time, the audit says the right Outcome, and the next login works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e.suite import Suite, running, wait_until
from tests.faults import targets
from tests.faults.places import Outcomes, configure, on_the_way_to_the_target
from tests.faults.proxy import Trip, deaf_port
from tests.faults.transfers import Uploads

pytestmark = [pytest.mark.once, pytest.mark.long]

CONNECT = 10.0
"""Seconds to be logged in at a target: server.connect_timeout."""
SLACK = 4.0
INTERVAL = 1.0
KEEPALIVE = 12 * INTERVAL
"""Of partners and targets, who have four times the patience of links: `keepalive.interval` x `keepalive.count` x 4."""

Bad = Callable[[Suite, Path], AbstractContextManager[int]]
BEFORE_THE_LOGIN: dict[str, tuple[Bad, str, float]] = {
    "refuses": (lambda suite, folder: targets.nobody(), "target_unreachable", 1),
    "hangs at connect": (lambda suite, folder: deaf_port(), "target_unreachable", CONNECT),
    "hangs at its banner": (lambda suite, folder: targets.raw(b"", stays=True), "target_unreachable", CONNECT),
    "hangs in the key exchange": (
        lambda suite, folder: targets.raw(b"SSH-2.0-hanging\r\n", stays=True), "target_unreachable", CONNECT,
    ),
    "hangs at auth": (
        lambda suite, folder: targets.at_auth(targets.host_key(suite)), "target_unreachable", CONNECT,
    ),
    "changed its host key": (lambda suite, folder: targets.with_another_key(suite, folder), "host_key_mismatch", 1),
    "penalises us": (
        lambda suite, folder: targets.raw(b"Not allowed at this time\r\n", stays=False), "target_unreachable", 1,
    ),
}  # fmt: skip
"""What it does, the Outcome, and seconds until the partner is told."""


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running("--workers", "1", "--direct", env={"USP_KEEPALIVE__INTERVAL": str(INTERVAL)}) as suite:
        yield suite


@contextmanager
def target_at(suite: Suite, port: int) -> Iterator[None]:
    suite.wait_for_login(within=20)
    with suite.restored():
        configure(suite, "outbound-nodes/target", port=port)
        yield
    suite.wait_for_login(within=20)


@pytest.mark.parametrize("fault", BEFORE_THE_LOGIN)
def test_before_the_login(suite: Suite, tmp_path: Path, fault: str) -> None:
    bad, outcome, within = BEFORE_THE_LOGIN[fault]
    with bad(suite, tmp_path) as port, target_at(suite, port):
        outcomes, began = Outcomes(suite), time.monotonic()
        done = suite.sftp("pwd\n", timeout=60)
        told = time.monotonic() - began
        assert done.returncode != 0
        outcomes.wait_for(outcome, 1, 2)
        assert set(outcomes.count()) <= {outcome, "probe"}, outcomes.count()
        assert told < within + SLACK
        assert "127.0.0.1" not in done.stderr.replace(suite.ready["partner"]["host"] + " port", ""), done.stderr
    print(f"{fault}: {outcome}, the partner is told after {told:.1f} s")


def test_hangs_at_init(suite: Suite) -> None:
    """The login is done by then: the channel has its own time."""
    with targets.at_init(targets.host_key(suite)) as port, target_at(suite, port):
        outcomes, began = Outcomes(suite), time.monotonic()
        done = suite.sftp("pwd\n", timeout=60)
        told = time.monotonic() - began
        assert done.returncode != 0
        assert told < 2 * CONNECT + SLACK
        wait_until(lambda: outcomes.count().total() > 0, 2, "the session has ended")
        (outcome,) = set(outcomes.count()) - {"probe"}
        assert outcome == "target_unreachable"
    print(f"hangs at INIT: {outcome}, the partner is told after {told:.1f} s")


@pytest.mark.parametrize(("fault", "within"), [("reset", 2.0), ("hole", KEEPALIVE)])
def test_in_the_middle_of_a_file(suite: Suite, tmp_path: Path, fault: str, within: float) -> None:
    with on_the_way_to_the_target(suite) as proxy:
        outcomes = Outcomes(suite)
        uploads = Uploads(suite, tmp_path, 1, size=20_000_000, rate=16_000)
        uploads.under_way()
        began = time.monotonic()
        proxy.trip = Trip("there", 2_000_000, "reset" if fault == "reset" else "hole")
        assert uploads.finish(within + 20) == [False]
        told = time.monotonic() - began
        noticed = outcomes.wait_for("target_closed", 1, 2)
        assert told < within + 1.0 + SLACK
        assert set(outcomes.count()) <= {"target_closed", "completed"}, outcomes.facts()
        proxy.hole = False
        suite.wait_for_login(within=10)
    print(
        f"{fault} in the middle of a file: target_closed, the partner is told after {told:.1f} s ({noticed:.1f} s more)"
    )
