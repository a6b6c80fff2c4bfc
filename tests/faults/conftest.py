"""Fixtures of the scenarios: those of the end-to-end tests, and ways to put a fault between two daemons."""

from __future__ import annotations

from tests.e2e.conftest import own_suite, pytest_runtest_makereport, spares, suite

__all__ = ["own_suite", "pytest_runtest_makereport", "spares", "suite"]
