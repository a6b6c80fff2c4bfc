"""Fixtures of the end-to-end tests. With CI=true a skipped test is a failure: there, everything must be installed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.e2e.suite import Suite, running


@pytest.fixture(scope="session")
def suite() -> Iterator[Suite]:
    """One suite for all tests that leave it as it was: one server with two workers, through the tunnel."""
    with running("--workers", "2") as suite:
        yield suite


@pytest.fixture
def own_suite() -> Iterator[Suite]:
    """A suite for one test, to break."""
    with running("--workers", "2") as suite:
        yield suite


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where CI=true: {report.longrepr}"
    return report
