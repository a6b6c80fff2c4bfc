"""Fixtures of the end-to-end tests. With CI=true a skipped test is a failure: there, everything must be installed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.login_site import Site
from tests.e2e.suite import Suite, alive, running


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """One suite for all tests that leave it as it was: one server with two workers, through the tunnel. A penalty lasts
    longer than the tests that look at it."""
    with running("--workers", "2", env={"USP_LIMITS__FIRST_PENALTY": "600"}) as suite:
        yield suite


@pytest.fixture(scope="module")
def site(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The shared suite, with a listener for each Rule while one file's tests run."""
    made = Site(suite, tmp_path_factory.mktemp("logins"))
    with suite.restored():
        made.configure()
        yield made
        made.release()


@pytest.fixture(scope="session")
def spares() -> Iterator[list[tuple[Suite, ExitStack]]]:
    """At most one suite that a test broke and mended."""
    kept: list[tuple[Suite, ExitStack]] = []
    yield kept
    for _, stack in kept:
        stack.close()


@pytest.fixture
def own_suite(spares: list[tuple[Suite, ExitStack]]) -> Iterator[Suite]:
    """A suite to break. To start one takes long: if all of it runs again at the end, the next test gets it, too."""
    if not spares:
        stack = ExitStack()
        spares.append((stack.enter_context(running("--workers", "2")), stack))
    suite, stack = spares[0]
    yield suite
    if not (all(map(alive, suite.pids())) and suite.sftp("pwd\n").returncode == 0):
        spares.clear()
        stack.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where CI=true: {report.longrepr}"
    return report
