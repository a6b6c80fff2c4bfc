"""Windows of time, by the clocks of several places."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usp.policy import Day, Window
from usp.sftp.windows import Windows


def window(**fields: object) -> Window:
    return Window.model_validate_json(json.dumps({"access": "closed", **fields}))


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def holds(made: Window, moment: float) -> bool:
    return Windows([made]).in_force(moment) is made


@pytest.mark.parametrize(
    ("fields", "inside", "outside"),
    [
        ({}, ["2026-03-02 00:00", "2026-03-02 23:59"], []),
        ({"start": "09:00", "end": "17:30"}, ["2026-03-02 09:00", "2026-03-02 17:29:59"],
         ["2026-03-02 08:59:59", "2026-03-02 17:30"]),
        # Monday is the 2nd
        ({"days": ["mon", "fri"]}, ["2026-03-02 00:00", "2026-03-06 12:00"], ["2026-03-01 23:59", "2026-03-03 00:00"]),
        ({"days": ["sun"], "start": "22:00", "end": "06:00"}, ["2026-03-01 22:00", "2026-03-02 05:59"],
         ["2026-03-01 05:00", "2026-03-02 06:00", "2026-03-02 22:00"]),
        ({"days": ["sat"], "start": "12:00", "end": "00:00"}, ["2026-03-07 23:59"], ["2026-03-08 00:00"]),
    ],
)  # fmt: skip
def test_when_a_window_holds(fields: dict[str, object], inside: list[str], outside: list[str]) -> None:
    for moment in inside + outside:
        assert holds(window(**fields), at(moment)) is (moment in inside), moment


def test_the_clocks_of_its_time_zone_count() -> None:
    made = window(start="22:00", end="23:00", timezone="Europe/Zurich")
    assert holds(made, at("2026-01-15 21:30"))
    assert not holds(made, at("2026-01-15 22:30"))
    assert holds(made, at("2026-07-15 20:30"))  # in summer


def test_where_the_clocks_change() -> None:
    """02:00 to 03:00 does not exist on one day and is there twice on another."""
    made = window(start="02:00", end="03:00", timezone="Europe/Zurich")
    spring = [at("2026-03-29 00:00") + 60 * minute for minute in range(240)]
    autumn = [at("2026-10-25 00:00") - 3600 + 60 * minute for minute in range(240)]
    assert sum(holds(made, moment) for moment in spring) == 0
    assert sum(holds(made, moment) for moment in autumn) == 120


@given(
    st.sets(st.sampled_from(list(Day)), min_size=1), st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 10079)
)
def test_in_a_week_it_holds_as_long_as_it_says(days: set[Day], start: int, end: int, some: int) -> None:
    def clock(minute: int) -> str:
        return f"{minute // 60:02}:{minute % 60:02}"

    if start == end:
        return
    made = window(days=sorted(days), start=clock(start), end=clock(end))
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    ahead = (end - start) % 1440
    begins = [monday + timedelta(days=list(Day).index(day), minutes=start) for day in days]
    moment = monday + timedelta(minutes=some)
    week = timedelta(days=7)
    expected = any(
        begin <= moment + shift < begin + timedelta(minutes=ahead) for begin in begins for shift in (week, 0 * week)
    )
    assert holds(made, moment.timestamp()) is expected


def test_what_is_said() -> None:
    closed = window(start="10:00", end="11:00")
    reading = window(access="read_only", start="10:00", end="12:00", timezone="Europe/Zurich")
    made = Windows([reading, closed])
    both, one, none = at("2026-01-02 10:30"), at("2026-01-02 09:30"), at("2026-01-02 12:30")
    assert made.objection(writes=False, now=both) == "closed from 10:00 to 11:00 (UTC)"
    assert made.objection(writes=True, now=one) == "read-only from 10:00 to 12:00 (Europe/Zurich)"
    assert made.objection(writes=False, now=one) == ""
    assert made.objection(writes=True, now=none) == ""
    assert made.objection(writes=True, now=none + 30) == ""
