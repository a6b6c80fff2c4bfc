"""Thirty days, seven, one, and over."""

from __future__ import annotations

import pytest

from usp.expiry import DAY, step, warning

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("days", "found", "words"),
    [
        (31.0, None, ""),
        (30.0, 30, "in 30 days, on 2027-02-14"),
        (7.01, 30, "in 7 days"),
        (7.0, 7, "in 7 days"),
        (1.5, 7, "in 1 day, "),
        (1.0, 1, "in 1 day, "),
        (0.5, 1, "in less than a day"),
        (0.0, 0, "expired on 2027-01-15: renew it"),
        (-3.0, 0, "expired on 2027-01-12"),
    ],
)
def test_steps_and_words(days: float, found: int | None, words: str) -> None:
    until = NOW + days * DAY
    assert step(until, NOW) == found
    told = warning("c", until, NOW)
    assert words in told
    assert bool(told) is (found is not None)
