"""Token buckets, and the shares of workers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.server.bucket import BURST, FORGET, TURN, Bucket, Demand, Demands, shares


def test_a_bucket_fills_up_to_its_burst_and_goes_into_debt() -> None:
    bucket = Bucket(1000, 50.0)
    assert bucket.level(50.0) == bucket.level(99.0) == 1000 * BURST
    assert bucket.take(750, 99.0) == -500
    assert bucket.level(99.25) == -250
    assert bucket.seconds(99.25) == pytest.approx(0.25 + TURN)
    assert bucket.seconds(100.0) == 0
    assert bucket.level(200.0) == 1000 * BURST


def test_a_new_rate() -> None:
    bucket = Bucket(1000, 0.0)
    bucket.change(100, 0.0)
    assert bucket.level(0.0) == 100 * BURST
    bucket.take(125, 0.0)
    bucket.change(400, 0.0)
    assert bucket.level(0.0) == -400  # the debt is a second's, as it was
    assert bucket.level(1.0) == 0


@given(
    st.floats(10_000, 1e9),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 300_000)), min_size=1, max_size=60),
)
def test_never_more_than_the_rate_and_one_burst(rate: float, reads: list[tuple[float, int]]) -> None:
    """Who reads only when the level is above zero."""
    bucket, now, passed, last = Bucket(rate, 0.0), 0.0, 0, 0
    for pause, size in reads:
        now += pause
        if bucket.level(now) > 0:
            bucket.take(size, now)
            passed, last = passed + size, size
    assert passed <= rate * (now + BURST) + last + 1


HUNGRY, IDLE = Demand(0, 1, 1), Demand(0, 1, 0)


def test_shares() -> None:
    assert shares(100, []) == []
    assert shares(100, [IDLE]) == [100]
    assert shares(100, [HUNGRY, HUNGRY]) == [50, 50]
    assert shares(100, [Demand(0, 9, 3), Demand(0, 9, 1)]) == [75, 25]
    assert shares(100, [HUNGRY, IDLE]) == [99, 1]
    assert shares(100, [HUNGRY, Demand(20, 1, 0)]) == [69, 31]
    assert shares(100, [HUNGRY, Demand(90, 1, 0)]) == [50, 50]
    assert shares(100, [IDLE, Demand(20, 3, 0)]) == [18, 82]


DEMANDS = st.builds(Demand, st.floats(0, 1e9), st.integers(0, 500), st.integers(0, 500))


@given(st.floats(10_000, 1e9), st.lists(DEMANDS, min_size=1, max_size=16))
def test_all_of_it_is_given_out_and_no_more(rate: float, demands: list[Demand]) -> None:
    given = shares(rate, demands)
    assert math.isclose(sum(given), rate, rel_tol=1e-9)
    assert min(given) > 0
    hungry = [share / each.held for share, each in zip(given, demands, strict=True) if each.held]
    assert all(math.isclose(each, hungry[0], rel_tol=1e-6) for each in hungry)  # the same for each channel


def test_workers_that_share() -> None:
    made = Demands()
    wants = {"a": (100.0, HUNGRY)}
    assert made.told(0, wants, 0.0) == {"a": 100}
    assert made.told(1, {**wants, "b": (10.0, IDLE)}, 0.5) == {"a": 50, "b": 10}
    assert made.told(0, wants, 1.0) == {"a": 50}
    assert made.told(1, {}, 1.5) == {}
    assert made.told(0, wants, 0.5 + FORGET) == {"a": 50}
    assert made.told(0, wants, 0.6 + FORGET) == {"a": 100}  # the other has not said anything for long
    assert set(made._known) == {"a"}
