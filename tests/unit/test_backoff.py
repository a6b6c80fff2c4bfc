"""Delays grow, stay within their bounds, and spread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from usp.backoff import delay


@given(
    attempt=st.integers(0, 10_000),
    random=st.floats(0, 1, exclude_max=True),
    initial=st.floats(0.001, 60),
    maximum=st.floats(0.001, 3600),
)
def test_stays_between_half_of_initial_and_maximum(attempt: int, random: float, initial: float, maximum: float) -> None:
    assert min(initial / 2, maximum) <= delay(attempt, random, initial, maximum) <= maximum


def test_the_ceiling_doubles() -> None:
    almost_one = 1 - 2**-53
    seen = [round(delay(attempt, almost_one, 0.5, 4.0), 6) for attempt in range(6)]
    assert seen == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_the_floor_stays() -> None:
    assert [delay(attempt, 0.0, 0.5, 4.0) for attempt in (0, 5)] == [0.25, 0.25]
